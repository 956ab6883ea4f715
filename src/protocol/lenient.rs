//! What serde must forgive in bodies that clients of other languages write.
//!
//! Invariant: a number may come as text, an enum as its ordinal, a collection as null; what is read
//! is the same in every spelling.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, Unexpected, Visitor};

/// An integer, also as text; null is zero.
pub(super) fn integer<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    deserializer.deserialize_any(IntegerVisitor)
}

/// As [`integer`], into 32 bits.
pub(super) fn integer32<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i32, D::Error> {
    narrow(integer(deserializer)?)
}

fn narrow<E: Error>(wide: i64) -> Result<i32, E> {
    i32::try_from(wide).map_err(|_| E::invalid_value(Unexpected::Signed(wide), &"32 bits"))
}

/// A set of 32-bit integers, each also as text; null is empty.
pub(super) fn integers<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<std::collections::BTreeSet<i32>, D::Error> {
    struct Item(i32);
    impl<'de> Deserialize<'de> for Item {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            integer32(deserializer).map(Item)
        }
    }
    let items = Option::<Vec<Item>>::deserialize(deserializer)?.unwrap_or_default();
    Ok(items.into_iter().map(|item| item.0).collect())
}

/// A value for which null means its default.
pub(super) fn null_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

struct IntegerVisitor;

impl Visitor<'_> for IntegerVisitor {
    type Value = i64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an integer or its text")
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<i64, E> {
        Ok(value)
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<i64, E> {
        i64::try_from(value).map_err(|_| E::invalid_value(Unexpected::Unsigned(value), &self))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<i64, E> {
        // Some writers print whole numbers with a fraction; the cast saturates.
        if value.fract() == 0.0 {
            Ok(value as i64)
        } else {
            Err(E::invalid_value(Unexpected::Float(value), &self))
        }
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<i64, E> {
        value.trim().parse().map_err(|_| E::invalid_value(Unexpected::Str(value), &self))
    }

    fn visit_unit<E: Error>(self) -> Result<i64, E> {
        Ok(0)
    }

    fn visit_none<E: Error>(self) -> Result<i64, E> {
        Ok(0)
    }
}

/// An enum that travels by name and may arrive as its ordinal; null is the default.
macro_rules! wire_enum {
    (
        $(#[$doc:meta])*
        pub enum $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $ordinal:literal $text:literal,)* }
        default $default:ident
    ) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$variant_doc])* $variant = $ordinal,)* }

        impl $name {
            /// The name on the wire.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }

            /// By name.
            pub fn from_name(name: &str) -> Option<Self> {
                match name { $($text => Some(Self::$variant),)* _ => None }
            }

            /// By position in RocketMQ's own enum.
            pub fn from_ordinal(ordinal: i64) -> Option<Self> {
                match ordinal { $($ordinal => Some(Self::$variant),)* _ => None }
            }
        }

        impl Default for $name {
            fn default() -> Self { Self::$default }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct NameOrOrdinal;
                impl serde::de::Visitor<'_> for NameOrOrdinal {
                    type Value = $name;
                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        f.write_str(concat!("the name or the ordinal of a ", stringify!($name)))
                    }
                    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<$name, E> {
                        $name::from_ordinal(value).ok_or_else(|| {
                            E::invalid_value(serde::de::Unexpected::Signed(value), &self)
                        })
                    }
                    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<$name, E> {
                        self.visit_i64(i64::try_from(value).unwrap_or(i64::MAX))
                    }
                    fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<$name, E> {
                        match value.parse::<i64>() {
                            Ok(ordinal) => self.visit_i64(ordinal),
                            Err(_) => $name::from_name(value).ok_or_else(|| {
                                E::invalid_value(serde::de::Unexpected::Str(value), &self)
                            }),
                        }
                    }
                    fn visit_unit<E: serde::de::Error>(self) -> Result<$name, E> {
                        Ok($name::default())
                    }
                }
                deserializer.deserialize_any(NameOrOrdinal)
            }
        }
    };
}
pub(super) use wire_enum;
