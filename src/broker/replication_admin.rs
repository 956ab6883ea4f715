//! Replication in RocketMQ's words: who follows how closely (907), and the terms of the log (1007).
//!
//! Invariant: each member tells of itself, and of the others only what it knows as their leader.

use raft_log::{LogIndex, Position};

use super::answer::{Outcome, success_with};
use super::core::Core;
use crate::protocol::body::{
    EpochEntry, EpochEntryCache, HaClientInfo, HaConnectionInfo, HaRuntimeInfo,
};
use crate::protocol::fastjson::JsonBody;
use crate::replication::{PeerStatus, ReplicaStatus, Role};

/// Terms listed at most, the newest.
const TERMS_MAX: usize = 64;

/// How closely the followers follow, or this one does.
pub fn ha_status(core: &Core) -> Outcome {
    let status = core.status.borrow().clone();
    let leads = status.role == Role::Leader;
    let max_offset = status.last_position.0.cast_signed();
    let mut info = HaRuntimeInfo {
        master: leads,
        master_commit_log_max_offset: max_offset,
        ..HaRuntimeInfo::default()
    };
    if leads {
        info.ha_connection_info =
            status.peers.iter().map(|peer| connection(core, &status, peer)).collect();
        let in_sync = info.ha_connection_info.iter().filter(|peer| peer.in_sync).count();
        info.in_sync_slave_nums = i32::try_from(in_sync).unwrap_or(i32::MAX);
    } else {
        let committed = position_behind(core, &status, status.commit);
        info.ha_client_runtime_info = HaClientInfo {
            activated: status.leader.is_some(),
            master_addr: core.leader_elsewhere().unwrap_or_default(),
            master_flush_offset: committed.0.cast_signed(),
            max_offset,
            ..HaClientInfo::default()
        };
    }
    Ok(success_with(info.encode()))
}

fn connection(core: &Core, status: &ReplicaStatus, peer: &PeerStatus) -> HaConnectionInfo {
    let configured = core.config.dleger_peers.iter().find(|known| known.raft_id() == peer.id);
    let own = configured.map(ToString::to_string).unwrap_or_default();
    let acknowledged = position_behind(core, status, peer.matched);
    let in_sync =
        status.reaches(peer) && peer.matched.0 >= status.commit.0.min(status.last_index.0);
    HaConnectionInfo {
        addr: peer.client_addr.clone().unwrap_or(own),
        diff: status.last_position.0.saturating_sub(acknowledged.0).cast_signed(),
        in_sync,
        slave_ack_offset: acknowledged.0.cast_signed(),
        transfer_from_where: acknowledged.0.cast_signed(),
        transferred_byte_in_second: 0,
    }
}

/// Where the log goes on behind an entry.
fn position_behind(core: &Core, status: &ReplicaStatus, index: LogIndex) -> Position {
    if index >= status.last_index {
        return status.last_position;
    }
    if index < status.first_index {
        return Position(0);
    }
    core.view.position_of(LogIndex(index.0 + 1)).unwrap_or(status.last_position)
}

/// The terms in the log, with their stretches.
pub fn epochs(core: &Core) -> Outcome {
    let status = core.status.borrow().clone();
    let end = status.last_position;
    let mut found = Vec::new();
    let (first, mut last) = (status.first_index.0, status.last_index.0);
    let mut end_of_term = end;
    while last >= first && first > 0 && found.len() < TERMS_MAX {
        let Some(term) = core.view.term_of(LogIndex(last))? else { break };
        let begins = first_of_term(core, first, last, term.0)?;
        let Some(start) = core.view.position_of(LogIndex(begins)) else { break };
        found.push(EpochEntry {
            epoch: term.0.cast_signed(),
            start_offset: start.0.cast_signed(),
            end_offset: end_of_term.0.cast_signed(),
        });
        end_of_term = start;
        last = begins - 1;
    }
    found.reverse();
    let broker_id = if core.serving() { 0 } else { core.config.follower_broker_id() };
    let cache = EpochEntryCache {
        broker_id,
        broker_name: core.config.broker_name.clone(),
        cluster_name: core.config.broker_cluster_name.clone(),
        epoch_list: found,
        max_offset: end.0.cast_signed(),
    };
    Ok(success_with(cache.encode()))
}

/// Terms never fall from one entry to the next, so the first entry of one can be searched for.
fn first_of_term(
    core: &Core,
    first: u64,
    last: u64,
    term: u64,
) -> Result<u64, super::answer::Failure> {
    let (mut low, mut high) = (first, last);
    while low < high {
        let middle = low + (high - low) / 2;
        match core.view.term_of(LogIndex(middle))? {
            Some(found) if found.0 >= term => high = middle,
            // It may have been given up meanwhile, and then what is before it too.
            _ => low = middle + 1,
        }
    }
    Ok(low)
}
