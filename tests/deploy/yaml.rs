//! Reading YAML: paths into it, `<<` merged, and every key one of a list.

use yaml_rust2::{Yaml, YamlLoader};

use super::{Problems, expect};

/// Keys below these are names that somebody chose.
const NAMED: &[&str] = &["data", "labels", "matchLabels", "selector", "ulimits"];

/// The documents of a text.
pub fn documents(text: &str, problems: &mut Problems) -> Vec<Yaml> {
    YamlLoader::load_from_str(text).unwrap_or_else(|error| {
        problems.push(error.to_string());
        Vec::new()
    })
}

/// What stands at a path of keys and of numbers.
pub fn at<'a>(value: &'a Yaml, path: &str) -> &'a Yaml {
    path.split('/').fold(value, |value, key| match key.parse::<usize>() {
        Ok(index) if value.is_array() => &value[index],
        _ if value[key].is_badvalue() => &value["<<"][key],
        _ => &value[key],
    })
}

/// The text at a path; empty when there is none.
pub fn text<'a>(value: &'a Yaml, path: &str) -> &'a str {
    at(value, path).as_str().unwrap_or_default()
}

/// The number at a path; a negative one when there is none.
pub fn number(value: &Yaml, path: &str) -> i64 {
    at(value, path).as_i64().unwrap_or(-1)
}

/// The list at a path; empty when there is none.
pub fn list<'a>(value: &'a Yaml, path: &str) -> &'a [Yaml] {
    at(value, path).as_vec().map_or(&[], Vec::as_slice)
}

/// The texts of the list at a path.
pub fn texts<'a>(value: &'a Yaml, path: &str) -> Vec<&'a str> {
    list(value, path).iter().filter_map(Yaml::as_str).collect()
}

/// The keys at a path.
pub fn keys<'a>(value: &'a Yaml, path: &str) -> Vec<&'a str> {
    let found = at(value, path).as_hash();
    found.into_iter().flat_map(|entries| entries.keys()).filter_map(Yaml::as_str).collect()
}

/// Every key is one of the words of `known`: nobody else tells a mistyped one from one that is not there.
pub fn check_keys(value: &Yaml, known: &str, problems: &mut Problems) {
    if let Some(items) = value.as_vec() {
        items.iter().for_each(|item| check_keys(item, known, problems));
    }
    for (key, below) in value.as_hash().into_iter().flatten() {
        let key = key.as_str().unwrap_or_default();
        expect(problems, known.split(' ').any(|known| known == key), || format!("{key}: unknown"));
        if !NAMED.contains(&key) {
            check_keys(below, known, problems);
        }
    }
}
