//! Three members: whoever is asked, the group answers as one.

use raftmq::protocol::code::{request, response};
use tokio::time::timeout;

use super::ask::{Ask, bodies_of, heartbeat, number, pull_command, records_of, send_command};
use super::cluster::{Cluster, LIMIT};

#[tokio::test]
async fn a_follower_hands_on_what_only_the_leader_may_do() {
    let cluster = Cluster::start(3, "").await;
    let (leader, follower) = (cluster.leader().await, cluster.follower().await);
    let ask = Ask::new();
    let (at, lead) =
        (cluster.node(follower).address.as_str(), cluster.node(leader).address.as_str());

    let sent = ask.send(at, "Orders", "by a detour").await;
    assert_eq!(sent.code, 0, "{sent:?}");
    let pulled = ask.pull(lead, "Orders", 0, 0).await;
    let record = records_of(&pulled.body)[0];
    assert_eq!(record.store_host.to_string(), lead, "it is stored by the leader");
    assert_ne!(record.born_host.to_string(), at, "it came from the client");
    assert_eq!(record.born_host.ip().to_string(), "127.0.0.1");

    // A pull that the follower can serve, once it has applied what the leader acknowledged.
    let held = ask.pull(at, "Orders", 0, 10_000).await;
    assert_eq!((held.code, held.body), (0, pulled.body.clone()));

    let queue = [("consumerGroup", "consumers"), ("topic", "Orders"), ("queueId", "0")];
    let commit = [queue[0], queue[1], queue[2], ("commitOffset", "1")];
    assert_eq!(ask.fields(at, request::UPDATE_CONSUMER_OFFSET, &commit).await.code, 0);
    let known = ask.fields(at, request::QUERY_CONSUMER_OFFSET, &queue).await;
    assert_eq!(number(&known, "offset"), 1);
    let max = ask.fields(at, request::GET_MAX_OFFSET, &queue[1..]).await;
    assert_eq!(number(&max, "offset"), 1);

    let topic = [
        ("topic", "Made"),
        ("defaultTopic", "TBW102"),
        ("readQueueNums", "3"),
        ("writeQueueNums", "3"),
        ("perm", "6"),
        ("topicFilterType", "SINGLE_TAG"),
        ("order", "false"),
    ];
    assert_eq!(ask.fields(at, request::UPDATE_AND_CREATE_TOPIC, &topic).await.code, 0);
    let last = ask.request(at, send_command("Made", 2, "x", "")).await;
    assert_eq!(last.code, 0);
    let beyond = ask.request(at, send_command("Made", 3, "x", "")).await;
    assert_eq!(beyond.code, response::INVALID_PARAMETER, "the leader's refusal comes through");
}

#[tokio::test]
async fn only_the_leader_says_that_an_offset_does_not_exist() {
    let cluster = Cluster::start(3, "").await;
    let (leader, follower) = (cluster.leader().await, cluster.follower().await);
    let ask = Ask::new();
    let (at, lead) =
        (cluster.node(follower).address.as_str(), cluster.node(leader).address.as_str());
    ask.send(lead, "Orders", "x").await;
    assert_eq!(ask.pull(at, "Orders", 0, 10_000).await.code, 0);
    // A pull of a group that the follower does not know yet goes to the leader, which makes the group.
    let group = [("group", "consumers")];
    while ask.fields(at, request::GET_SUBSCRIPTIONGROUP_CONFIG, &group).await.code != 0 {
        tokio::task::yield_now().await;
    }

    let from_leader = ask.pull(lead, "Orders", 5, 0).await;
    assert_eq!(from_leader.code, response::PULL_OFFSET_MOVED);
    assert_eq!(number(&from_leader, "nextBeginOffset"), 1);
    let from_follower = ask.pull(at, "Orders", 5, 200).await;
    assert_eq!(from_follower.code, response::PULL_NOT_FOUND);
    assert_eq!(number(&from_follower, "nextBeginOffset"), 5, "no step back on its word");
}

#[tokio::test]
async fn leadership_moves_on_request_and_waiting_pulls_survive() {
    let cluster = Cluster::start(3, "").await;
    let leader = cluster.leader().await;
    let ask = Ask::new();
    let old = cluster.node(leader).address.clone();
    ask.send(&old, "Orders", "before").await;
    // The first of its group: what comes after it waits for messages, not for the group to be made.
    ask.pull(&old, "Orders", 0, 0).await;
    let waiting = {
        let (client, at) = (ask.client.clone(), old.clone());
        let command = pull_command("Orders", 0, 1, 15_000);
        tokio::spawn(async move { client.invoke(&at, command, LIMIT).await.unwrap() })
    };
    let moved = ask.fields(&old, request::TRANSFER_LEADER, &[]).await;
    assert_eq!(moved.code, 0, "{moved:?}");
    assert_ne!(number(&moved, "target"), i64::try_from(leader).unwrap() + 1);
    // Released by the change of role, or woken by the message: in any case answered, and right.
    ask.send_in_the_end(&old, "Orders", "after").await;
    let answer = waiting.await.unwrap();
    match answer.code {
        0 => assert_eq!(bodies_of(&answer.body), ["after"]),
        // The election took longer than a request waits for one.
        response::SERVICE_NOT_AVAILABLE => {}
        code => {
            assert_eq!(code, response::PULL_NOT_FOUND);
            assert_eq!(number(&answer, "nextBeginOffset"), 1);
        }
    }
    let status = ask.fields(&old, request::RAFT_STATUS, &[]).await;
    assert!(String::from_utf8_lossy(&status.body).contains("\"serving\":false"));
}

#[tokio::test]
async fn a_restarted_member_names_clients_that_have_not_told_it_of_themselves_yet() {
    let mut cluster = Cluster::start(3, "").await;
    cluster.leader().await;
    let restarted = cluster.follower().await;
    let (first, second) = (Ask::new(), Ask::new());
    for n in 0..3 {
        let at = cluster.node(n).address.as_str();
        first.request(at, heartbeat("client-1", "*")).await;
        second.request(at, heartbeat("client-2", "*")).await;
    }
    cluster.stop(restarted).await;
    cluster.restart(restarted).await;
    let at = cluster.node(restarted).address.as_str();
    // It knows the leader by then.
    first.send_in_the_end(at, "Orders", "by a detour").await;
    first.request(at, heartbeat("client-1", "*")).await;
    let group = [("consumerGroup", "g1")];
    let both = async {
        // It waits only a moment for what the others say.
        let both = br#"{"consumerIdList":["client-1","client-2"]}"#;
        let list = || first.fields(at, request::GET_CONSUMER_LIST_BY_GROUP, &group);
        while list().await.body[..] != both[..] {}
    };
    timeout(LIMIT, both).await.expect("both are named");
}
