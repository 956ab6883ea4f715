//! Everything that can be set about a member of a group, with defaults that were measured.
//!
//! Invariant: [`ReplicaOptions::validate`] refuses what cannot work, so that the tasks need not ask.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use raft_log::Fatal;
use tokio::net::TcpListener;

/// When an entry counts as stored on this member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FlushMode {
    /// After it was synced to disk.
    #[default]
    Sync,
    /// After it was written to the page cache; synced in the background. Term and vote are synced
    /// all the same, and after a loss of power the member hears the others before it takes part.
    Async,
}

/// How the log is looked through for damage while it is in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScrubPace {
    /// Bytes read in a second.
    pub bytes_per_second: u64,
    /// From the end of one round to the beginning of the next.
    pub pause: Duration,
}

/// Where this member listens for its peers.
#[derive(Debug)]
pub enum Listen {
    /// Bind this `host:port`.
    Address(String),
    /// Use a socket that is bound already.
    Bound(TcpListener),
}

/// A leader that is to hand over leads on after this long, however long elections may take: nothing can be
/// proposed meanwhile.
const HANDOVER_LIMIT_MAX: Duration = Duration::from_secs(10);

/// How long a handover may take: as long as an election, within a limit.
pub fn handover_limit(election_timeout_ms: u64) -> Duration {
    Duration::from_millis(election_timeout_ms).min(HANDOVER_LIMIT_MAX)
}

/// Called once when the member must stop at once; the default exits the process.
pub type FatalHandler = Arc<dyn Fn(Fatal) + Send + Sync>;

/// Settings of one member. Sizes are in bytes, times in milliseconds.
pub struct ReplicaOptions {
    /// Name of the cluster; peers of another one are refused.
    pub cluster: String,
    /// Name of the group; peers of another one are refused.
    pub group: String,
    /// This member's raft id, never zero.
    pub member: u64,
    /// Where clients reach this member (`host:port`), announced to the peers.
    pub client_addr: String,
    /// Where peers reach this member.
    pub listen: Listen,
    /// The other members: raft id to `host:port`.
    pub peers: BTreeMap<u64, String>,
    /// When an entry counts as stored.
    pub flush_mode: FlushMode,
    /// Granularity of raft's clock.
    pub tick_ms: u64,
    /// Shortest silence of a leader after which a follower stands for election; the longest is twice
    /// this. A leader whose process dies is noticed sooner, by its closed connections.
    pub election_timeout_ms: u64,
    /// How often a leader shows that it lives.
    pub heartbeat_interval_ms: u64,
    /// A leader whose own syncs take at least this long, and far longer than its followers', lets
    /// another lead; zero: never.
    pub slow_sync_ms: u64,
    /// How long a member that answers before it syncs, and whose machine lost power, waits for all other
    /// members once it has heard a majority; zero: for ever.
    pub doubt_wait_ms: u64,
    /// Payload size at which an entry is closed.
    pub entry_bytes_target: usize,
    /// Payload size that a single proposal may reach.
    pub entry_bytes_limit: usize,
    /// Entries built from waiting proposals before anything else gets its turn.
    pub entries_per_turn_max: usize,
    /// Proposals that may wait to be sequenced.
    pub waiting_proposals_max: usize,
    /// Their summed weight.
    pub waiting_bytes_max: usize,
    /// Entries that may be proposed but not committed.
    pub uncommitted_bytes_max: usize,
    /// Entries that may be committed but not applied before a leader stops proposing.
    pub unapplied_bytes_max: usize,
    /// Entries in one append message.
    pub message_bytes_max: u64,
    /// Append messages on their way to one follower.
    pub inflight_messages_max: usize,
    /// Committed entries handed on at once.
    pub committed_bytes_max: u64,
    /// Messages waiting for one peer's connection.
    pub peer_queue_messages_max: usize,
    /// Their summed size.
    pub peer_queue_bytes_max: usize,
    /// How the log is looked through for damage; not at all if none.
    pub scrub: Option<ScrubPace>,
    /// What to do when the member cannot go on.
    pub on_fatal: FatalHandler,
}

/// Why a member cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A setting that cannot work.
    #[error("replication settings: {0}")]
    Options(String),
    /// The peers' address is taken or not ours.
    #[error("cannot listen for peers on {address}: {source}; is another broker running?")]
    Listen {
        /// What was to be bound.
        address: String,
        /// Why it failed.
        source: std::io::Error,
    },
    /// The log refused.
    #[error("the log cannot be used: {0}")]
    Log(#[from] raft_log::LogError),
    /// raft refused what the log holds.
    #[error("raft cannot start from the log: {0}")]
    Raft(#[from] raft::Error),
    /// The state cannot be rebuilt.
    #[error("the state machine cannot be restored from the snapshot at index {index}: {reason}")]
    Restore {
        /// Index of the snapshot.
        index: u64,
        /// The machine's words.
        reason: String,
    },
}

impl ReplicaOptions {
    /// Defaults for member `member` of `group`, alone until `peers` is filled.
    pub fn new(cluster: &str, group: &str, member: u64, listen: Listen) -> Self {
        ReplicaOptions {
            cluster: cluster.to_owned(),
            group: group.to_owned(),
            member,
            client_addr: String::new(),
            listen,
            peers: BTreeMap::new(),
            flush_mode: FlushMode::default(),
            tick_ms: 20,
            election_timeout_ms: 1000,
            heartbeat_interval_ms: 100,
            slow_sync_ms: 100,
            doubt_wait_ms: 30_000,
            entry_bytes_target: 256 << 10,
            entry_bytes_limit: 16 << 20,
            entries_per_turn_max: 4,
            waiting_proposals_max: 64 << 10,
            waiting_bytes_max: 64 << 20,
            uncommitted_bytes_max: 64 << 20,
            unapplied_bytes_max: 64 << 20,
            message_bytes_max: 1 << 20,
            inflight_messages_max: 64,
            committed_bytes_max: 4 << 20,
            peer_queue_messages_max: 4096,
            peer_queue_bytes_max: 64 << 20,
            scrub: None,
            on_fatal: Arc::new(super::fatal::exit),
        }
    }

    /// Ticks that `duration_ms` lasts, at least one.
    pub(super) fn ticks(&self, duration_ms: u64) -> usize {
        usize::try_from(duration_ms.div_ceil(self.tick_ms)).unwrap_or(usize::MAX).max(1)
    }

    /// Refuses settings that contradict each other.
    pub(super) fn validate(&self) -> Result<(), StartError> {
        let refuse = |reason: &str| Err(StartError::Options(reason.to_owned()));
        if self.member == 0 || self.peers.contains_key(&0) {
            return refuse("member ids start at 1");
        }
        if self.peers.contains_key(&self.member) {
            return refuse("a member is not its own peer");
        }
        if self.tick_ms == 0 || self.election_timeout_ms < 2 * self.heartbeat_interval_ms {
            return refuse("the election timeout must be at least two heartbeat intervals");
        }
        if self.ticks(self.election_timeout_ms) <= self.ticks(self.heartbeat_interval_ms) {
            return refuse("the election timeout must be longer than the heartbeat interval");
        }
        if self.entry_bytes_target == 0 || self.entry_bytes_target > self.entry_bytes_limit {
            return refuse("the entry size target must be between 1 and the entry size limit");
        }
        if self.uncommitted_bytes_max < self.entry_bytes_limit {
            return refuse("the bound on uncommitted bytes must hold the largest entry");
        }
        if self.entries_per_turn_max == 0 || self.waiting_proposals_max == 0 {
            return refuse("bounds of zero would let nothing through");
        }
        Ok(())
    }

    /// What raft is told. Its own defaults are unusable: no size limit at all on messages sent, none
    /// on what is uncommitted or handed out at once.
    pub(super) fn raft_config(&self, applied: u64) -> raft::Config {
        raft::Config {
            id: self.member,
            election_tick: self.ticks(self.election_timeout_ms),
            heartbeat_tick: self.ticks(self.heartbeat_interval_ms),
            applied,
            max_size_per_msg: self.message_bytes_max,
            max_inflight_msgs: self.inflight_messages_max,
            check_quorum: true,
            pre_vote: true,
            read_only_option: raft::ReadOnlyOption::Safe,
            max_uncommitted_size: self.uncommitted_bytes_max as u64,
            max_committed_size_per_ready: self.committed_bytes_max,
            // The owner sees to it that followers hear of commits.
            skip_bcast_commit: true,
            ..raft::Config::default()
        }
    }
}
