//! What was counted under a name (315), as `statsAll`, the exporter and the dashboard ask for it.
//!
//! Each member answers for itself: stored is counted by who leads, handed out by who was asked.
//!
//! Invariant: a figure covers the span up to now. A name that was never counted does not exist, which
//! is what RocketMQ's tools take for zero.

use super::answer::{Failure, Outcome, success_json};
use super::core::Core;
use super::fields::required;
use crate::metrics::history::{Flow, Span, Totals};
use crate::metrics::traffic::Traffic;
use crate::protocol::body::{BrokerStatsData, BrokerStatsItem};
use crate::protocol::code::response;
use crate::remoting::RemotingCommand;

/// What of a flow a name is about.
type Figure = fn(Totals) -> u64;

/// The last minute, hour and day of a name.
pub fn view(core: &Core, command: &RemotingCommand) -> Outcome {
    let name = required(command, "statsName")?;
    let key = required(command, "statsKey")?;
    let now_ms = crate::clock::now_ms();
    let found = find(core.view.traffic(), &core.config.broker_cluster_name, name, key, now_ms);
    match found {
        Some(data) => success_json(&data),
        None => {
            let remark = format!("The stats <{name}> <{key}> not exist");
            Err(Failure::new(response::SYSTEM_ERROR, remark))
        }
    }
}

fn find(
    traffic: &Traffic,
    cluster: &str,
    name: &str,
    key: &str,
    now_ms: i64,
) -> Option<BrokerStatsData> {
    let messages: Figure = |totals| totals.messages;
    let bytes: Figure = |totals| totals.bytes;
    let of_group = || {
        let (topic, group) = key.split_once('@')?;
        traffic.group(group, topic)
    };
    let data = |flow: &Flow, figure: Figure| Some(data(flow, figure, now_ms));
    match name {
        "TOPIC_PUT_NUMS" => data(&traffic.topic(key)?.put, messages),
        "TOPIC_PUT_SIZE" => data(&traffic.topic(key)?.put, bytes),
        "GROUP_GET_NUMS" => data(&of_group()?.get, messages),
        "GROUP_GET_SIZE" => data(&of_group()?.get, bytes),
        "SNDBCK_PUT_NUMS" => data(&of_group()?.sent_back, messages),
        "BROKER_PUT_NUMS" if key == cluster => data(&traffic.put, messages),
        "BROKER_GET_NUMS" if key == cluster => data(&traffic.get, messages),
        _ => None,
    }
}

fn data(flow: &Flow, figure: Figure, now_ms: i64) -> BrokerStatsData {
    let item = |span| {
        let window = flow.over(span, now_ms);
        let sum = figure(window.counted);
        #[allow(clippy::cast_precision_loss)]
        let avgpt = match window.counted.times {
            0 => 0.0,
            times => sum as f64 / times as f64,
        };
        BrokerStatsItem { avgpt, sum: sum.cast_signed(), tps: window.per_second(sum) }
    };
    BrokerStatsData {
        stats_day: item(Span::Day),
        stats_hour: item(Span::Hour),
        stats_minute: item(Span::Minute),
    }
}

impl Core {
    /// Messages stored per second in a topic within the last minute, by this member.
    pub fn put_tps(&self, topic: &str) -> f64 {
        self.view.traffic().topic(topic).map_or(0.0, |topic| messages_per_second(&topic.put))
    }

    /// Messages of a topic handed out per second to a group within the last minute, by this member.
    pub fn get_tps(&self, group: &str, topic: &str) -> f64 {
        self.view.traffic().group(group, topic).map_or(0.0, |group| messages_per_second(&group.get))
    }
}

fn messages_per_second(flow: &Flow) -> f64 {
    let window = flow.over(Span::Minute, crate::clock::now_ms());
    window.per_second(window.counted.messages)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::metrics::traffic::Gathered;

    #[test]
    fn names_have_their_keys_and_their_figures() {
        let traffic = Traffic::default();
        let now_ms = crate::clock::now_ms() + 10_000;
        let mut gathered = Gathered::default();
        (0..4).for_each(|_| gathered.add(250));
        traffic.stored(&traffic.of_topic("T"), &gathered);
        let group = traffic.of_group("g", "T");
        traffic.handed_out(&group, 3, 750);
        group.sent_back.count(1, 250);
        let sum = |name: &str, key: &str| {
            let data = find(&traffic, "C", name, key, now_ms)?;
            assert_eq!(data.stats_minute.sum, data.stats_day.sum);
            Some(data.stats_hour.sum)
        };
        assert_eq!(sum("TOPIC_PUT_NUMS", "T"), Some(4));
        assert_eq!(sum("TOPIC_PUT_SIZE", "T"), Some(1000));
        assert_eq!(sum("GROUP_GET_NUMS", "T@g"), Some(3));
        assert_eq!(sum("GROUP_GET_SIZE", "T@g"), Some(750));
        assert_eq!(sum("SNDBCK_PUT_NUMS", "T@g"), Some(1));
        assert_eq!((sum("BROKER_PUT_NUMS", "C"), sum("BROKER_GET_NUMS", "C")), (Some(4), Some(3)));
        for (name, key) in [
            ("TOPIC_PUT_NUMS", "U"),
            ("GROUP_GET_NUMS", "T"),
            ("GROUP_GET_NUMS", "g@T"),
            ("BROKER_PUT_NUMS", "T"),
            ("NO_SUCH_NAME", "T"),
        ] {
            assert_eq!(sum(name, key), None, "{name} {key}");
        }
        let minute = find(&traffic, "C", "TOPIC_PUT_NUMS", "T", now_ms).unwrap().stats_minute;
        assert!((minute.avgpt - 4.0).abs() < 1e-9 && (minute.tps - 0.4).abs() < 0.01);
    }
}
