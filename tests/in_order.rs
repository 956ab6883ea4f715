//! Three processes of a group consume in order through the official client; one of them and the
//! node that leads the group of its queues are killed at the same moment. What it held passes to
//! the others: each queue's messages come one after the other, none is skipped, and none is lost.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "drives real processes")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use support::nodes::{GROUPS, Nodes};
use support::official;
use support::poll;
use support::process::Process;

const TOPIC: &str = "InOrder";
const QUEUES_EACH: usize = 3;
const CONSUMERS: usize = 3;
const START_LIMIT: Duration = Duration::from_secs(180);
/// Holder and leader died together: at the latest the lock is free 33 s after it was granted last,
/// and the client asks again every 20 s.
const TAKEOVER_LIMIT: Duration = Duration::from_secs(180);

/// One message as a consumer got it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Delivery {
    time_ms: u64,
    consumer: usize,
    queue: String,
    number: u64,
}

#[test]
fn order_survives_the_death_of_a_consumer_and_of_the_leader_of_its_queues() {
    let Some(home) = official::prepared_java() else { return };
    let mut nodes = Nodes::start_with("");
    nodes.create_topic(TOPIC, &QUEUES_EACH.to_string());
    let start = |name: &str, queues: usize| {
        let directory = nodes.directory().join(name);
        std::fs::create_dir(&directory).unwrap();
        let mut command = official::java(&home, "InOrderMember", &directory, &nodes.name_servers());
        command.args([TOPIC, &queues.to_string()]);
        Process::spawn(name, command, &directory.join("member.log"))
    };
    let mut consumers: Vec<Process> =
        (0..CONSUMERS).map(|number| start(&format!("consumer {number}"), 0)).collect();
    for consumer in &consumers {
        consumer.await_line("STARTED", START_LIMIT);
    }
    let mut producer = start("producer", QUEUES_EACH * GROUPS.len());

    let doomed = poll::until("every consumer has the queues of one group", START_LIMIT, || {
        let holders = holders(&deliveries(&consumers));
        let of = |consumer: usize| holders.values().filter(|holder| **holder == consumer).count();
        let even = (0..CONSUMERS).all(|consumer| of(consumer) == QUEUES_EACH);
        even.then(|| holders[&format!("{}/0", GROUPS[0])])
    });
    let before = deliveries(&consumers);
    let leader = nodes.leader(GROUPS[0]).unwrap();
    consumers[doomed].send_kill();
    nodes.process_mut(leader).send_kill();
    let killed = Instant::now();
    poll::until("others have its queues", TAKEOVER_LIMIT, || {
        let holders = holders(&deliveries(&consumers));
        holders.values().all(|holder| *holder != doomed).then_some(())
    });
    official::say(&format!("in order: others have every queue after {:?}", killed.elapsed()));

    producer.say("end");
    let mut sent = BTreeMap::new();
    let deadline = Instant::now() + START_LIMIT;
    while let Some(line) = producer.next_line(deadline) {
        if let Some((queue, count)) = line.strip_prefix("END ").and_then(|end| end.split_once(' '))
        {
            sent.insert(queue.to_owned(), count.parse::<u64>().unwrap());
        }
    }
    assert_eq!(sent.len(), QUEUES_EACH * GROUPS.len(), "{}", producer.tail());
    let all = poll::until("every message was consumed", START_LIMIT, || {
        let all = deliveries(&consumers);
        let got: BTreeSet<(&str, u64)> =
            all.iter().map(|delivery| (&*delivery.queue, delivery.number)).collect();
        let is_whole = |(queue, count): (&String, &u64)| {
            (0..*count).all(|number| got.contains(&(&**queue, number)))
        };
        // What one consumer said may be read before what another said earlier, but not at the end.
        sent.iter().all(is_whole).then(|| all.clone())
    });
    check_order(&all);
    assert!(all.len() > before.len(), "messages were consumed after the kill");
    let messages: u64 = sent.values().sum();
    let again = all.len() as u64 - messages;
    official::say(&format!("in order: {messages} messages, none lost, {again} came again"));
}

/// Who got the latest message of each queue.
fn holders(deliveries: &[Delivery]) -> BTreeMap<String, usize> {
    deliveries.iter().map(|delivery| (delivery.queue.clone(), delivery.consumer)).collect()
}

/// What all consumers got, in time. What one says is in order; between two who have the same queue,
/// one after the other, lie seconds.
fn deliveries(consumers: &[Process]) -> Vec<Delivery> {
    let mut all = Vec::new();
    for (consumer, process) in consumers.iter().enumerate() {
        let said = process.output();
        // A line that is just being written has no end yet.
        let complete = said.rfind('\n').map_or("", |end| &said[..end]);
        for line in complete.lines() {
            let Some(fields) = line.strip_prefix("GOT ") else { continue };
            let fields: Vec<&str> = fields.split(' ').collect();
            let [time_ms, queue, number] = fields[..] else { panic!("{line:?}") };
            all.push(Delivery {
                time_ms: time_ms.parse().unwrap(),
                consumer,
                queue: queue.to_owned(),
                number: number.parse().unwrap(),
            });
        }
    }
    all.sort_by_key(|delivery| delivery.time_ms);
    all
}

/// The furthest message of each queue. One consumer gets message after message, a message stored
/// twice twice; its successor goes on behind it or repeats, and never skips.
fn check_order(deliveries: &[Delivery]) -> BTreeMap<String, u64> {
    let mut previous: BTreeMap<&str, &Delivery> = BTreeMap::new();
    let mut furthest: BTreeMap<String, u64> = BTreeMap::new();
    for delivery in deliveries {
        let next = furthest.get(&delivery.queue).map_or(0, |number| number + 1);
        assert!(delivery.number <= next, "skips {next}: {delivery:?}");
        if let Some(before) = previous.insert(&delivery.queue, delivery)
            && before.consumer == delivery.consumer
        {
            let step = delivery.number.wrapping_sub(before.number);
            assert!(step <= 1, "{before:?} is followed by {delivery:?}");
        }
        furthest.insert(delivery.queue.clone(), delivery.number.max(next.saturating_sub(1)));
    }
    furthest
}

#[test]
fn a_skipped_message_and_one_out_of_order_are_noticed() {
    let delivery = |consumer, number| Delivery {
        time_ms: 0,
        consumer,
        queue: "broker-a/0".to_owned(),
        number,
    };
    let fine = [delivery(0, 0), delivery(0, 1), delivery(1, 0), delivery(1, 1), delivery(1, 2)];
    assert_eq!(check_order(&fine)["broker-a/0"], 2);
    for wrong in
        [vec![delivery(0, 0), delivery(1, 2)], vec![delivery(0, 0), delivery(0, 1), delivery(0, 0)]]
    {
        assert!(std::panic::catch_unwind(|| check_order(&wrong)).is_err(), "{wrong:?}");
    }
}
