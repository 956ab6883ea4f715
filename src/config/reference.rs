//! Prints the table of keys: as a commented reference file, and as the configuration in effect.
//!
//! Invariant: the reference is itself a valid file that changes nothing, because every key in it
//! is commented out.

use std::fmt::Write;

use super::KeySpec;
use super::table::Allowed;

/// A commented reference of every key.
pub fn reference(title: &str, keys: &[KeySpec]) -> String {
    let mut out = format!(
        "# {title}\n#\n# Java properties: `key=value`, `#` starts a comment line, the last of equal \
         keys counts.\n# Every key is shown with its default. This file is generated from the \
         table in src/config.\n"
    );
    let mut section = "";
    for spec in keys {
        if spec.section != section {
            section = spec.section;
            let _ = write!(out, "\n## {section}\n");
        }
        out.push('\n');
        for line in wrap(&description(spec), 98) {
            let _ = writeln!(out, "# {line}");
        }
        let _ = writeln!(out, "#{}={}", spec.key, spec.default);
    }
    out
}

/// The configuration in effect, one `key=value` a line, which reads back as the same.
pub fn effective(values: &[(&'static KeySpec, String)], explained: bool) -> String {
    let mut out = String::new();
    for (spec, value) in values {
        if explained {
            for line in wrap(&description(spec), 98) {
                let _ = writeln!(out, "# {line}");
            }
        }
        let _ = writeln!(out, "{}={}", spec.key, value.replace('\\', "\\\\"));
    }
    out
}

fn description(spec: &KeySpec) -> String {
    let mut text = spec.meaning.to_owned();
    if let Allowed::Between(least, most) = spec.allowed {
        let unit = if spec.unit.is_empty() { "" } else { " " };
        let _ = write!(text, " [{least} to {most}{unit}{}]", spec.unit);
    } else if !spec.unit.is_empty() {
        let _ = write!(text, " [{}]", spec.unit);
    }
    if !spec.aliases.is_empty() {
        let _ = write!(text, " Also read as {}.", spec.aliases.join(", "));
    }
    text
}

fn wrap(text: &str, columns: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let line = lines.last_mut().expect("there is always a last line");
        if line.is_empty() {
            line.push_str(word);
        } else if line.len() + 1 + word.len() <= columns {
            line.push(' ');
            line.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines
}
