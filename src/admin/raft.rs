//! `raftStatus` and `transferLeader`: the Raft group behind a broker name.

use serde_json::json;

use super::arguments::{RaftStatusArgs, TransferLeaderArgs};
use super::table::{Column, left, render, right};
use super::{AdminError, print};
use crate::client::{Admin, BrokerAddress};
use crate::protocol::body::RaftStatus;
use crate::protocol::route::MASTER_ID;

const STATUS: [Column; 10] = [
    left("#Broker Name", 22),
    left("#Member", 7),
    left("#Addr", 22),
    left("#Role", 12),
    right("#Term", 6),
    right("#Commit", 12),
    right("#Applied", 12),
    right("#Last Index", 12),
    right("#Lag", 8),
    left("#Leader", 7),
];

/// A member and what it says of itself.
struct Member {
    address: String,
    status: RaftStatus,
}

pub(super) async fn status(admin: &Admin, arguments: &RaftStatusArgs) -> Result<(), AdminError> {
    let addresses = match &arguments.broker {
        Some(address) => vec![address.clone()],
        None => {
            let brokers = admin.brokers(arguments.cluster.as_deref()).await?;
            brokers.into_iter().map(|broker| broker.address).collect()
        }
    };
    let mut members = Vec::new();
    let mut silent = 0;
    for address in addresses {
        match admin.raft_status(&address).await {
            Ok(status) => members.push(Member { address, status }),
            Err(error) => {
                eprintln!("admin: {error}");
                silent += 1;
            }
        }
    }
    members.sort_by(|a, b| {
        let key = |member: &Member| (member.status.broker_name.clone(), member.status.member);
        key(a).cmp(&key(b))
    });
    let rows = rows(&members);
    let json = || {
        let member = |member: &Member| {
            let lag = lag(&members, member);
            json!({"address": member.address, "lag": lag, "status": member.status})
        };
        members.iter().map(member).collect()
    };
    print(&arguments.common, || render(&STATUS, &rows), json)?;
    if silent > 0 { Err(AdminError::Incomplete(silent)) } else { Ok(()) }
}

/// Every member that answered, and those that only their leader speaks of.
fn rows(members: &[Member]) -> Vec<Vec<String>> {
    let mut rows: Vec<Vec<String>> = members.iter().map(|member| row(members, member)).collect();
    for leader in members.iter().filter(|member| leads(&member.status)) {
        let name = &leader.status.broker_name;
        for peer in &leader.status.peers {
            let answered =
                |m: &Member| m.status.broker_name == *name && m.status.member == peer.member;
            if members.iter().any(answered) {
                continue;
            }
            let lag = leader.status.commit.saturating_sub(peer.matched);
            rows.push(vec![
                name.clone(),
                member_name(peer.member),
                peer.client_addr.clone().unwrap_or_else(|| "-".to_owned()),
                if peer.connected { "connected" } else { "unreachable" }.to_owned(),
                "-".to_owned(),
                "-".to_owned(),
                "-".to_owned(),
                peer.matched.to_string(),
                lag.to_string(),
                member_name(leader.status.member),
            ]);
        }
    }
    rows.sort();
    rows
}

fn row(members: &[Member], member: &Member) -> Vec<String> {
    let status = &member.status;
    vec![
        status.broker_name.clone(),
        member_name(status.member),
        member.address.clone(),
        status.role.to_lowercase(),
        status.term.to_string(),
        status.commit.to_string(),
        status.applied.to_string(),
        status.last_index.to_string(),
        lag(members, member).to_string(),
        status.leader.map_or_else(|| "-".to_owned(), member_name),
    ]
}

fn leads(status: &RaftStatus) -> bool {
    status.role.eq_ignore_ascii_case("leader")
}

/// Entries that the group has committed and this member has not applied.
fn lag(members: &[Member], member: &Member) -> u64 {
    let of_group = members.iter().filter(|m| m.status.broker_name == member.status.broker_name);
    let committed = of_group.map(|member| member.status.commit).max().unwrap_or(0);
    committed.saturating_sub(member.status.applied)
}

/// Members are numbered from n0 in configuration files and from 1 in Raft.
fn member_name(raft_id: u64) -> String {
    format!("n{}", raft_id.saturating_sub(1))
}

fn raft_id(member: &str) -> Result<u64, AdminError> {
    let number = member.strip_prefix('n').and_then(|digits| digits.parse::<u64>().ok());
    let raft_id = number.and_then(|number| number.checked_add(1));
    raft_id.ok_or_else(|| AdminError::NotAMember(member.to_owned()))
}

pub(super) async fn transfer_leader(
    admin: &Admin,
    arguments: &TransferLeaderArgs,
) -> Result<(), AdminError> {
    let target = arguments.member.as_deref().map(raft_id).transpose()?;
    let address = match (&arguments.broker, &arguments.broker_name) {
        (Some(address), _) => address.clone(),
        (None, name) => {
            let name = name.as_deref().unwrap_or_default();
            leader_of(admin.brokers(None).await?, name)?
        }
    };
    let leader = member_name(admin.transfer_leader(&address, target).await?);
    let json = || json!({"leader": leader});
    print(&arguments.common, || format!("transfer leader to {leader} success.\n"), json)
}

fn leader_of(brokers: Vec<BrokerAddress>, broker_name: &str) -> Result<String, AdminError> {
    let mut of_group = brokers.into_iter().filter(|broker| broker.broker_name == broker_name);
    // Any member passes the request on to the leader.
    let first = of_group.next().ok_or_else(|| AdminError::NoBrokerName(broker_name.to_owned()))?;
    let leader = of_group.find(|broker| broker.broker_id == MASTER_ID);
    Ok(match leader {
        Some(leader) if first.broker_id != MASTER_ID => leader.address,
        _ => first.address,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::protocol::body::RaftPeer;

    fn member(raft_id: u64, role: &str, commit: u64, applied: u64) -> Member {
        let status = RaftStatus {
            broker_name: "b".into(),
            member: raft_id,
            role: role.into(),
            commit,
            applied,
            leader: Some(1),
            ..RaftStatus::default()
        };
        Member { address: format!("h:{raft_id}"), status }
    }

    #[test]
    fn lag_is_against_the_most_advanced_member() {
        let members = [member(1, "leader", 100, 100), member(2, "follower", 90, 80)];
        assert_eq!((lag(&members, &members[0]), lag(&members, &members[1])), (0, 20));
    }

    #[test]
    fn a_member_that_does_not_answer_is_shown_by_its_leader() {
        let mut leader = member(1, "Leader", 100, 100);
        leader.status.peers = vec![
            RaftPeer { member: 2, matched: 100, connected: true, ..RaftPeer::default() },
            RaftPeer { member: 3, matched: 40, connected: false, ..RaftPeer::default() },
        ];
        let rows = rows(&[leader, member(2, "follower", 100, 100)]);
        assert_eq!(rows.len(), 3);
        assert_eq!(rows[2][1..4], ["n2", "-", "unreachable"]);
        assert_eq!(rows[2][8], "60");
    }

    #[test]
    fn members_are_named_as_in_the_configuration() {
        assert_eq!(raft_id("n0").unwrap(), 1);
        assert_eq!(member_name(3), "n2");
        assert!(raft_id("2").is_err() && raft_id("n").is_err());
    }
}
