//! Answer of our own request `RAFT_STATUS`: a member's view of its group.
//!
//! Invariant: it describes the member that answers and nobody else; it is not forwarded.

use serde::{Deserialize, Serialize};

use crate::protocol::fastjson::JsonBody;

/// A member's view of its Raft group.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RaftStatus {
    /// Broker name of the group.
    pub broker_name: String,
    /// Raft id of the member that answers.
    pub member: u64,
    /// `leader`, `follower`, `candidate` or `recovering` (its disk was lost).
    pub role: String,
    /// Its term.
    pub term: u64,
    /// Raft id of the leader, if it knows one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub leader: Option<u64>,
    /// It leads and has applied its own term's first entry.
    pub serving: bool,
    /// Last index known to be committed.
    pub commit: u64,
    /// Last index applied.
    pub applied: u64,
    /// First index kept.
    pub first_index: u64,
    /// Last index in the log.
    pub last_index: u64,
    /// Position of the first byte kept.
    pub first_position: u64,
    /// Position behind the last byte.
    pub last_position: u64,
    /// Its clock when it answered; zero from a broker that does not say.
    pub timestamp_ms: i64,
    /// The other members, as far as it knows; progress only from the leader.
    pub peers: Vec<RaftPeer>,
}

/// One other member.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RaftPeer {
    /// Raft id.
    pub member: u64,
    /// Last index known to be in its log.
    pub matched: u64,
    /// `probe`, `replicate` or `snapshot`.
    pub state: String,
    /// Whether there is a connection to it.
    pub connected: bool,
    /// The address at which clients reach it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_addr: Option<String>,
}

impl JsonBody for RaftStatus {
    const WHAT: &'static str = "raft status";
}
