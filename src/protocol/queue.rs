//! A queue's name: topic, broker name and number; and maps keyed by it.
//!
//! Invariant: as a map key a queue is written as a bare JSON object, the only form Java reads, with
//! its fields in alphabetical order.

use std::collections::BTreeMap;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

/// One queue of a topic on one broker.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MessageQueue {
    /// Name of the broker group.
    pub broker_name: String,
    /// Number within the topic on that broker.
    pub queue_id: i32,
    /// Topic.
    pub topic: String,
}

/// A map keyed by queue. Not serializable as such: [`write_queue_map`] writes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueMap<V>(pub BTreeMap<MessageQueue, V>);

impl<V> Default for QueueMap<V> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<'de, V: Deserialize<'de>> Deserialize<'de> for QueueMap<V> {
    /// From a map whose keys are a queue's JSON as text, which is what
    /// [`crate::protocol::fastjson::normalize`] makes of object keys.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Some(raw) = Option::<BTreeMap<String, V>>::deserialize(deserializer)? else {
            return Ok(Self::default());
        };
        let mut queues = BTreeMap::new();
        for (key, value) in raw {
            let queue: MessageQueue = serde_json::from_str(&key).map_err(D::Error::custom)?;
            queues.insert(queue, value);
        }
        Ok(Self(queues))
    }
}

/// Appends `{{queue}:value,…}` in fastjson's form.
pub fn write_queue_map<V: Serialize>(out: &mut Vec<u8>, map: &QueueMap<V>) {
    out.push(b'{');
    for (index, (queue, value)) in map.0.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write_json(out, queue);
        out.push(b':');
        write_json(out, value);
    }
    out.push(b'}');
}

/// Appends a value as JSON.
pub(super) fn write_json<T: Serialize>(out: &mut Vec<u8>, value: &T) {
    serde_json::to_writer(out, value).expect("plain structures serialize into memory");
}
