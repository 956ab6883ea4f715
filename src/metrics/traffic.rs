//! How much passes through a broker: stored by topic while it leads, handed out by group and topic.
//!
//! Invariant: whoever counts holds its counters already. The tables are locked when a name is seen for
//! the first time, once for a pull, and by those who ask; they hold topics and groups that exist.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::RwLock;

use super::histogram::{self, Snapshot};
use super::history::Flow;
use crate::clock;
use crate::store::hash::FastMap;

/// Bounds of the sizes of messages, RocketMQ's: 1 KiB, 4 KiB, 512 KiB, 1 MiB, 2 MiB, 4 MiB.
pub const SIZE_BOUNDS: [u64; 6] = [1 << 10, 1 << 12, 1 << 19, 1 << 20, 1 << 21, 1 << 22];
const SIZE_BUCKETS: usize = SIZE_BOUNDS.len() + 1;
/// The bucket of a size by the number of bits of one less: the bounds are powers of two.
const BUCKET_BY_BITS: [u8; 33] = {
    let mut buckets = [0; 33];
    let mut bits = 0;
    while bits < buckets.len() {
        let mut bucket = 0;
        while bucket < SIZE_BOUNDS.len() && (1 << bits) > SIZE_BOUNDS[bucket] {
            bucket += 1;
        }
        buckets[bits] = bucket as u8;
        bits += 1;
    }
    buckets
};

/// Messages of one queue in one entry, gathered before they are counted: nothing of it is shared.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Gathered {
    messages: u32,
    bytes: u64,
    sizes: [u32; SIZE_BUCKETS],
}

impl Gathered {
    /// One message more.
    pub fn add(&mut self, size: u32) {
        let bits = u32::BITS - size.saturating_sub(1).leading_zeros();
        self.messages += 1;
        self.bytes += u64::from(size);
        self.sizes[usize::from(BUCKET_BY_BITS[bits as usize])] += 1;
    }
}

/// What was stored in a topic.
#[derive(Debug)]
pub struct TopicTraffic {
    /// The topic.
    pub topic: Arc<str>,
    /// Messages stored.
    pub put: Flow,
    sizes: [AtomicU64; SIZE_BUCKETS],
}

impl TopicTraffic {
    fn count(&self, gathered: &Gathered) {
        self.put.count(u64::from(gathered.messages), gathered.bytes);
        for (bucket, count) in self.sizes.iter().zip(gathered.sizes) {
            if count > 0 {
                bucket.fetch_add(u64::from(count), Ordering::Relaxed);
            }
        }
    }

    /// How large the stored messages were.
    pub fn sizes(&self) -> Snapshot {
        let counts = self.sizes.iter().map(|bucket| bucket.load(Ordering::Relaxed));
        histogram::snapshot(&SIZE_BOUNDS, counts, self.put.totals().bytes)
    }
}

/// What a group got of a topic.
#[derive(Debug)]
pub struct GroupTraffic {
    /// The group.
    pub group: Arc<str>,
    /// The topic.
    pub topic: Arc<str>,
    /// Messages handed out.
    pub get: Flow,
    /// Messages sent back to come again later.
    pub sent_back: Flow,
}

type Groups = FastMap<Arc<str>, FastMap<Arc<str>, Arc<GroupTraffic>>>;

/// The traffic of one broker.
pub struct Traffic {
    /// Everything stored.
    pub put: Flow,
    /// Everything handed out.
    pub get: Flow,
    topics: RwLock<BTreeMap<Arc<str>, Arc<TopicTraffic>>>,
    groups: RwLock<Groups>,
}

impl Default for Traffic {
    fn default() -> Self {
        let now_ms = clock::now_ms();
        Traffic {
            put: Flow::with_ten_minutes(now_ms),
            get: Flow::with_ten_minutes(now_ms),
            topics: RwLock::default(),
            groups: RwLock::default(),
        }
    }
}

impl Traffic {
    /// The counters of a topic, made when it has none.
    pub fn of_topic(&self, topic: &str) -> Arc<TopicTraffic> {
        let mut topics = self.topics.write();
        if let Some(known) = topics.get(topic) {
            return Arc::clone(known);
        }
        let topic: Arc<str> = Arc::from(topic);
        let put = Flow::new(clock::now_ms());
        let traffic = TopicTraffic { topic: Arc::clone(&topic), put, sizes: Default::default() };
        let traffic = Arc::new(traffic);
        topics.insert(topic, Arc::clone(&traffic));
        traffic
    }

    /// Counts what was stored in a topic.
    pub fn stored(&self, topic: &TopicTraffic, gathered: &Gathered) {
        topic.count(gathered);
        self.put.count(u64::from(gathered.messages), gathered.bytes);
    }

    /// Counts what a group got of a topic.
    pub fn handed_out(&self, group: &GroupTraffic, messages: usize, bytes: usize) {
        group.get.count(messages as u64, bytes as u64);
        self.get.count(messages as u64, bytes as u64);
    }

    /// Forgets a topic that is gone.
    pub fn forget_topic(&self, topic: &str) {
        self.topics.write().remove(topic);
    }

    /// The counters of a group in a topic, made when it has none. Both exist.
    pub fn of_group(&self, group: &str, topic: &str) -> Arc<GroupTraffic> {
        if let Some(known) = self.groups.read().get(group).and_then(|topics| topics.get(topic)) {
            return Arc::clone(known);
        }
        let mut groups = self.groups.write();
        let (group, topic): (Arc<str>, Arc<str>) = (Arc::from(group), Arc::from(topic));
        let topics = groups.entry(Arc::clone(&group)).or_default();
        let now_ms = clock::now_ms();
        let made = || GroupTraffic {
            group,
            topic: Arc::clone(&topic),
            get: Flow::new(now_ms),
            sent_back: Flow::new(now_ms),
        };
        let made = topics.entry(Arc::clone(&topic)).or_insert_with(|| Arc::new(made()));
        Arc::clone(made)
    }

    /// The counters of a topic, if something was stored in it.
    pub fn topic(&self, topic: &str) -> Option<Arc<TopicTraffic>> {
        self.topics.read().get(topic).cloned()
    }

    /// The counters of a group in a topic, if it pulled from it.
    pub fn group(&self, group: &str, topic: &str) -> Option<Arc<GroupTraffic>> {
        self.groups.read().get(group).and_then(|topics| topics.get(topic)).cloned()
    }

    /// All topics, by name.
    pub fn topics(&self) -> Vec<Arc<TopicTraffic>> {
        self.topics.read().values().cloned().collect()
    }

    /// All groups, each with each of its topics, by name.
    pub fn groups(&self) -> Vec<Arc<GroupTraffic>> {
        let groups = self.groups.read();
        let mut all: Vec<_> = groups.values().flat_map(FastMap::values).cloned().collect();
        drop(groups);
        all.sort_by(|a, b| (&a.group, &a.topic).cmp(&(&b.group, &b.topic)));
        all
    }

    /// Forgets the groups and topics of which that says that they do not exist.
    pub fn retain_groups(&self, exists: impl Fn(&GroupTraffic) -> bool) {
        // Asked first: what answers takes locks of its own.
        let gone: Vec<_> = self.groups().into_iter().filter(|group| !exists(group)).collect();
        if gone.is_empty() {
            return;
        }
        let mut groups = self.groups.write();
        for traffic in gone {
            if let Some(topics) = groups.get_mut(&traffic.group) {
                topics.remove(&traffic.topic);
                if topics.is_empty() {
                    groups.remove(&traffic.group);
                }
            }
        }
    }

    /// Takes a sample of everything.
    pub fn sample(&self, now_ms: i64) {
        self.put.sample(now_ms);
        self.get.sample(now_ms);
        for topic in self.topics() {
            topic.put.sample(now_ms);
        }
        for group in self.groups() {
            group.get.sample(now_ms);
            group.sent_back.sample(now_ms);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn sizes_fall_into_the_buckets_of_their_bounds() {
        let traffic = Traffic::default();
        let topic = traffic.of_topic("T");
        let mut gathered = Gathered::default();
        for size in [0, 1, 1024, 1025, 4096, 4097, 1 << 19, (1 << 22) + 1, u32::MAX] {
            gathered.add(size);
        }
        traffic.stored(&topic, &gathered);
        let cumulative: Vec<u64> = topic.sizes().cumulative.iter().map(|(_, n)| *n).collect();
        assert_eq!(cumulative, [3, 5, 7, 7, 7, 7]);
        assert_eq!((topic.sizes().count, topic.put.totals().messages), (9, 9));
        assert_eq!(traffic.put.totals().bytes, topic.sizes().sum);
    }

    #[test]
    fn a_name_has_one_counter_until_it_is_forgotten() {
        let traffic = Traffic::default();
        let group = traffic.of_group("g", "T");
        traffic.handed_out(&group, 3, 300);
        assert_eq!(traffic.of_group("g", "T").get.totals().messages, 3);
        traffic.of_group("g", "U");
        traffic.of_group("h", "T");
        let names = |traffic: &Traffic| -> Vec<String> {
            traffic.groups().iter().map(|g| format!("{}@{}", g.topic, g.group)).collect()
        };
        assert_eq!(names(&traffic), ["T@g", "U@g", "T@h"]);
        traffic.retain_groups(|group| *group.topic != *"T");
        assert_eq!(names(&traffic), ["U@g"]);
        assert!(traffic.group("g", "T").is_none() && traffic.group("g", "U").is_some());
        assert!(Arc::ptr_eq(&traffic.of_topic("T"), &traffic.topic("T").unwrap()));
        traffic.forget_topic("T");
        assert!(traffic.topic("T").is_none());
    }
}
