//! The leader dies or leaves: what was acknowledged stays, and whoever is asked goes on.

use raftmq::protocol::code::request;

use super::ask::{Ask, number};
use super::cluster::{Cluster, LIMIT};

#[tokio::test]
async fn a_killed_leader_takes_nothing_acknowledged_with_it() {
    let mut cluster = Cluster::start(3, "").await;
    let leader = cluster.leader().await;
    let ask = Ask::new();
    let mut acknowledged = Vec::new();
    let at = cluster.node(leader).address.clone();
    for n in 0..20 {
        let body = format!("message {n}");
        assert_eq!(ask.send(&at, "Orders", &body).await.code, 0);
        acknowledged.push(body);
    }
    let queue = [("consumerGroup", "consumers"), ("topic", "Orders"), ("queueId", "0")];
    ask.pull(&at, "Orders", 0, 0).await;
    let commit = [queue[0], queue[1], queue[2], ("commitOffset", "11")];
    assert_eq!(ask.fields(&at, request::UPDATE_CONSUMER_OFFSET, &commit).await.code, 0);

    let survivor = cluster.follower().await;
    cluster.kill(leader);
    // Nobody waits for the election here: the survivor does.
    let at = cluster.node(survivor).address.clone();
    let mut stored = 0;
    while stored < 20 {
        let body = format!("message {}", 20 + stored);
        let answer = ask.send(&at, "Orders", &body).await;
        if answer.code == 0 {
            acknowledged.push(body);
            stored += 1;
        }
    }
    let new_leader = cluster.leader().await;
    let at = cluster.node(new_leader).address.clone();
    let consumed = ask.bodies(&at, "Orders").await;
    let unique: Vec<_> = acknowledged.iter().filter(|body| !consumed.contains(body)).collect();
    assert!(unique.is_empty(), "lost: {unique:?}");
    assert_eq!(&consumed[..20], &acknowledged[..20]);
    let known = ask.fields(&at, request::QUERY_CONSUMER_OFFSET, &queue).await;
    assert_eq!(number(&known, "offset"), 11);

    cluster.restart(leader).await;
    cluster.leader().await;
    let at = cluster.node(leader).address.clone();
    let held = ask.pull(&at, "Orders", i64::try_from(consumed.len()).unwrap() - 1, 15_000).await;
    assert_eq!(held.code, 0, "it catches up: {held:?}");
    assert_eq!(ask.bodies(&at, "Orders").await, consumed);
}

#[tokio::test]
async fn an_orderly_stop_answers_everybody_and_leaves_a_leader() {
    let mut cluster = Cluster::start(3, "").await;
    let leader = cluster.leader().await;
    let ask = Ask::new();
    let at = cluster.node(leader).address.clone();
    ask.send(&at, "Orders", "x").await;
    // The first of its group: what comes after it waits for messages, not for the group to be made.
    ask.pull(&at, "Orders", 0, 0).await;
    let waiting = {
        let (client, at) = (ask.client.clone(), at.clone());
        let command = super::ask::pull_command("Orders", 0, 1, 15_000);
        tokio::spawn(async move { client.invoke(&at, command, LIMIT).await })
    };
    // In flight before the stop begins, because the connection keeps its order.
    ask.fields(&at, request::RAFT_STATUS, &[]).await;
    cluster.stop(leader).await;
    let answer = waiting.await.unwrap().unwrap();
    assert_eq!(number(&answer, "nextBeginOffset"), 1);
    let other = cluster.follower().await;
    let at = cluster.node(other).address.clone();
    assert_eq!(ask.send(&at, "Orders", "y").await.code, 0);
}

#[tokio::test]
async fn the_preferred_leader_leads_again_once_it_is_back() {
    let mut cluster = Cluster::start_with(3, "", "preferredLeaderId=n2").await;
    cluster.leader().await;
    cluster.stop(2).await;
    assert_ne!(cluster.leader().await, 2);
    cluster.restart(2).await;
    let mut status = cluster.node(2).status.clone();
    let leads = status.wait_for(|status| status.serving);
    tokio::time::timeout(2 * LIMIT, leads).await.unwrap().unwrap();
}
