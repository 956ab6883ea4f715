//! Groups of one and three members over real sockets and files.
#![allow(clippy::unwrap_used)]

mod app;
mod cluster;
mod doubt;
mod faults;
mod given_up;
mod lost_disk;
mod lost_page;
mod lost_snapshot;
mod older_copy;
mod proxy;
mod slow_disk;

use std::collections::BTreeSet;
use std::sync::Arc;

use prost::Message as _;
use raft_log::{Disk, Log, Position};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Duration, Instant};

use super::machine::Refusal;
use super::wire::{FrameBuffer, Hello, MAGIC, PROTOCOL_VERSION, Welcome};
use super::{FlushMode, PeerState, Role};
use app::{Append, Shared, State};
use cluster::{Cluster, Settings, within};
use proxy::Link;

fn values<D: Disk>(cluster: &Cluster<D>, id: u64) -> Vec<u64> {
    cluster.members[&id].state.lock().values.clone()
}

/// Proposes `count` numbers as fast as they are taken and waits for all; those acknowledged.
async fn append_many<D: Disk>(
    cluster: &Cluster<D>,
    id: u64,
    first: u64,
    count: u64,
    bytes: usize,
) -> Vec<u64> {
    let mut answers = Vec::new();
    for value in first..first + count {
        answers.push((value, cluster.propose(id, value, bytes).await));
    }
    let mut acknowledged = Vec::new();
    for (value, answer) in answers {
        if within("an answer", answer).await.expect("every proposal is answered").is_ok() {
            acknowledged.push(value);
        }
    }
    acknowledged
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_members_elect_append_and_have_identical_logs() {
    let mut cluster = Cluster::start(Settings::default()).await;
    let leader = cluster.leader().await;
    let began = Instant::now();
    let acknowledged = append_many(&cluster, leader, 0, 10_000, 1024).await;
    let took = began.elapsed();
    println!("10000 proposals of 1 KiB: {:.0}/s", 10_000.0 / took.as_secs_f64());
    assert_eq!(acknowledged, (0..10_000).collect::<Vec<_>>());
    cluster.converge(leader).await;
    for id in 1..=3 {
        assert_eq!(values(&cluster, id), acknowledged, "member {id}");
        assert_eq!(
            cluster.handle(id).leader_client_addr(),
            Some(format!("client-of-{leader}:10911")),
            "as member {id} sees it"
        );
    }
    cluster.kill_all().await;
    let first = cluster.entries(1);
    assert!(first.len() > 100 && first.len() < 5_000, "batched: {} entries", first.len());
    assert_eq!(first, cluster.entries(2));
    assert_eq!(first, cluster.entries(3));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_leader_is_replaced_at_once_and_nothing_acknowledged_is_lost() {
    // What waits for that is noticed on any machine.
    let election_timeout_ms = 20_000;
    let settings = Settings { election_timeout_ms, ..Settings::default() };
    let mut cluster = Cluster::start(settings).await;
    let mut acknowledged = BTreeSet::new();
    let mut took = Vec::new();
    for round in 0..5 {
        let leader = cluster.leader().await;
        let first = round * 1000;
        acknowledged.extend(append_many(&cluster, leader, first, 500, 100).await);
        // These are in flight when it dies.
        let mut in_flight = Vec::new();
        for value in first + 500..first + 600 {
            in_flight.push((value, cluster.propose(leader, value, 100).await));
        }
        let began = Instant::now();
        cluster.kill(leader).await;
        let next = cluster.leader_except(leader).await;
        took.push(began.elapsed());
        assert!(cluster.append(next, first + 999, 10).await.is_ok());
        acknowledged.insert(first + 999);
        for (value, answer) in in_flight {
            if let Ok(Ok(_)) = answer.await {
                acknowledged.insert(value);
            }
        }
        // A killed owner's applier may still be finishing: its machine is not reused.
        cluster.start_member(leader).await;
        cluster.converge(next).await;
        let have: BTreeSet<u64> = values(&cluster, next).into_iter().collect();
        assert!(acknowledged.is_subset(&have), "round {round}");
    }
    took.sort();
    println!("from kill to serving: {took:?}");
    assert!(took[2] < Duration::from_millis(election_timeout_ms / 2), "median of {took:?}");
    let leader = cluster.leader().await;
    for id in 1..=3 {
        assert_eq!(values(&cluster, id), values(&cluster, leader), "member {id}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_member_catches_up_from_where_its_state_stands() {
    let mut cluster = Cluster::start(Settings::default()).await;
    let leader = cluster.leader().await;
    append_many(&cluster, leader, 0, 100, 100).await;
    cluster.converge(leader).await;
    let follower = (1..=3).find(|&id| id != leader).unwrap();
    cluster.stop(follower).await;
    append_many(&cluster, leader, 100, 100, 100).await;
    // Its machine kept a checkpoint of its own, taken a while before the end.
    let kept = State { values: (0..100).collect(), ..State::default() };
    let state: Shared = Arc::new(kept.into());
    let upto = cluster.members[&leader].state.lock().applied;
    assert!(upto > 1);
    // Replaying from the start must rebuild it, replaying from a checkpoint must not double it.
    state.lock().values.clear();
    cluster.start_with(follower, Arc::clone(&state)).await;
    cluster.converge(leader).await;
    assert_eq!(state.lock().values, (0..200).collect::<Vec<_>>());
    cluster.stop(follower).await;
    append_many(&cluster, leader, 200, 50, 100).await;
    cluster.start_with(follower, Arc::clone(&state)).await;
    cluster.converge(leader).await;
    assert_eq!(state.lock().values, (0..250).collect::<Vec<_>>());
    assert_eq!(state.lock().restored, 0, "no snapshot was needed");
}

/// Where logs begin after [`compact_without`].
const COMPACTED_TO: Position = Position(256 << 10);

/// All members but this follower let go of the log's beginning, while ten numbers from `first` on are appended.
async fn compact_without<D: Disk>(cluster: &Cluster<D>, leader: u64, follower: u64, first: u64) {
    for id in (1..=3).filter(|&id| id != follower) {
        cluster.members[&id].state.lock().compact_to = Some(COMPACTED_TO);
    }
    append_many(cluster, leader, first, 10, 500).await;
    cluster.wait_status(leader, "compaction", |status| status.first_position == COMPACTED_TO).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_lags_behind_the_log_gets_a_snapshot() {
    let settings =
        Settings { segment_bytes: 64 << 10, entry_bytes_target: 4 << 10, ..Settings::default() };
    let mut cluster = Cluster::start(settings).await;
    let leader = cluster.leader().await;
    let follower = (1..=3).find(|&id| id != leader).unwrap();
    append_many(&cluster, leader, 0, 10, 100).await;
    cluster.converge(leader).await;
    cluster.kill(follower).await;
    append_many(&cluster, leader, 10, 1000, 500).await;
    compact_without(&cluster, leader, follower, 1010).await;
    cluster.start_member(follower).await;
    cluster.converge(leader).await;
    for id in 1..=3 {
        assert_eq!(values(&cluster, id), (0..1020).collect::<Vec<_>>(), "member {id}");
        cluster
            .wait_status(id, "all members' logs to begin at the same position", |status| {
                status.first_position == COMPACTED_TO
            })
            .await;
    }
    assert_eq!(cluster.members[&follower].state.lock().restored, 1);
    // And it starts again from what it installed, with a machine that knows nothing.
    cluster.kill(follower).await;
    append_many(&cluster, leader, 1020, 10, 500).await;
    cluster.start_member(follower).await;
    cluster.converge(leader).await;
    assert_eq!(values(&cluster, follower), (0..1030).collect::<Vec<_>>());
    cluster.kill_all().await;
    assert_eq!(cluster.entries(1), cluster.entries(2));
    assert_eq!(cluster.entries(2), cluster.entries(3));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_member_may_be_elected_before_its_snapshot_is_applied() {
    // A handover has as long as may be.
    let settings = Settings {
        segment_bytes: 64 << 10,
        entry_bytes_target: 4 << 10,
        election_timeout_ms: 20_000,
        ..Settings::default()
    };
    let mut cluster = Cluster::start(settings).await;
    let leader = cluster.leader().await;
    let follower = (1..=3).find(|&id| id != leader).unwrap();
    cluster.kill(follower).await;
    append_many(&cluster, leader, 0, 1000, 500).await;
    compact_without(&cluster, leader, follower, 1000).await;
    let (release, held) = std::sync::mpsc::channel();
    let state = Shared::default();
    state.lock().hold_restore = Some(held);
    cluster.start_with(follower, Arc::clone(&state)).await;
    cluster
        .wait_status(follower, "the snapshot", |status| status.first_position == COMPACTED_TO)
        .await;
    let to = Some(follower);
    assert_eq!(
        within("a handover", cluster.handle(leader).transfer_leader(to)).await,
        Ok(follower)
    );
    assert_eq!(state.lock().restored, 0, "it was elected with the snapshot not applied");
    assert!(!cluster.handle(follower).status().borrow().serving, "and serves nobody yet");
    drop(release);
    assert_eq!(cluster.leader_except(leader).await, follower);
    append_many(&cluster, follower, 1010, 10, 500).await;
    cluster.converge(follower).await;
    for id in 1..=3 {
        assert_eq!(values(&cluster, id), (0..1020).collect::<Vec<_>>(), "member {id}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leadership_is_handed_over_on_request_and_on_shutdown() {
    // A handover has as long as may be.
    let settings = Settings { election_timeout_ms: 20_000, ..Settings::default() };
    let mut cluster = Cluster::start(settings).await;
    let leader = cluster.leader().await;
    append_many(&cluster, leader, 0, 100, 100).await;
    let to = (1..=3).find(|&id| id != leader).unwrap();
    let refused = cluster.handle(to).transfer_leader(None).await;
    assert_eq!(refused, Err(Refusal::NotLeader { leader: Some(leader) }));
    let began = Instant::now();
    let took_over = within("a handover", cluster.handle(leader).transfer_leader(Some(to))).await;
    assert_eq!(took_over, Ok(to));
    assert_eq!(cluster.leader_except(leader).await, to);
    println!("handover to service: {:?}", began.elapsed());
    assert!(cluster.append(to, 100, 10).await.is_ok());
    let (late, _answer) = Append::new(7, 7);
    let refusal = cluster.handle(leader).propose(late).unwrap_err().1;
    assert_eq!(refusal, Refusal::NotLeader { leader: Some(to) });
    let began = Instant::now();
    cluster.stop(to).await;
    let next = cluster.leader_except(to).await;
    println!("shutdown of the leader to service: {:?}", began.elapsed());
    assert!(cluster.append(next, 101, 10).await.is_ok());
    let (alone, other) = (next, (1..=3).find(|&id| id != next && id != to).unwrap());
    assert_eq!(within("a handover", cluster.handle(alone).transfer_leader(None)).await, Ok(other));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_cut_off_abandons_what_is_in_flight_as_unknown() {
    let cluster = Cluster::start(Settings::default()).await;
    let leader = cluster.leader().await;
    append_many(&cluster, leader, 0, 10, 100).await;
    cluster.links_of(leader).for_each(Link::cut);
    let lost = cluster.propose(leader, 1000, 100).await;
    let reader = cluster.handle(leader).clone();
    let read = tokio::spawn(async move { reader.read_index().await });
    let next = cluster.leader_except(leader).await;
    assert!(cluster.append(next, 10, 100).await.is_ok());
    assert_eq!(within("the answer", lost).await.unwrap(), Err(Refusal::Unknown));
    let refused = within("the read", read).await.unwrap();
    assert!(matches!(refused, Err(Refusal::NotLeader { .. })), "{refused:?}");
    {
        let state = cluster.members[&leader].state.lock();
        assert_eq!((state.begun.len(), state.ended), (1, 1));
    }
    cluster.links.values().for_each(Link::mend);
    cluster.converge(next).await;
    for id in 1..=3 {
        assert_eq!(values(&cluster, id), (0..=10).collect::<Vec<_>>(), "member {id}");
    }
    assert_eq!(cluster.leader().await, next, "the one that was cut off does not disturb");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_broken_connection_does_not_depose_a_live_leader() {
    let cluster = Cluster::start(Settings::default()).await;
    let leader = cluster.leader().await;
    let term = cluster.handle(leader).status().borrow().term;
    let follower = (1..=3).find(|&id| id != leader).unwrap();
    for _ in 0..5 {
        cluster.links[&(leader, follower)].cut();
        let lost = |status: &super::ReplicaStatus| status.leader.is_none();
        cluster.wait_status(follower, "the loss", lost).await;
        cluster.links[&(leader, follower)].mend();
        let found = |status: &super::ReplicaStatus| status.leader == Some(leader);
        cluster.wait_status(follower, "the leader again", found).await;
        assert!(cluster.append(leader, 1, 10).await.is_ok());
    }
    let status = cluster.handle(leader).status().borrow().clone();
    assert_eq!((status.role, status.term), (Role::Leader, term));
    let replicates = |status: &super::ReplicaStatus| {
        status.peers.iter().all(|peer| {
            peer.connected && peer.state == PeerState::Replicate && peer.matched == status.commit
        })
    };
    cluster.wait_status(leader, "both peers replicating", replicates).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_alone_serves_at_once_and_again_after_a_restart() {
    for flush_mode in [FlushMode::Sync, FlushMode::Async] {
        let settings = Settings { members: 1, flush_mode, ..Settings::default() };
        let mut cluster = Cluster::start(settings).await;
        assert_eq!(cluster.leader().await, 1);
        let acknowledged = append_many(&cluster, 1, 0, 1000, 100).await;
        assert_eq!(acknowledged.len(), 1000);
        assert!(cluster.append(1, 5000, 2 << 20).await == Err(Refusal::TooLarge));
        assert_eq!(cluster.handle(1).transfer_leader(None).await, Err(Refusal::Overloaded));
        cluster.stop(1).await;
        cluster.start_member(1).await;
        cluster.leader().await;
        within("a read", cluster.handle(1).read_index()).await.unwrap();
        assert_eq!(values(&cluster, 1), acknowledged);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machine_ahead_of_its_log_is_put_back() {
    let settings = Settings { members: 1, ..Settings::default() };
    let mut cluster = Cluster::start(settings).await;
    cluster.leader().await;
    append_many(&cluster, 1, 0, 10, 100).await;
    cluster.stop(1).await;
    let ahead = State { values: vec![99; 50], applied: 1_000_000, ..State::default() };
    cluster.start_with(1, Arc::new(ahead.into())).await;
    cluster.leader().await;
    within("a read", cluster.handle(1).read_index()).await.unwrap();
    assert_eq!(values(&cluster, 1), (0..10).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_than_may_wait_is_refused_as_overload() {
    let settings = Settings { waiting_proposals_max: 8, ..Settings::default() };
    let mut cluster = Cluster::start(settings).await;
    let leader = cluster.leader().await;
    for id in (1..=3).filter(|&id| id != leader) {
        cluster.kill(id).await;
    }
    let mut taken = Vec::new();
    let refused = loop {
        let (proposal, answer) = Append::new(taken.len() as u64, 10);
        match cluster.handle(leader).propose(proposal) {
            Ok(()) => taken.push(answer),
            Err((_, refusal)) => break refusal,
        }
        assert!(taken.len() < 10_000, "without a quorum nothing drains the queue");
        tokio::task::yield_now().await;
    };
    assert_eq!(refused, Refusal::Overloaded);
    for answer in taken {
        // In flight: unknown. Never sequenced: refused for certain.
        let outcome = within("an answer", answer).await.unwrap();
        assert!(
            matches!(outcome, Err(Refusal::Unknown | Refusal::NotLeader { .. })),
            "{outcome:?}"
        );
    }
}

/// What a member answers to a handshake.
async fn knock(cluster: &Cluster, change: impl FnOnce(&mut Hello)) -> Option<String> {
    let mut hello = Hello {
        magic: MAGIC,
        version: PROTOCOL_VERSION,
        cluster: cluster.name(),
        group: "group".to_owned(),
        member: 2,
        to: 1,
        instance: 4711,
        client_addr: String::new(),
        purpose: 0,
    };
    change(&mut hello);
    let mut frames = FrameBuffer::default();
    frames.put_plain(&hello);
    let mut stream = TcpStream::connect(cluster.links[&(2, 1)].address).await.unwrap();
    for chunk in frames.take_chunks() {
        stream.write_all(&chunk).await.unwrap();
    }
    let length = stream.read_u32().await.unwrap();
    let mut answer = vec![0; length as usize];
    stream.read_exact(&mut answer).await.unwrap();
    Welcome::decode(&answer[..]).unwrap().refusal
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_and_impostors_are_refused_with_the_reason() {
    let cluster = Cluster::start(Settings::default()).await;
    let leader = cluster.leader().await;
    cluster.converge(leader).await;
    let both_speak = |status: &super::ReplicaStatus| status.peers.iter().all(|p| p.connected);
    cluster.wait_status(1, "the others", both_speak).await;
    cluster.wait_status(2, "the others", both_speak).await;
    let refusal = |change: fn(&mut Hello)| {
        let cluster = &cluster;
        async move { within("an answer", knock(cluster, change)).await.unwrap_or_default() }
    };
    let wrong_cluster = refusal(|hello| hello.cluster = "other".to_owned()).await;
    assert_eq!(wrong_cluster, format!("this is cluster {}, not other", cluster.name()));
    let wrong_group = refusal(|hello| hello.group = "other".to_owned()).await;
    assert_eq!(wrong_group, "this is group group, not other");
    let wrong_version = refusal(|hello| hello.version = 99).await;
    assert_eq!(wrong_version, "we speak protocol version 2, not 99");
    let wrong_address = refusal(|hello| hello.to = 3).await;
    assert_eq!(wrong_address, "this is member 1, not 3");
    assert_eq!(refusal(|hello| hello.member = 1).await, "we are member 1 ourselves");
    assert_eq!(refusal(|hello| hello.member = 9).await, "member 9 is not one of this group's");
    assert_eq!(refusal(|hello| hello.magic = 1).await, "this port is for raftmq members only");
    assert_eq!(refusal(|_| ()).await, "another process speaks for member 2");
    let again = append_many(&cluster, leader, 0, 10, 10).await;
    assert_eq!(again.len(), 10, "the group is not impressed");
}

#[tokio::test]
async fn a_member_that_replays_more_than_it_may_hold_applies_all_of_it() {
    let settings = Settings { unapplied_bytes_max: 4 << 10, ..Settings::default() };
    let mut cluster = Cluster::start(settings).await;
    let leader = cluster.leader().await;
    let mut acknowledged = append_many(&cluster, leader, 0, 500, 1024).await;
    assert_eq!(acknowledged.len(), 500);
    for id in 1..=3 {
        cluster.stop(id).await;
    }
    cluster.start_all().await;
    let leader = cluster.leader().await;
    acknowledged.extend(append_many(&cluster, leader, 500, 100, 1024).await);
    cluster.converge(leader).await;
    for id in 1..=3 {
        assert_eq!(values(&cluster, id), acknowledged, "member {id}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn asynchronous_flush_survives_the_death_of_a_process() {
    let settings = Settings { flush_mode: FlushMode::Async, ..Settings::default() };
    let mut cluster = Cluster::start(settings).await;
    let leader = cluster.leader().await;
    let began = Instant::now();
    let acknowledged = append_many(&cluster, leader, 0, 10_000, 1024).await;
    let per_second = 10_000.0 / began.elapsed().as_secs_f64();
    println!("10000 proposals of 1 KiB, asynchronous flush: {per_second:.0}/s");
    cluster.kill(leader).await;
    let next = cluster.leader_except(leader).await;
    cluster.start_member(leader).await;
    cluster.converge(next).await;
    for id in 1..=3 {
        assert_eq!(values(&cluster, id), acknowledged, "member {id}");
    }
}

#[tokio::test]
async fn settings_that_contradict_each_other_are_refused() {
    let settings = Settings { members: 1, ..Settings::default() };
    let cluster = Cluster::prepare(settings).await;
    let mut options = cluster.options(1).await;
    options.election_timeout_ms = options.heartbeat_interval_ms;
    let state = Shared::default();
    let log: Log<raft_log::RealDisk> = cluster.open_log(1);
    let refused = super::Replica::start(
        options,
        log,
        app::AppSequencer(Arc::clone(&state)),
        app::AppMachine(state),
    )
    .await;
    assert!(matches!(refused, Err(super::StartError::Options(_))));
}
