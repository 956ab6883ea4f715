//! namesrv.
