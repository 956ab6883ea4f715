//! What operators' tools ask of a controller: who leads each group, who follows closely, and that another
//! member lead.
//!
//! RocketMQ elects leaders in a controller. Here each group elects its own, so any name server speaks for all
//! of them: it passes the question on to the leaders that it knows.
//!
//! Invariant: an answer tells what the groups' leaders say now. The name server keeps nothing of it, and what
//! it keeps decides nothing: whether leadership moves, the group decides.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::Instant;

use super::service::{Refusal, Service, named};
use crate::protocol::body::{
    BrokerMemberGroup, BrokerReplicasInfo, ElectMasterBody, RaftStatus, ReplicaIdentity,
    ReplicasInfo,
};
use crate::protocol::code::{request, response};
use crate::protocol::fastjson::{JsonBody, decode};
use crate::protocol::route::{BrokerData, MASTER_ID};
use crate::remoting::{RemotingClient, RemotingCommand};

/// For everything that brokers are asked for one answer. mqadmin gives up after 5 s.
const PATIENCE: Duration = Duration::from_secs(4);
/// For a broker's word on its group: who is silent is passed over.
const STATUS_LIMIT: Duration = Duration::from_secs(1);
/// The group of controllers, in the words of its tools.
const GROUP: &str = "raftmq";

/// What brokers are to be asked.
#[derive(Debug)]
pub(super) enum Question {
    /// How closely these groups' members follow.
    SyncState(Vec<BrokerData>),
    /// That this member of a group lead, or whichever has most of the log.
    Elect { group: BrokerData, member: Option<u64> },
}

impl Service {
    /// What a command for a controller asks of brokers.
    pub(super) fn question(&self, command: &RemotingCommand) -> Result<Question, Refusal> {
        match command.code {
            request::CONTROLLER_ELECT_MASTER => self.elect(command),
            _ => self.sync_state(command),
        }
    }

    /// Unknown groups are left out, as a controller does.
    fn sync_state(&self, command: &RemotingCommand) -> Result<Question, Refusal> {
        let names: BTreeSet<String> = decode(&command.body, "list of broker names")?;
        let groups = names.iter().filter_map(|name| self.table.broker_data(name));
        Ok(Question::SyncState(groups.collect()))
    }

    fn elect(&self, command: &RemotingCommand) -> Result<Question, Refusal> {
        let broker_name = named(command, "brokerName")?;
        let group = self.table.broker_data(&broker_name).ok_or_else(|| {
            let remark = format!("no broker of group {broker_name} is registered here");
            Refusal::new(response::CONTROLLER_BROKER_METADATA_NOT_EXIST, remark)
        })?;
        let fields = &command.ext_fields;
        let wanted = fields.get_i64("brokerId")?.filter(|id| *id >= 0);
        let designated = fields.get_bool("designateElect")?.unwrap_or(false);
        let member = wanted.filter(|_| designated).map(i64::unsigned_abs);
        Ok(Question::Elect { group, member })
    }
}

/// Whether a command can only be answered by asking brokers.
pub(super) fn is_for_brokers(code: i32) -> bool {
    matches!(code, request::CONTROLLER_ELECT_MASTER | request::CONTROLLER_GET_SYNC_STATE_DATA)
}

/// Where the controller is: here, whoever asks.
pub(super) fn metadata(reached_at: SocketAddr) -> RemotingCommand {
    RemotingCommand::response(response::SUCCESS)
        .with_ext("group", GROUP)
        .with_ext("controllerLeaderId", reached_at.to_string())
        .with_ext("controllerLeaderAddress", reached_at.to_string())
        .with_ext("isLeader", true)
        .with_ext("peers", reached_at.to_string())
}

/// Asks the brokers and puts their answers together.
pub(super) async fn ask(client: &RemotingClient, question: Question) -> RemotingCommand {
    let asked = Asked { client, deadline: Instant::now() + PATIENCE };
    match question {
        Question::SyncState(groups) => asked.sync_state(groups).await,
        Question::Elect { group, member } => {
            asked.elect(&group, member).await.unwrap_or_else(Refusal::into_response)
        }
    }
}

/// Brokers that are asked, until a moment.
struct Asked<'c> {
    client: &'c RemotingClient,
    deadline: Instant,
}

impl Asked<'_> {
    async fn sync_state(&self, groups: Vec<BrokerData>) -> RemotingCommand {
        let each = groups.into_iter().map(|group| async move {
            let info = match self.leader(&group).await {
                Some((address, status)) => replicas(&group, &address, &status),
                None => without_leader(&group),
            };
            (group.broker_name, info)
        });
        let replicas_info_table: BTreeMap<_, _> = join_all(each).await.into_iter().collect();
        let body = BrokerReplicasInfo { replicas_info_table };
        RemotingCommand::response(response::SUCCESS).with_body(body.encode())
    }

    async fn elect(
        &self,
        group: &BrokerData,
        member: Option<u64>,
    ) -> Result<RemotingCommand, Refusal> {
        let name = &group.broker_name;
        let (leader, status) = self.leader(group).await.ok_or_else(|| {
            let remark = format!("group {name} has no leader that could hand over");
            Refusal::new(response::CONTROLLER_MASTER_NOT_AVAILABLE, remark)
        })?;
        let before = replicas(group, &leader, &status);
        let members = before.in_sync_replicas.iter().chain(&before.not_in_sync_replicas);
        let known: BTreeMap<i64, &ReplicaIdentity> =
            members.map(|member| (member.broker_id, member)).collect();
        let mut hand_over = RemotingCommand::request(request::TRANSFER_LEADER);
        if let Some(wanted) = member {
            if !known.contains_key(&wanted.cast_signed()) {
                let numbers: Vec<_> = known.keys().collect();
                let remark = format!("group {name} has the members {numbers:?}, no {wanted}");
                return Err(Refusal::new(response::CONTROLLER_BROKER_ID_INVALID, remark));
            }
            if wanted == status.member {
                let remark = format!("member {wanted} of group {name} leads already");
                return Err(Refusal::new(response::CONTROLLER_MASTER_STILL_EXIST, remark));
            }
            hand_over.ext_fields.insert("target", wanted);
        }
        let taken = self.broker(&leader, hand_over, PATIENCE).await?;
        let leads = taken.ext_fields.get_i64("target")?.unwrap_or_default();
        let Some(next) = known.get(&leads) else {
            let remark = format!("{leader} says that member {leads} leads, which nobody knows");
            return Err(Refusal::new(response::CONTROLLER_ELECT_MASTER_FAILED, remark));
        };
        let after = self.status(&next.broker_address).await.map_err(|silent| {
            let remark = format!("member {leads} of group {name} leads now, but {silent}");
            Refusal::new(response::SYSTEM_ERROR, remark)
        })?;
        Ok(elected(group, &known, next, &after))
    }

    /// A group's leader and what it says. Right after an election that is not yet the one that is
    /// registered, but the others know it.
    async fn leader(&self, group: &BrokerData) -> Option<(String, RaftStatus)> {
        let mut asked = BTreeSet::new();
        let mut next: VecDeque<String> = group.broker_addrs.values().cloned().collect();
        while let Some(address) = next.pop_front() {
            if !asked.insert(address.clone()) {
                continue;
            }
            let Ok(status) = self.status(&address).await else { continue };
            match status.leader {
                Some(leader) if leader == status.member => return Some((address, status)),
                Some(leader) => {
                    let peer = status.peers.iter().find(|peer| peer.member == leader);
                    let told = peer.and_then(|peer| peer.client_addr.as_deref());
                    next.push_front(identity(group, leader, told, true).broker_address);
                }
                None => {}
            }
        }
        None
    }

    async fn status(&self, address: &str) -> Result<RaftStatus, Refusal> {
        let command = RemotingCommand::request(request::RAFT_STATUS);
        let answer = self.broker(address, command, STATUS_LIMIT).await?;
        Ok(RaftStatus::decode(&answer.body)?)
    }

    /// A broker's answer, if it is a success.
    async fn broker(
        &self,
        address: &str,
        command: RemotingCommand,
        limit: Duration,
    ) -> Result<RemotingCommand, Refusal> {
        let failed = |what: String| {
            let remark = format!("broker {address}: {what}");
            Refusal::new(response::CONTROLLER_ELECT_MASTER_FAILED, remark)
        };
        let limit = limit.min(self.deadline.saturating_duration_since(Instant::now()));
        let answer = self.client.invoke(address, command, limit).await;
        let answer = answer.map_err(|error| failed(error.to_string()))?;
        if answer.code == response::SUCCESS {
            return Ok(answer);
        }
        Err(failed(answer.remark.unwrap_or_else(|| format!("code {}", answer.code))))
    }
}

/// The group in the words of its leader.
fn replicas(group: &BrokerData, leader: &str, status: &RaftStatus) -> ReplicasInfo {
    let own = identity(group, status.member, Some(leader), true);
    let term = status.term.cast_signed();
    let mut info = ReplicasInfo {
        master_address: Some(own.broker_address.clone()),
        master_broker_id: Some(own.broker_id),
        master_epoch: term,
        sync_state_set_epoch: term,
        in_sync_replicas: vec![own],
        not_in_sync_replicas: Vec::new(),
    };
    for peer in &status.peers {
        let follower = identity(group, peer.member, peer.client_addr.as_deref(), peer.connected);
        match peer.connected && peer.matched >= status.commit {
            true => info.in_sync_replicas.push(follower),
            false => info.not_in_sync_replicas.push(follower),
        }
    }
    info
}

/// Followers are registered under their Raft ids.
fn identity(group: &BrokerData, member: u64, told: Option<&str>, alive: bool) -> ReplicaIdentity {
    let broker_id = member.cast_signed();
    let registered = group.broker_addrs.get(&broker_id).map(String::as_str);
    let broker_address = told.or(registered).unwrap_or_default().to_owned();
    ReplicaIdentity { alive, broker_address, broker_id, broker_name: group.broker_name.clone() }
}

/// Whoever is registered, nobody in sync.
fn without_leader(group: &BrokerData) -> ReplicasInfo {
    let followers = group.broker_addrs.iter().filter(|(id, _)| **id != MASTER_ID);
    let identity = |(id, address): (&i64, &String)| ReplicaIdentity {
        alive: true,
        broker_address: address.clone(),
        broker_id: *id,
        broker_name: group.broker_name.clone(),
    };
    ReplicasInfo {
        not_in_sync_replicas: followers.map(identity).collect(),
        ..ReplicasInfo::default()
    }
}

fn elected(
    group: &BrokerData,
    members: &BTreeMap<i64, &ReplicaIdentity>,
    leader: &ReplicaIdentity,
    after: &RaftStatus,
) -> RemotingCommand {
    let registered = members.values().filter(|member| !member.broker_address.is_empty());
    let broker_addrs = registered.map(|member| {
        let id = if member.broker_id == leader.broker_id { MASTER_ID } else { member.broker_id };
        (id, member.broker_address.clone())
    });
    let broker_addrs: BTreeMap<_, _> = broker_addrs.collect();
    let (broker_name, cluster) = (group.broker_name.clone(), group.cluster.clone());
    let in_sync = replicas(group, &leader.broker_address, after).in_sync_replicas;
    let body = ElectMasterBody {
        broker_addrs: broker_addrs.clone(),
        broker_member_group: BrokerMemberGroup { broker_addrs, broker_name, cluster },
        sync_state_set: in_sync.iter().map(|member| member.broker_id).collect(),
    };
    RemotingCommand::response(response::SUCCESS)
        .with_ext("masterBrokerId", leader.broker_id)
        .with_ext("masterAddress", leader.broker_address.clone())
        .with_ext("masterEpoch", after.term.cast_signed())
        .with_ext("syncStateSetEpoch", after.term.cast_signed())
        .with_body(body.encode())
}
