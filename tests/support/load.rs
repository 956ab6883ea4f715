//! Senders that remember exactly what was acknowledged, and the check that all of it is there.
//!
//! A body is sent once and never again, so a stored queue must hold each body at most once, and
//! an acknowledged one at the very queue offset that its answer named.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

use super::wire::{Answer, Record, SUCCESS, Wire};

const CONNECTIONS: usize = 4;
const IN_FLIGHT: usize = 16;
const BODY_BYTES: usize = 1024;

/// Acknowledged messages: where each body must be found.
#[derive(Default)]
pub struct Acknowledged(BTreeMap<(i32, i64), Vec<u8>>);

pub struct Load {
    acknowledged: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    senders: Vec<JoinHandle<Acknowledged>>,
}

impl Load {
    /// Sends to every queue in turn until stopped or until the connection breaks. `round` makes
    /// the bodies differ from those of other loads on the same topic.
    pub fn start(leader: SocketAddr, topic: &str, queues: i32, round: usize) -> Load {
        let acknowledged = Arc::new(AtomicU64::new(0));
        let stop = Arc::new(AtomicBool::new(false));
        let senders = (0..CONNECTIONS)
            .map(|connection| {
                let (topic, count, stop) = (topic.to_owned(), acknowledged.clone(), stop.clone());
                let name = format!("{round}-{connection}");
                std::thread::spawn(move || send(leader, &topic, queues, &name, &count, &stop))
            })
            .collect();
        Load { acknowledged, stop, senders }
    }

    pub fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Relaxed)
    }

    /// Ends the senders and adds what they got acknowledged to `all`.
    pub fn finish(self, all: &mut Acknowledged) {
        self.stop.store(true, Ordering::Relaxed);
        for sender in self.senders {
            for ((queue, offset), body) in sender.join().unwrap().0 {
                all.add(queue, offset, body);
            }
        }
    }
}

impl Acknowledged {
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// An answer promised that `body` stands there.
    pub fn add(&mut self, queue: i32, offset: i64, body: Vec<u8>) {
        let before = self.0.insert((queue, offset), body);
        assert!(before.is_none(), "offset {offset} of queue {queue} was promised twice");
    }

    /// Reads every queue from its first offset and compares.
    pub fn assert_stored(&self, wire: &mut Wire, topic: &str, queues: i32) {
        let mut bodies = BTreeSet::new();
        let mut found = 0;
        for queue in 0..queues {
            assert_eq!(wire.min_offset(topic, queue).unwrap(), 0, "minimum of queue {queue}");
            let records = wire.pull_all(topic, queue, 0).unwrap();
            assert_eq!(wire.max_offset(topic, queue).unwrap(), records.len() as i64);
            assert_dense(&records, queue);
            for record in records {
                let place = (queue, record.queue_offset);
                if let Some(body) = self.0.get(&place) {
                    assert!(*body == record.body, "another message at {place:?}");
                    found += 1;
                }
                assert!(bodies.insert(record.body), "stored twice, again at {place:?}");
            }
        }
        assert_eq!(found, self.0.len(), "acknowledged messages read back");
    }
}

fn assert_dense(records: &[Record], queue: i32) {
    for (expected, record) in records.iter().enumerate() {
        assert_eq!(record.queue_offset, expected as i64, "queue {queue} has a hole");
        assert_eq!(record.queue_id, queue);
    }
    assert!(records.is_sorted_by(|one, next| one.position < next.position));
}

fn send(
    leader: SocketAddr,
    topic: &str,
    queues: i32,
    name: &str,
    count: &AtomicU64,
    stop: &AtomicBool,
) -> Acknowledged {
    let mut acknowledged = Acknowledged::default();
    // An error is the expected end: the leader is killed while this runs.
    let _: io::Result<()> = (|| {
        let mut wire = Wire::connect(leader)?;
        let mut waiting = BTreeMap::new();
        for number in 0.. {
            if !stop.load(Ordering::Relaxed) {
                let mut body = format!("{name}-{number}").into_bytes();
                body.resize(BODY_BYTES, b'.');
                let opaque = wire.request_send(topic, number % queues, &body)?;
                waiting.insert(opaque, body);
            }
            while waiting.len() >= IN_FLIGHT
                || (stop.load(Ordering::Relaxed) && !waiting.is_empty())
            {
                let answer: Answer = wire.receive()?;
                let body = waiting.remove(&answer.opaque).expect("an answer to what was asked");
                if answer.code == SUCCESS {
                    let place = (answer.number("queueId") as i32, answer.number("queueOffset"));
                    assert!(acknowledged.0.insert(place, body).is_none(), "{place:?} twice");
                    count.fetch_add(1, Ordering::Relaxed);
                }
            }
            if stop.load(Ordering::Relaxed) {
                return Ok(());
            }
        }
        Ok(())
    })();
    acknowledged
}
