//! Which of a topic's queues belong to this member of a group.
//!
//! Invariant: the same as every other RocketMQ client's default, queue for queue: members of one
//! group may run different clients, and each computes its share alone.

use crate::protocol::queue::MessageQueue;

/// This member's stretch of the sorted queues: contiguous, and the first members get one more when
/// the queues do not divide evenly. Empty when the member is not in the list.
pub(crate) fn averagely(
    queues: &[MessageQueue],
    members: &[String],
    member: &str,
) -> Vec<MessageQueue> {
    let mut queues = queues.to_vec();
    // The order of every client: topic, broker name, queue.
    queues.sort_by(|a, b| {
        let key = |queue: &MessageQueue| (queue.topic.clone(), queue.broker_name.clone());
        key(a).cmp(&key(b)).then(a.queue_id.cmp(&b.queue_id))
    });
    let mut members: Vec<&str> = members.iter().map(String::as_str).collect();
    members.sort_unstable();
    members.dedup();
    let Some(index) = members.iter().position(|known| *known == member) else {
        return Vec::new();
    };
    let (share, more) = (queues.len() / members.len(), queues.len() % members.len());
    let start = index * share + index.min(more);
    let length = share + usize::from(index < more);
    queues[start..start + length].to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queues(count: i32) -> Vec<MessageQueue> {
        let queue =
            |queue_id| MessageQueue { broker_name: "b".into(), queue_id, topic: "T".into() };
        (0..count).map(queue).collect()
    }

    fn ids(of: &str, count: i32, members: &[&str]) -> Vec<i32> {
        let members: Vec<String> = members.iter().map(|m| (*m).to_owned()).collect();
        averagely(&queues(count), &members, of).iter().map(|queue| queue.queue_id).collect()
    }

    #[test]
    fn the_shares_java_computes() {
        // 8 queues, 3 members: 3, 3, 2.
        assert_eq!(ids("a", 8, &["c", "a", "b"]), [0, 1, 2]);
        assert_eq!(ids("b", 8, &["c", "a", "b"]), [3, 4, 5]);
        assert_eq!(ids("c", 8, &["c", "a", "b"]), [6, 7]);
        // Fewer queues than members: one each, the last get none.
        assert_eq!(ids("b", 2, &["a", "b", "c"]), [1]);
        assert_eq!(ids("c", 2, &["a", "b", "c"]), [] as [i32; 0]);
        assert_eq!(ids("x", 2, &["a"]), [] as [i32; 0]);
    }

    #[test]
    fn every_queue_has_exactly_one_owner() {
        for members in 1..=7 {
            let names: Vec<String> = (0..members).map(|m| format!("client-{m}")).collect();
            for count in 0..=20 {
                let mut owned: Vec<_> =
                    names.iter().flat_map(|name| averagely(&queues(count), &names, name)).collect();
                owned.sort();
                assert_eq!(owned, queues(count), "{count} queues, {members} members");
            }
        }
    }
}
