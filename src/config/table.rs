//! The table of keys: from one row come a setting's field, its parsing, its range check, its
//! documentation and the knowledge which keys exist.
//!
//! Invariant: a key that is documented as effective has a field, and a field has exactly one row.

use super::error::Problem;
use super::properties::Properties;
use super::setting::Setting;

/// Which values a key takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Allowed {
    /// Whatever its type can read.
    Any,
    /// A whole number, bounds included.
    Between(i64, i64),
}

/// One row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeySpec {
    /// The heading it stands under in the reference.
    pub section: &'static str,
    /// The key in the file.
    pub key: &'static str,
    /// Older spellings that mean the same.
    pub aliases: &'static [&'static str],
    /// The field of the typed configuration.
    pub field: &'static str,
    /// The default as text; empty where it follows from something else, which `meaning` says.
    pub default: &'static str,
    /// The unit, or empty.
    pub unit: &'static str,
    /// Which values are taken.
    pub allowed: Allowed,
    /// What it does.
    pub meaning: &'static str,
}

impl KeySpec {
    /// Reads this key's value out of `properties`, or its default.
    pub fn read<T: Setting>(&self, properties: &Properties) -> Result<T, Problem> {
        let given = self.names().find_map(|name| properties.get(name));
        let text = given.filter(|text| !text.is_empty()).unwrap_or(self.default);
        let bad = |expected: String| Problem::Value {
            key: self.key.to_owned(),
            value: text.to_owned(),
            expected,
        };
        if let (true, Allowed::Between(least, most)) = (T::NUMERIC, self.allowed) {
            let number = text.parse::<i64>().ok();
            if number.is_none_or(|number| number < least || number > most) {
                let unit = if self.unit.is_empty() { "" } else { " " };
                return Err(bad(format!(
                    "a whole number from {least} to {most}{unit}{}",
                    self.unit
                )));
            }
        }
        T::parse(text).map_err(bad)
    }

    /// The key and its older spellings, the one to prefer first.
    pub fn names(&self) -> impl Iterator<Item = &'static str> + use<> {
        std::iter::once(self.key).chain(self.aliases.iter().copied())
    }
}

/// Declares a typed configuration and its table in one place. A row reads
/// `field: Type = "key" | "alias", "default", "unit", allowed, "meaning";`.
macro_rules! settings {
    (
        $(#[$attribute:meta])* $name:ident;
        $($section:literal => {
            $($field:ident: $kind:ty = $key:literal $(| $alias:literal)*, $default:literal,
                $unit:literal, $allowed:expr, $meaning:literal;)*
        })*
    ) => {
        $(#[$attribute])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct $name {
            $($(#[doc = $meaning] pub $field: $kind,)*)*
        }

        impl $name {
            /// Every key, in the order of the reference.
            pub const KEYS: &'static [$crate::config::KeySpec] = &[
                $($($crate::config::KeySpec {
                    section: $section,
                    key: $key,
                    aliases: &[$($alias),*],
                    field: stringify!($field),
                    default: $default,
                    unit: $unit,
                    allowed: $allowed,
                    meaning: $meaning,
                },)*)*
            ];

            /// Reads every field; rules between keys are not checked here.
            fn read(
                properties: &$crate::config::Properties,
            ) -> Result<$name, $crate::config::Problem> {
                let mut rows = Self::KEYS.iter();
                $($(let $field: $kind = rows
                    .next()
                    .expect("the table has one row for each field")
                    .read(properties)?;)*)*
                Ok($name { $($($field,)*)* })
            }

            /// Every key with the value in effect, in the order of the reference.
            pub fn effective(&self) -> Vec<(&'static $crate::config::KeySpec, String)> {
                let values = [$($($crate::config::Setting::render(&self.$field),)*)*];
                Self::KEYS.iter().zip(values).collect()
            }
        }
    };
}
pub(super) use settings;
