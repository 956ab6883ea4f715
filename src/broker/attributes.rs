//! Attributes of topics and groups, which tools change one by one: `+key` with a value, `-key`.
//!
//! Invariant: what no change names stays as it is.

use std::collections::BTreeMap;

use super::answer::Failure;

/// By key.
pub type Attributes = BTreeMap<String, String>;

/// With changes that came as one text, `+key=value,-key`.
pub fn changed_by_text(attributes: Attributes, changes: &str) -> Result<Attributes, Failure> {
    let changes = changes.split(',').map(str::trim).filter(|change| !change.is_empty());
    changed(
        attributes,
        changes.map(|change| match change.split_once('=') {
            Some((key, value)) => (key, Some(value)),
            None => (change, None),
        }),
    )
}

/// With changes that came as pairs; a key to remove has an empty value.
pub fn changed_by_pairs(
    attributes: Attributes,
    changes: &Attributes,
) -> Result<Attributes, Failure> {
    changed(attributes, changes.iter().map(|(key, value)| (key.as_str(), Some(value.as_str()))))
}

fn changed<'c>(
    mut attributes: Attributes,
    changes: impl Iterator<Item = (&'c str, Option<&'c str>)>,
) -> Result<Attributes, Failure> {
    for (change, value) in changes {
        match (change.strip_prefix('+'), change.strip_prefix('-'), value) {
            (Some(key), _, Some(value)) if !key.is_empty() => {
                attributes.insert(key.to_owned(), value.to_owned());
            }
            (_, Some(key), None | Some("")) if !key.is_empty() => {
                attributes.remove(key);
            }
            _ => {
                let change = [change, value.unwrap_or_default()].join("=");
                let remark = format!("attribute change {change:?} is neither +key=value nor -key");
                return Err(Failure::invalid(remark));
            }
        }
    }
    Ok(attributes)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn attributes<const N: usize>(pairs: [(&str, &str); N]) -> Attributes {
        pairs.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
    }

    #[test]
    fn attributes_are_added_and_removed() {
        let before = attributes([("a", "1"), ("d", "4")]);
        let after = attributes([("b", "2"), ("c", "x=y"), ("d", "4")]);
        assert_eq!(changed_by_text(before.clone(), "+b=2, -a,+c=x=y").unwrap(), after);
        let pairs = attributes([("+b", "2"), ("-a", ""), ("+c", "x=y")]);
        assert_eq!(changed_by_pairs(before, &pairs).unwrap(), after);
    }

    #[test]
    fn what_is_no_change_is_refused() {
        for bad in ["b=2", "+b", "-", "+=2", "-b=2"] {
            assert!(changed_by_text(Attributes::new(), bad).is_err(), "{bad}");
        }
        assert!(changed_by_pairs(Attributes::new(), &attributes([("b", "2")])).is_err());
    }
}
