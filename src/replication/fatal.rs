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
    /// The group went on without something that this member knows to be committed.
    #[error(
        "entry {index} is committed here with term {own_term}, and leader {leader} has it with term \
         {leader_term}: the group has lost what this member still has (machines that lost power with \
         ASYNC_FLUSH, or directories that were replaced)"
    )]
    Contradicted { index: u64, own_term: u64, leader: u64, leader_term: u64 },
}

impl MemberError {
    fn fatal(&self) -> Fatal {
        let log_error = match self {
            MemberError::Log(error) | MemberError::Apply(ApplyError::Save(error)) => error,
            MemberError::Apply(ApplyError::Restore { .. }) | MemberError::Contradicted { .. } => {
                return Fatal::LogCorrupt;
            }
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
