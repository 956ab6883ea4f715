//! The Rust client's consumers against real processes: in order while members come and go, broadcast
//! to each, and pulled by the application.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "drives real processes")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use raftmq::client::{
    Client, ClientOptions, ConsumeFrom, ConsumeResult, ConsumerOptions, LitePullConsumer,
    LitePullOptions, MessageModel, PushConsumer, ReceivedMessage,
};
use support::cluster::Cluster;
use support::wire::{SUCCESS, Wire};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout, timeout_at};

const QUEUES: i32 = 4;
const LIMIT: Duration = Duration::from_secs(90);
/// Longer than a queue takes to pass on where nobody waits for the listener.
const SLOW: Duration = Duration::from_millis(400);

/// Sends messages `from..to` to each queue, each with its number as its body.
fn send(wire: &mut Wire, topic: &str, from: usize, to: usize) {
    for number in from..to {
        for queue in 0..QUEUES {
            wire.request_send(topic, queue, number.to_string().as_bytes()).unwrap();
        }
        for _ in 0..QUEUES {
            assert_eq!(wire.receive().unwrap().code, SUCCESS);
        }
    }
}

fn number(message: &ReceivedMessage) -> usize {
    String::from_utf8(message.body.to_vec()).unwrap().parse().unwrap()
}

async fn client(cluster: &Cluster, instance: &str) -> Client {
    let options = ClientOptions::new(&cluster.name_servers()).with_instance_name(instance);
    Client::start(options).await.unwrap()
}

/// What listeners saw of one topic, all of them together.
#[derive(Default)]
struct Watched {
    /// The next number of each queue.
    next: BTreeMap<i32, usize>,
    /// Queues whose listener has not returned, and whose it is.
    busy: BTreeMap<i32, String>,
    /// Who got something of each queue.
    by: BTreeMap<String, BTreeSet<i32>>,
    /// Their listeners' calls died with them, though in this process they may run to their end.
    dead: BTreeSet<String>,
    wrong: Vec<String>,
}

impl Watched {
    fn begin(&mut self, who: &str, message: &ReceivedMessage) {
        if self.dead.contains(who) {
            return;
        }
        let queue = message.queue_id;
        if self.busy.insert(queue, who.to_owned()).is_some() {
            self.wrong.push(format!("{who}: a second call for queue {queue}"));
        }
        let next = self.next.get(&queue).copied().unwrap_or(0);
        // What was consumed and not committed may come again when its queue passes on.
        if number(message) > next {
            self.wrong.push(format!("{who}: {} of queue {queue} after {next}", number(message)));
        }
        self.by.entry(who.to_owned()).or_default().insert(queue);
    }

    fn dies(&mut self, who: &str) {
        self.dead.insert(who.to_owned());
        self.busy.retain(|_, by| by != who);
    }

    fn end(&mut self, who: &str, message: &ReceivedMessage, consumed: bool) {
        if !self.dead.contains(who) {
            self.busy.remove(&message.queue_id);
        }
        let next = self.next.entry(message.queue_id).or_default();
        if consumed {
            *next = (*next).max(number(message) + 1);
        }
    }
}

/// Consumes in order; message 5 of each queue is wanted later twice, message 9 always.
async fn in_order(
    cluster: &Cluster,
    topic: &str,
    who: &str,
    watched: &Arc<Mutex<Watched>>,
    progress: mpsc::Sender<usize>,
) -> PushConsumer {
    let mut options = ConsumerOptions::new("InOrderGroup").subscribe(topic, "*");
    options.in_order = true;
    options.consume_from = ConsumeFrom::First;
    options.later_pause = Duration::from_millis(5);
    options.max_reconsume_times = Some(3);
    let (who, watched) = (who.to_owned(), watched.clone());
    let client = client(cluster, &who).await;
    let listener = move |messages: Arc<[ReceivedMessage]>| {
        let (who, watched, progress) = (who.clone(), watched.clone(), progress.clone());
        async move {
            let message = &messages[0];
            watched.lock().unwrap().begin(&who, message);
            // Mostly a queue passes on while its listener is busy.
            let busy = if number(message) % 5 == 2 { SLOW } else { Duration::from_millis(2) };
            tokio::time::sleep(busy).await;
            let later = match number(message) {
                5 => message.reconsume_times < 2,
                9 => true,
                _ => false,
            };
            let gone = later && message.reconsume_times >= 3;
            watched.lock().unwrap().end(&who, message, !later || gone);
            let _ = progress.send(number(message)).await;
            if later { ConsumeResult::Later } else { ConsumeResult::Success }
        }
    };
    PushConsumer::start(&client, options, listener).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn order_is_kept_while_members_leave_and_what_is_given_up_is_dead() {
    const TOPIC: &str = "RustInOrder";
    const AHEAD: usize = 20;
    let cluster = Cluster::start();
    let leader = cluster.leader().unwrap();
    let mut wire = cluster.connect(leader);
    wire.create_topic(TOPIC, QUEUES).unwrap();
    let watched = Arc::new(Mutex::new(Watched::default()));
    let (progress, mut made) = mpsc::channel(1024);
    let one = in_order(&cluster, TOPIC, "one", &watched, progress.clone()).await;
    let two = in_order(&cluster, TOPIC, "two", &watched, progress.clone()).await;
    let mut sent = 0;
    let mut until = async |what: &str, reached: &dyn Fn(&Watched) -> bool| {
        let deadline = Instant::now() + LIMIT;
        while !reached(&watched.lock().unwrap()) {
            // Something is always on its way, however long it takes, so that a queue's new holder is seen.
            let next = watched.lock().unwrap().next.values().min().copied().unwrap_or(0);
            if sent < next + AHEAD {
                send(&mut wire, TOPIC, sent, sent + 1);
                sent += 1;
            }
            let one_more = timeout_at(deadline, made.recv()).await;
            assert!(one_more.is_ok(), "{what}: {:?} of {sent}", watched.lock().unwrap().next);
        }
        sent
    };
    let has = |who: &str, queues: usize, watched: &Watched| {
        watched.by.get(who).is_some_and(|of| of.len() >= queues)
    };
    until("both have queues", &|watched| {
        let far = watched.next.len() == QUEUES as usize && watched.next.values().all(|n| *n > 9);
        has("one", 1, watched) && has("two", 1, watched) && far
    })
    .await;
    watched.lock().unwrap().by.clear();
    one.shutdown().await;
    until("the other has them all", &|watched| has("two", QUEUES as usize, watched)).await;
    let three = in_order(&cluster, TOPIC, "three", &watched, progress.clone()).await;
    until("a new one has some", &|watched| has("three", 1, watched)).await;
    watched.lock().unwrap().by.clear();
    // As if its process had died.
    watched.lock().unwrap().dies("two");
    drop(two);
    let sent = until("it has them all", &|watched| has("three", QUEUES as usize, watched)).await;
    until("all is consumed", &|watched| watched.next.values().all(|next| *next >= sent)).await;
    three.shutdown().await;
    let watched = watched.lock().unwrap();
    assert!(watched.wrong.is_empty(), "{:?}", watched.wrong);
    let dead = cluster.connect(leader).pull_all("%DLQ%InOrderGroup", 0, 0).unwrap();
    let bodies: Vec<&[u8]> = dead.iter().map(|record| &record.body[..]).collect();
    assert_eq!(bodies, [b"9"; QUEUES as usize]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_broadcast_consumer_gets_all_and_goes_on_where_it_was() {
    const TOPIC: &str = "RustBroadcast";
    let cluster = Cluster::start();
    let mut wire = cluster.connect(cluster.leader().unwrap());
    wire.create_topic(TOPIC, QUEUES).unwrap();
    send(&mut wire, TOPIC, 0, 10);
    let start = async |instance: &str| {
        let mut options = ConsumerOptions::new("BroadcastGroup").subscribe(TOPIC, "*");
        options.model = MessageModel::Broadcasting;
        options.consume_from = ConsumeFrom::First;
        options.offsets_directory = cluster.directory().join("offsets");
        let (got, gets) = mpsc::channel(1024);
        let listener = move |messages: Arc<[ReceivedMessage]>| {
            let _ = got.try_send((messages[0].queue_id, number(&messages[0])));
            // Refused, it is skipped, and comes to nobody again.
            let refused = number(&messages[0]) == 3;
            async move { if refused { ConsumeResult::Later } else { ConsumeResult::Success } }
        };
        let client = client(&cluster, instance).await;
        (PushConsumer::start(&client, options, listener).await.unwrap(), gets)
    };
    let take = async |gets: &mut mpsc::Receiver<(i32, usize)>, count: usize| {
        let mut all = BTreeSet::new();
        for _ in 0..count {
            let got = timeout(LIMIT, gets.recv()).await.unwrap().unwrap();
            assert!(all.insert(got), "{got:?} came twice");
        }
        all
    };
    let numbers = |from: usize, to: usize| -> BTreeSet<(i32, usize)> {
        (0..QUEUES).flat_map(|queue| (from..to).map(move |number| (queue, number))).collect()
    };
    let (one, mut of_one) = start("one").await;
    let (two, mut of_two) = start("two").await;
    assert_eq!(take(&mut of_one, 10 * QUEUES as usize).await, numbers(0, 10));
    assert_eq!(take(&mut of_two, 10 * QUEUES as usize).await, numbers(0, 10));
    one.shutdown().await;
    send(&mut wire, TOPIC, 10, 15);
    assert_eq!(take(&mut of_two, 5 * QUEUES as usize).await, numbers(10, 15));
    let (one, mut of_one) = start("one").await;
    assert_eq!(take(&mut of_one, 5 * QUEUES as usize).await, numbers(10, 15));
    one.shutdown().await;
    two.shutdown().await;
    assert!(of_two.try_recv().is_err(), "nothing came twice");
}

/// Everything there is, by queue and number.
async fn poll_all(consumer: &LitePullConsumer, count: usize) -> BTreeSet<(i32, usize)> {
    let mut all = BTreeSet::new();
    while all.len() < count {
        let polled = consumer.poll(LIMIT).await;
        assert!(!polled.is_empty(), "{} of {count} after {LIMIT:?}", all.len());
        for message in &polled {
            assert!(all.insert((message.queue_id, number(message))), "{message:?} came twice");
        }
    }
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_polled_consumer_seeks_commits_and_takes_the_queues_it_is_told() {
    const TOPIC: &str = "RustPolled";
    let every = QUEUES as usize;
    let cluster = Cluster::start();
    let mut wire = cluster.connect(cluster.leader().unwrap());
    wire.create_topic(TOPIC, QUEUES).unwrap();
    send(&mut wire, TOPIC, 0, 10);
    let numbers = |queues: std::ops::Range<i32>, from: usize, to: usize| -> BTreeSet<_> {
        queues.flat_map(|queue| (from..to).map(move |number| (queue, number))).collect()
    };
    let options = |group: &str| {
        let mut options = LitePullOptions::new(group).subscribe(TOPIC, "*");
        options.consumer.consume_from = ConsumeFrom::First;
        options.auto_commit = false;
        options
    };
    let first = client(&cluster, "first").await;
    let consumer = LitePullConsumer::start(&first, options("Polling")).await.unwrap();
    assert_eq!(poll_all(&consumer, 10 * every).await, numbers(0..QUEUES, 0, 10));
    assert_eq!(consumer.assignment().await.unwrap().len(), every);
    let queue = consumer.assignment().await.unwrap().first().unwrap().clone();
    assert_eq!(consumer.committed(&queue).await.unwrap(), None);
    // Back, and past what is gone from its buffer.
    consumer.seek(&queue, 4).await.unwrap();
    assert_eq!(poll_all(&consumer, 6).await, numbers(queue.queue_id..queue.queue_id + 1, 4, 10));
    assert!(consumer.seek(&queue, 11).await.is_err(), "there is no such offset");
    consumer.commit().await.unwrap();
    assert_eq!(consumer.committed(&queue).await.unwrap(), Some(10));
    send(&mut wire, TOPIC, 10, 12);
    assert_eq!(poll_all(&consumer, 2 * every).await, numbers(0..QUEUES, 10, 12));
    consumer.shutdown().await;

    // Nothing was committed since; now each of two has half of the queues.
    let mut committing = options("Polling");
    committing.auto_commit = true;
    let one = LitePullConsumer::start(&first, committing.clone()).await.unwrap();
    assert_eq!(poll_all(&one, 2 * every).await, numbers(0..QUEUES, 10, 12));
    one.shutdown().await;
    let second = client(&cluster, "second").await;
    let (one, two) = (
        LitePullConsumer::start(&first, committing.clone()).await.unwrap(),
        LitePullConsumer::start(&second, committing).await.unwrap(),
    );
    let halves = async {
        loop {
            let (of_one, of_two) =
                (one.assignment().await.unwrap(), two.assignment().await.unwrap());
            if of_one.len() == every / 2 && of_one.is_disjoint(&of_two) && of_two.len() == every / 2
            {
                return;
            }
            assert!(one.poll(Duration::from_millis(20)).await.is_empty(), "it was committed");
        }
    };
    timeout(LIMIT, halves).await.unwrap();
    one.shutdown().await;
    two.shutdown().await;

    // Told which queues, it asks nobody.
    let queues: BTreeSet<_> = [queue.clone()].into();
    let told = LitePullConsumer::start_assigned(&second, options("Told"), queues.clone());
    let told = told.await.unwrap();
    let of_queue = |from: usize, to: usize| numbers(queue.queue_id..queue.queue_id + 1, from, to);
    assert_eq!(poll_all(&told, 12).await, of_queue(0, 12));
    let others: BTreeSet<_> =
        told.queues(TOPIC).await.unwrap().into_iter().filter(|other| *other != queue).collect();
    // Nothing that comes while its queues are paused is polled; afterwards it all is.
    told.pause(queues.clone()).await.unwrap();
    send(&mut wire, TOPIC, 12, 14);
    assert!(told.poll(SLOW).await.is_empty(), "it is paused");
    told.resume(queues).await.unwrap();
    assert_eq!(poll_all(&told, 2).await, of_queue(12, 14));
    told.assign(others.clone()).await.unwrap();
    assert_eq!(told.assignment().await.unwrap(), others);
    assert_eq!(poll_all(&told, 14 * (every - 1)).await.len(), 14 * (every - 1));
    assert!(told.seek(&queue, 0).await.is_err(), "it is not assigned any more");
    told.shutdown().await;
}
