//! Hands the lines that raft writes through slog to tracing, under the target `raft`.
//!
//! Invariant: a level that tracing does not want costs no formatting.

use std::fmt::{self, Write as _};

use slog::{Drain, KV as _, Never, OwnedKVList, Record};
use tracing::level_filters::LevelFilter;

/// A logger for one member's `RawNode`.
pub(super) fn logger(group: &str) -> slog::Logger {
    slog::Logger::root(TracingDrain.fuse(), slog::o!("group" => group.to_owned()))
}

struct TracingDrain;

/// Key-value pairs as text.
struct Pairs(String);

impl slog::Serializer for Pairs {
    fn emit_arguments(&mut self, key: slog::Key, value: &fmt::Arguments<'_>) -> slog::Result {
        write!(self.0, " {key}={value}").map_err(slog::Error::Fmt)
    }
}

fn text(record: &Record<'_>, values: &OwnedKVList) -> String {
    let mut pairs = Pairs(record.msg().to_string());
    // Formatting into a string fails only when a value's own Display does: then it is left out.
    let _ = record.kv().serialize(record, &mut pairs);
    let _ = values.serialize(record, &mut pairs);
    pairs.0
}

impl Drain for TracingDrain {
    type Ok = ();
    type Err = Never;

    fn log(&self, record: &Record<'_>, values: &OwnedKVList) -> Result<(), Never> {
        match record.level() {
            slog::Level::Critical | slog::Level::Error => {
                tracing::error!(target: "raft", "{}", text(record, values));
            }
            slog::Level::Warning => tracing::warn!(target: "raft", "{}", text(record, values)),
            // Raft tells of each vote and each role it takes; the owner says what came of it.
            slog::Level::Info => tracing::debug!(target: "raft", "{}", text(record, values)),
            slog::Level::Debug | slog::Level::Trace => {
                tracing::trace!(target: "raft", "{}", text(record, values));
            }
        }
        Ok(())
    }

    fn is_enabled(&self, level: slog::Level) -> bool {
        let wanted = LevelFilter::current();
        match level {
            slog::Level::Critical | slog::Level::Error => wanted >= LevelFilter::ERROR,
            slog::Level::Warning => wanted >= LevelFilter::WARN,
            slog::Level::Info => wanted >= LevelFilter::DEBUG,
            slog::Level::Debug | slog::Level::Trace => wanted >= LevelFilter::TRACE,
        }
    }
}
