//! broker.

pub mod group;
