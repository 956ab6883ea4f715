//! Bodies that a controller exchanges with operators' tools: answers of 1002 and 1006.
//!
//! Invariant: the keys are those that RocketMQ's tools read.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::protocol::fastjson::JsonBody;

/// One member of a broker group.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ReplicaIdentity {
    /// Whether it is there.
    pub alive: bool,
    /// Where clients reach it.
    pub broker_address: String,
    /// Its number in the group, from one: its Raft id.
    pub broker_id: i64,
    /// Name of the group.
    pub broker_name: String,
}

/// Who leads a group and who follows closely.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ReplicasInfo {
    /// Members that have everything that is committed.
    pub in_sync_replicas: Vec<ReplicaIdentity>,
    /// The leader's address; none while the group has no leader that answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub master_address: Option<String>,
    /// The leader's number in the group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub master_broker_id: Option<i64>,
    /// The term in which it leads.
    pub master_epoch: i64,
    /// The other members.
    pub not_in_sync_replicas: Vec<ReplicaIdentity>,
    /// The term as well: who is in sync is measured when asked, and has no version of its own.
    pub sync_state_set_epoch: i64,
}

/// Answer of 1006: groups by name.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BrokerReplicasInfo {
    /// The groups.
    pub replicas_info_table: BTreeMap<String, ReplicasInfo>,
}

impl JsonBody for BrokerReplicasInfo {
    const WHAT: &'static str = "members of groups";
}

/// The addresses behind a broker name.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BrokerMemberGroup {
    /// By broker id, zero for the leader.
    pub broker_addrs: BTreeMap<i64, String>,
    /// Name of the group.
    pub broker_name: String,
    /// Its cluster.
    pub cluster: String,
}

/// Answer of 1002: the group as it is now, where controllers put it and once more where mqadmin 5.3.3 looks
/// for it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ElectMasterBody {
    /// By broker id, zero for the leader.
    pub broker_addrs: BTreeMap<i64, String>,
    /// The same with its names.
    pub broker_member_group: BrokerMemberGroup,
    /// Numbers of the members that are in sync.
    pub sync_state_set: Vec<i64>,
}

impl JsonBody for ElectMasterBody {
    const WHAT: &'static str = "group after an election";
}
