//! `clusterList`: brokers and their load.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::json;
use tokio::time::sleep;

use super::arguments::ClusterListArgs;
use super::table::{Column, left, render, right};
use super::{AdminError, print};
use crate::client::{Admin, BrokerAddress};
use crate::clock;

const LOAD: [Column; 12] = [
    left("#Cluster Name", 22),
    left("#Broker Name", 22),
    left("#BID", 4),
    left("#Addr", 22).then(1),
    left("#Version", 16),
    right("#InTPS(LOAD)", 16),
    right("#OutTPS(LOAD)", 30),
    left("#Timer(Progress)", 22),
    right("#PCWait(ms)", 11),
    left("#Hour", 12),
    left("#SPACE", 8),
    right("#ACTIVATED", 10),
];

const TOTALS: [Column; 6] = [
    left("#Cluster Name", 16),
    left("#Broker Name", 32).then(1),
    right("#InTotalYest", 14).then(1),
    right("#OutTotalYest", 14).then(1),
    right("#InTotalToday", 14).then(1),
    right("#OutTotalToday", 14),
];

type Info = BTreeMap<String, String>;

pub(super) async fn list(admin: &Admin, arguments: &ClusterListArgs) -> Result<(), AdminError> {
    loop {
        admin.renew_patience();
        let silent = list_once(admin, arguments).await?;
        match arguments.interval_seconds {
            Some(seconds) => sleep(Duration::from_secs(seconds.max(1))).await,
            None if silent > 0 => return Err(AdminError::Incomplete(silent)),
            None => return Ok(()),
        }
    }
}

/// How many brokers did not answer.
async fn list_once(admin: &Admin, arguments: &ClusterListArgs) -> Result<usize, AdminError> {
    let brokers = admin.brokers(arguments.cluster.as_deref()).await?;
    let mut listed = Vec::with_capacity(brokers.len());
    let mut silent = 0;
    for broker in brokers {
        let info = match admin.runtime_info(&broker.address).await {
            Ok(info) => info,
            Err(error) => {
                eprintln!("admin: {} {}: {error}", broker.broker_name, broker.broker_id);
                silent += 1;
                Info::new()
            }
        };
        listed.push((broker, info));
    }
    let rows = |row: fn(&BrokerAddress, &Info) -> Vec<String>| -> Vec<Vec<String>> {
        listed.iter().map(|(broker, info)| row(broker, info)).collect()
    };
    let table = || match arguments.more_stats {
        true => render(&TOTALS, &rows(totals_row)),
        false => render(&LOAD, &rows(load_row)),
    };
    let json = || {
        let broker = |(broker, info): &(BrokerAddress, Info)| {
            json!({
                "cluster": broker.cluster,
                "brokerName": broker.broker_name,
                "brokerId": broker.broker_id,
                "address": broker.address,
                "runtimeInfo": info,
            })
        };
        listed.iter().map(broker).collect()
    };
    print(&arguments.common, table, json)?;
    Ok(silent)
}

fn load_row(broker: &BrokerAddress, info: &Info) -> Vec<String> {
    let text = |key: &str| info.get(key).cloned().unwrap_or_default();
    let number = |key: &str| info.get(key).and_then(|v| v.parse::<f64>().ok()).unwrap_or(0.0);
    // Three rates: of the last ten seconds, of a minute, of ten.
    let rate = |key: &str| {
        let first = info.get(key).and_then(|v| v.split(' ').next()?.parse::<f64>().ok());
        first.unwrap_or(0.0)
    };
    let queue = |name: &str| {
        let size = text(&format!("{name}ThreadPoolQueueSize"));
        let wait = text(&format!("{name}ThreadPoolQueueHeadWaitTimeMills"));
        format!("{},{}ms", or_zero(size), or_zero(wait))
    };
    let in_tps = format!("{:9.2}({})", rate("putTps"), queue("send"));
    let out_tps = format!("{:9.2}({}|{})", rate("getTransferredTps"), queue("pull"), queue("ack"));
    let timer = format!(
        "{}-{}({:.1}w, {:.1}, {:.1})",
        number("timerReadBehind"),
        number("timerOffsetBehind"),
        number("timerCongestNum") / 10_000.0,
        number("timerEnqueueTps"),
        number("timerDequeueTps"),
    );
    let earliest_ms = number("earliestMessageTimeStamp");
    let hours = match earliest_ms > 0.0 {
        true => (clock::now_ms() as f64 - earliest_ms) / 3_600_000.0,
        false => 0.0,
    };
    vec![
        broker.cluster.clone(),
        broker.broker_name.clone(),
        broker.broker_id.to_string(),
        broker.address.clone(),
        text("brokerVersionDesc"),
        in_tps,
        out_tps,
        timer,
        or_zero(text("pageCacheLockTimeMills")),
        format!("{hours:.2}"),
        format!("{:.4}", number("commitLogDiskRatio")),
        text("brokerActive"),
    ]
}

fn totals_row(broker: &BrokerAddress, info: &Info) -> Vec<String> {
    let number = |key: &str| info.get(key).and_then(|v| v.parse::<i64>().ok()).unwrap_or(0);
    let between = |direction: &str, to: &str, from: &str| {
        let total = |when: &str| number(&format!("msg{direction}Total{when}"));
        (total(to) - total(from)).to_string()
    };
    vec![
        broker.cluster.clone(),
        broker.broker_name.clone(),
        between("Put", "TodayMorning", "YesterdayMorning"),
        between("Get", "TodayMorning", "YesterdayMorning"),
        between("Put", "TodayNow", "TodayMorning"),
        between("Get", "TodayNow", "TodayMorning"),
    ]
}

fn or_zero(text: String) -> String {
    if text.is_empty() { "0".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broker() -> BrokerAddress {
        BrokerAddress {
            cluster: "c".into(),
            broker_name: "b".into(),
            broker_id: 0,
            address: "h:1".into(),
        }
    }

    fn info<const N: usize>(pairs: [(&str, &str); N]) -> Info {
        pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).into()
    }

    #[test]
    fn a_row_shows_the_first_of_three_rates_and_the_queues() {
        let info = info([
            ("putTps", "12.5 3 1"),
            ("getTransferredTps", "7 0 0"),
            ("sendThreadPoolQueueSize", "4"),
            ("sendThreadPoolQueueHeadWaitTimeMills", "2"),
            ("brokerActive", "true"),
            ("commitLogDiskRatio", "0.25"),
        ]);
        let row = load_row(&broker(), &info);
        assert_eq!(row.len(), LOAD.len());
        assert_eq!(row[5], "    12.50(4,2ms)");
        assert_eq!(row[6], "     7.00(0,0ms|0,0ms)");
        assert_eq!((row[10].as_str(), row[11].as_str()), ("0.2500", "true"));
        assert_eq!(
            load_row(&broker(), &Info::new()).len(),
            LOAD.len(),
            "a silent broker has a row"
        );
    }

    #[test]
    fn totals_are_differences() {
        let info = info([
            ("msgPutTotalYesterdayMorning", "10"),
            ("msgPutTotalTodayMorning", "30"),
            ("msgPutTotalTodayNow", "35"),
        ]);
        assert_eq!(totals_row(&broker(), &info)[2..], ["20", "0", "5", "0"]);
    }
}
