//! How far a group has come: commits that come late, that are meant to go back, and an operator's resets.

use std::sync::Arc;

use raftmq::protocol::code::{request, response};
use raftmq::remoting::{ClientOptions, RemotingClient, RemotingCommand, RequestHandler};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::ask::{Ask, Told, heartbeat, number, pull_command};
use super::cluster::{Cluster, LIMIT};

const GROUP: &str = "consumers";

/// A group's progress in a queue of a topic of a broker.
struct Progress<'a> {
    at: &'a str,
    queue: &'a str,
}

impl Progress<'_> {
    fn commit(&self, offset: i64) -> RemotingCommand {
        RemotingCommand::request(request::UPDATE_CONSUMER_OFFSET)
            .with_ext("consumerGroup", GROUP)
            .with_ext("topic", "Orders")
            .with_ext("queueId", self.queue)
            .with_ext("commitOffset", offset)
    }

    /// Commits and waits for the answer, whose code this is.
    async fn keep(&self, by: &Ask, offset: i64) -> i32 {
        by.request(self.at, self.commit(offset)).await.code
    }

    /// Commits and waits for no answer.
    fn tell(&self, by: &RemotingClient, offset: i64) {
        by.invoke_oneway(self.at, self.commit(offset));
    }

    async fn known(&self, by: &Ask) -> i64 {
        let queue = [("consumerGroup", GROUP), ("topic", "Orders"), ("queueId", self.queue)];
        number(&by.fields(self.at, request::QUERY_CONSUMER_OFFSET, &queue).await, "offset")
    }

    /// Code of the answer to a pull, and where to go on.
    async fn pull(&self, by: &Ask, offset: i64) -> (i32, i64) {
        let queue = self.queue.parse().unwrap();
        let answer = by.request(self.at, pull_command("Orders", queue, offset, 0)).await;
        (answer.code, number(&answer, "nextBeginOffset"))
    }
}

#[tokio::test]
async fn one_way_commits_are_seen_by_the_next_question() {
    let cluster = Cluster::start(1, "").await;
    cluster.leader().await;
    let (ask, at) = (Ask::new(), cluster.node(0).address.as_str());
    ask.send(at, "Orders", "x").await;
    ask.pull(at, "Orders", 0, 0).await;
    let progress = Progress { at, queue: "0" };
    for offset in 1..20 {
        progress.tell(&ask.client, offset);
        assert_eq!(progress.known(&ask).await, offset);
    }
}

/// A client fills a pull in, and may then wait for a connection while a commit of its own overtakes it.
#[tokio::test]
async fn a_commit_that_comes_with_a_pull_takes_no_newer_one_back() {
    let cluster = Cluster::start(1, "").await;
    cluster.leader().await;
    let (ask, at) = (Ask::new(), cluster.node(0).address.as_str());
    ask.send(at, "Orders", "x").await;
    ask.pull(at, "Orders", 0, 0).await;
    let progress = Progress { at, queue: "0" };
    assert_eq!(progress.keep(&ask, 10).await, response::SUCCESS);
    for (carried, then) in [("9", 10), ("11", 11)] {
        let mut pull = pull_command("Orders", 0, 0, 0);
        // A subscription, and an offset that is to be committed.
        pull.ext_fields.insert("sysFlag", "5");
        pull.ext_fields.insert("commitOffset", carried);
        assert_eq!(ask.request(at, pull).await.code, 0);
        assert_eq!(progress.known(&ask).await, then, "a pull carries {carried}");
    }
}

#[tokio::test]
async fn a_client_may_go_back() {
    let cluster = Cluster::start(1, "").await;
    cluster.leader().await;
    let (ask, at) = (Ask::new(), cluster.node(0).address.as_str());
    ask.send(at, "Orders", "x").await;
    ask.pull(at, "Orders", 0, 0).await;
    let progress = Progress { at, queue: "0" };
    for offset in [10, 3, 4, 1] {
        assert_eq!(progress.keep(&ask, offset).await, response::SUCCESS);
        assert_eq!(progress.known(&ask).await, offset);
    }
}

/// As when a network heals that had cut it off: its client had given the connection up, and committed more by
/// way of another member.
#[tokio::test]
async fn a_commit_goes_back_no_more_when_its_client_has_closed_the_connection() {
    let cluster = Cluster::start(1, "").await;
    cluster.leader().await;
    let at = cluster.node(0).address.as_str();
    let (tell, mut told) = mpsc::channel(10);
    let handler: Arc<dyn RequestHandler> = Arc::new(Told(tell));
    let ask = Ask { client: RemotingClient::new(ClientOptions::default(), Some(handler)) };
    let mut hear = async || timeout(LIMIT, told.recv()).await.unwrap().unwrap();
    ask.send(at, "Orders", "x").await;
    ask.pull(at, "Orders", 0, 0).await;
    ask.request(at, heartbeat("stays", "*")).await;
    hear().await;
    let (first, second) = (Progress { at, queue: "0" }, Progress { at, queue: "1" });
    assert_eq!(first.keep(&ask, 10).await, response::SUCCESS);

    for (takes_leave, then) in [(false, 10), (true, 3)] {
        assert_eq!(second.keep(&ask, 10).await, response::SUCCESS);
        let goes = Ask::new();
        goes.request(at, heartbeat("goes", "*")).await;
        hear().await;
        first.tell(&goes.client, 3);
        if takes_leave {
            let leave = [("clientID", "goes"), ("consumerGroup", "g1")];
            let left = goes.fields(at, request::UNREGISTER_CLIENT, &leave).await;
            assert_eq!(left.code, response::SUCCESS);
        }
        goes.client.shutdown();
        hear().await;
        // What goes back and came later than that is answered later.
        assert_eq!(second.keep(&ask, 5).await, response::SUCCESS);
        assert_eq!(first.known(&ask).await, then, "said that it goes: {takes_leave}");
    }
}

/// While its group shares the queues out anew, a queue may have two consumers.
#[tokio::test]
async fn who_has_not_heard_of_a_reset_does_not_undo_it_when_another_has_taken_it() {
    let cluster = Cluster::start(1, "").await;
    cluster.leader().await;
    let (one, other, operator) = (Ask::new(), Ask::new(), Ask::new());
    let at = cluster.node(0).address.as_str();
    for _ in 0..10 {
        operator.send(at, "Orders", "x").await;
    }
    let progress = Progress { at, queue: "0" };
    assert_eq!(progress.pull(&one, 0).await, (response::SUCCESS, 10));
    assert_eq!(progress.pull(&other, 0).await, (response::SUCCESS, 10));
    assert_eq!(progress.keep(&other, 9).await, response::SUCCESS);

    let reset = [
        ("topic", "Orders"),
        ("group", GROUP),
        ("timestamp", "0"),
        ("queueId", "0"),
        ("offset", "2"),
        ("isForce", "true"),
    ];
    let put = operator.fields(at, request::INVOKE_BROKER_TO_RESET_OFFSET, &reset).await;
    assert_eq!(put.code, response::SUCCESS);
    assert_eq!(progress.pull(&one, 10).await, (response::PULL_OFFSET_MOVED, 2));
    assert_eq!(progress.pull(&one, 2).await, (response::SUCCESS, 10));
    let taken = async {
        while progress.known(&operator).await != 3 {
            assert_eq!(progress.keep(&one, 3).await, response::SUCCESS);
        }
    };
    timeout(LIMIT, taken).await.unwrap();

    assert_eq!(progress.keep(&other, 9).await, response::SYSTEM_BUSY);
    progress.tell(&other.client, 9);
    assert_eq!(progress.pull(&other, 10).await, (response::PULL_OFFSET_MOVED, 3));
    assert_eq!(progress.known(&operator).await, 3);
    assert_eq!(progress.pull(&one, 9).await, (response::SUCCESS, 10), "it knows");
    assert_eq!(progress.pull(&other, 3).await, (response::SUCCESS, 10));
    assert_eq!(progress.keep(&other, 9).await, response::SUCCESS, "it has been told");
    assert_eq!(progress.known(&operator).await, 9);
    let late = Ask::new();
    assert_eq!(progress.pull(&late, 10).await, (response::PULL_OFFSET_MOVED, 9));
    assert_eq!(progress.keep(&one, 10).await, response::SUCCESS);
    let later = Ask::new();
    assert_eq!(progress.keep(&later, 12).await, response::SUCCESS, "the group is past it");
}
