//! Locks of consumers in order, over the wire: one holder at a time, known to a new leader, and free
//! soon after the holder's connection has closed.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "drives real processes")]

mod support;

use std::time::Duration;

use serde_json::{Value, json};
use support::cluster::{BROKER_NAME, Cluster};
use support::poll;
use support::wire::{SUCCESS, Wire};

const TOPIC: &str = "Locked";
const GROUP: &str = "in-order";
const QUEUES: i32 = 4;
const HEART_BEAT: i32 = 34;
const NOTIFY_CONSUMER_IDS_CHANGED: i32 = 40;
const LOCK_BATCH_MQ: i32 = 41;
const UNLOCK_BATCH_MQ: i32 = 42;
const NONE: [i64; 0] = [];
/// Below the thirty seconds for which a client goes by a lock.
const SOON: Duration = Duration::from_secs(25);

/// A member of the group, connected to one broker.
struct Client {
    id: &'static str,
    wire: Wire,
    notices: usize,
}

impl Client {
    fn join(cluster: &Cluster, member: usize, id: &'static str) -> Client {
        let mut client = Client { id, wire: cluster.connect(member), notices: 0 };
        let body = json!({
            "clientID": id, "producerDataSet": [],
            "consumerDataSet": [{
                "groupName": GROUP, "consumeType": "CONSUME_PASSIVELY", "messageModel": "CLUSTERING",
                "consumeFromWhere": "CONSUME_FROM_FIRST_OFFSET", "unitMode": false,
                "subscriptionDataSet": [{
                    "topic": TOPIC, "subString": "*", "tagsSet": [], "codeSet": [],
                    "subVersion": 1, "expressionType": "TAG", "classFilterMode": false,
                }],
            }],
        });
        client.call(HEART_BEAT, &body);
        client
    }

    /// The body of the answer; counts what the broker says unasked.
    fn call(&mut self, code: i32, body: &Value) -> Vec<u8> {
        let body = serde_json::to_vec(body).unwrap();
        let opaque = self.wire.request(code, json!({}), &body).unwrap();
        loop {
            let answer = self.wire.receive().unwrap();
            if answer.opaque == opaque && answer.code != NOTIFY_CONSUMER_IDS_CHANGED {
                assert_eq!(answer.code, SUCCESS, "{}", answer.remark);
                return answer.body;
            }
            assert_eq!(answer.code, NOTIFY_CONSUMER_IDS_CHANGED);
            assert_eq!(answer.ext["consumerGroup"], GROUP);
            self.notices += 1;
        }
    }

    fn batch(&self, queues: impl IntoIterator<Item = i32>) -> Value {
        let queue = |id| json!({"brokerName": BROKER_NAME, "queueId": id, "topic": TOPIC});
        let queues: Vec<Value> = queues.into_iter().map(queue).collect();
        json!({"clientId": self.id, "consumerGroup": GROUP, "mqSet": queues})
    }

    /// Asks for all queues; those that it has now.
    fn lock(&mut self) -> Vec<i64> {
        let body = self.call(LOCK_BATCH_MQ, &self.batch(0..QUEUES));
        let answer: Value = serde_json::from_slice(&body).unwrap();
        let locked = answer["lockOKMQSet"].as_array().unwrap();
        locked.iter().map(|queue| queue["queueId"].as_i64().unwrap()).collect()
    }

    fn unlock(&mut self, queue: i32) {
        self.call(UNLOCK_BATCH_MQ, &self.batch([queue]));
    }
}

#[test]
fn a_lock_outlives_the_leader_and_not_its_holder() {
    let mut cluster = Cluster::start_with("queueLockReturnMs=300");
    let (old, _) = cluster.await_leader(None);
    cluster.connect(old).create_topic(TOPIC, QUEUES).unwrap();
    let (mut first, mut second) =
        (Client::join(&cluster, old, "first"), Client::join(&cluster, old, "second"));
    assert_eq!(first.lock(), [0, 1, 2, 3]);
    assert_eq!(second.lock(), NONE);
    let follower = (old + 1) % 3;
    assert_eq!(Client::join(&cluster, follower, "second").lock(), NONE, "asked at a follower");

    cluster.kill(old);
    let (new, _) = cluster.await_leader(Some(old));
    let (mut first, mut second) =
        (Client::join(&cluster, new, "first"), Client::join(&cluster, new, "second"));
    assert_eq!(second.lock(), NONE, "the new leader knows who has them");
    assert_eq!(first.lock(), [0, 1, 2, 3]);
    first.unlock(3);
    assert_eq!(second.lock(), [3]);
    assert_eq!(first.lock(), [0, 1, 2]);

    let told = second.notices;
    drop(first);
    let all = poll::until("the queues of a client that is gone", SOON, || {
        let locked = second.lock();
        // The one who is told is served by another task than the one who asks.
        (locked.len() > 1 && second.notices >= told + 2).then_some(locked)
    });
    assert_eq!(all, [0, 1, 2, 3]);
    assert_eq!(second.notices, told + 2, "told that it left, and that its queues are free");
}

#[test]
fn a_client_that_comes_back_in_time_keeps_its_locks() {
    let cluster = Cluster::start_with("queueLockReturnMs=60000");
    let (leader, _) = cluster.await_leader(None);
    cluster.connect(leader).create_topic(TOPIC, QUEUES).unwrap();
    let mut first = Client::join(&cluster, leader, "first");
    let mut second = Client::join(&cluster, leader, "second");
    assert_eq!(first.lock(), [0, 1, 2, 3]);
    let told = second.notices;
    drop(first);
    poll::until("word of the close", SOON, || {
        assert_eq!(second.lock(), NONE);
        (second.notices > told).then_some(())
    });
    let mut first = Client::join(&cluster, leader, "first");
    assert_eq!(second.lock(), NONE);
    assert_eq!(first.lock(), [0, 1, 2, 3]);
}
