//! Newtypes for the three numbers that must never be mixed up.

use std::fmt;

macro_rules! number {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number! {
    /// A physical offset in the log, in bytes since the log's first byte ever.
    Position
}
number! {
    /// The raft index of an entry; the first entry ever has index 1.
    LogIndex
}
number! {
    /// A raft term.
    Term
}
