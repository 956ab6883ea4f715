//! `getBrokerEpoch`: the terms in the logs of a group's members.

use serde_json::json;

use super::arguments::BrokerEpochArgs;
use super::{AdminError, print, repeat};
use crate::client::Admin;
use crate::protocol::body::EpochEntryCache;

pub(super) async fn of_brokers(
    admin: &Admin,
    arguments: &BrokerEpochArgs,
) -> Result<(), AdminError> {
    repeat(admin, arguments.interval_seconds, async || once(admin, arguments).await).await
}

async fn once(admin: &Admin, arguments: &BrokerEpochArgs) -> Result<(), AdminError> {
    let mut brokers = admin.brokers(arguments.cluster.as_deref()).await?;
    if let Some(name) = &arguments.broker_name {
        brokers.retain(|broker| broker.broker_name == *name);
        if brokers.is_empty() {
            return Err(AdminError::NoBrokerName(name.clone()));
        }
    }
    let mut listed = Vec::new();
    for broker in brokers {
        let terms = admin.terms(&broker.address).await?;
        listed.push((broker.address, terms));
    }
    let json = || {
        let one = |(address, terms): &(String, EpochEntryCache)| (address.clone(), json!(terms));
        listed.iter().map(one).collect()
    };
    let table = || listed.iter().map(|(address, terms)| text(address, terms)).collect();
    print(&arguments.common, table, json)
}

/// The newest term goes on to the end of the log.
fn text(address: &str, terms: &EpochEntryCache) -> String {
    let EpochEntryCache { broker_id, broker_name, cluster_name, epoch_list, max_offset } = terms;
    let mut text = format!(
        "\n#clusterName\t{cluster_name}\n#brokerName\t{broker_name}\n#brokerAddr\t{address}\n\
         #brokerId\t{broker_id}\n"
    );
    for (at, term) in epoch_list.iter().enumerate() {
        let end = if at + 1 == epoch_list.len() { *max_offset } else { term.end_offset };
        let (epoch, start) = (term.epoch, term.start_offset);
        text.push_str(&format!(
            "#Epoch: EpochEntry{{epoch={epoch}, startOffset={start}, endOffset={end}}}\n"
        ));
    }
    text
}
