//! A hostile disk in memory.
