//! The one way out when a member must not go on.
//!
//! After a failed sync the kernel may call pages clean that never reached the disk, so the only safe
//! answer is to stop at once, without another write, and to say why.

use raft_log::{Fatal, LogError};

use super::applier::ApplyError;
use super::options::FatalHandler;

/// What ends a member.
#[derive(Debug, thiserror::Error)]
pub(super) enum MemberError {
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    Apply(#[from] ApplyError),
}

impl MemberError {
    fn fatal(&self) -> Fatal {
        let log_error = match self {
            MemberError::Log(error) | MemberError::Apply(ApplyError::Save(error)) => error,
            MemberError::Apply(ApplyError::Restore { .. }) => return Fatal::LogCorrupt,
        };
        // The remaining ones mean that the log does not hold what raft says it does.
        log_error.fatal().unwrap_or(Fatal::LogCorrupt)
    }
}

/// Says why the member ends, once, and ends it. Returns only when a test took the handler's place.
pub(super) fn end_member(group: &str, member: u64, error: &MemberError, handler: &FatalHandler) {
    let fatal = error.fatal();
    tracing::error!(group, member, reason = %error, %fatal, "the member cannot go on");
    handler(fatal);
}

/// Exits the process with the fatal condition's own code.
pub fn exit(fatal: Fatal) {
    std::process::exit(fatal.exit_code());
}
