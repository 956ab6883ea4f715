//! `brokerStatus`, `getBrokerConfig`, `updateBrokerConfig`, `wipeWritePerm` and `addWritePerm`: a broker's
//! figures and settings.

use std::collections::BTreeMap;

use serde_json::json;

use super::arguments::{BrokerNameArgs, BrokersArgs, UpdateBrokerConfigArgs, WhereArgs};
use super::{AdminError, print};
use crate::client::{Admin, BrokerAddress, WritePermission};
use crate::protocol::route::MASTER_ID;

pub(super) type Table = BTreeMap<String, String>;

/// The brokers that are meant, the leaders of a cluster's groups or all of its members.
pub(super) async fn brokers(
    admin: &Admin,
    place: &WhereArgs,
    followers_too: bool,
) -> Result<Vec<BrokerAddress>, AdminError> {
    if let Some(address) = &place.broker {
        return Ok(vec![BrokerAddress {
            cluster: String::new(),
            broker_name: String::new(),
            broker_id: MASTER_ID,
            address: address.clone(),
        }]);
    }
    let mut brokers = admin.brokers(place.cluster.as_deref()).await?;
    brokers.retain(|broker| followers_too || broker.broker_id == MASTER_ID);
    if brokers.is_empty() {
        return Err(AdminError::NoMaster(place.cluster.clone().unwrap_or_default()));
    }
    Ok(brokers)
}

pub(super) async fn status(admin: &Admin, arguments: &BrokersArgs) -> Result<(), AdminError> {
    let mut listed = Vec::new();
    for broker in brokers(admin, &arguments.place, true).await? {
        let info = admin.runtime_info(&broker.address).await?;
        listed.push((broker.address, info));
    }
    let table = || {
        let one = arguments.place.broker.is_some();
        let lines = listed.iter().flat_map(|(address, info)| {
            let line = move |(key, value): (&String, &String)| match one {
                true => format!("{key:<32}: {value}\n"),
                false => format!("{address:<24} {key:<32}: {value}\n"),
            };
            info.iter().map(line)
        });
        lines.collect()
    };
    print(&arguments.common, table, || by_address(&listed))
}

pub(super) async fn config(admin: &Admin, arguments: &BrokersArgs) -> Result<(), AdminError> {
    let mut listed = Vec::new();
    let mut leader = String::from("NO_MASTER");
    for broker in brokers(admin, &arguments.place, true).await? {
        let config = admin.broker_config(&broker.address).await?;
        let title = match (&arguments.place.broker, broker.broker_id) {
            (Some(address), _) => format!("============{address}============"),
            (None, MASTER_ID) => {
                leader.clone_from(&broker.address);
                format!("============Master: {leader}============")
            }
            (None, _) => {
                let follower = &broker.address;
                format!("============My Master: {leader}=====Slave: {follower}============")
            }
        };
        listed.push((broker.address, title, config));
    }
    let table = || {
        let mut text = String::new();
        for (_, title, config) in &listed {
            text.push_str(&format!("{title}\n{}\n", properties(config)));
        }
        text
    };
    let pairs: Vec<(String, Table)> =
        listed.iter().map(|(address, _, config)| (address.clone(), config.clone())).collect();
    print(&arguments.common, table, || by_address(&pairs))
}

/// A line for each.
pub(super) fn properties(config: &Table) -> String {
    let line = |(key, value): (&String, &String)| format!("{key:<50}=  {value}\n");
    config.iter().map(line).collect()
}

pub(super) fn by_address(listed: &[(String, Table)]) -> serde_json::Value {
    listed.iter().map(|(address, table)| (address.clone(), json!(table))).collect()
}

pub(super) async fn update(
    admin: &Admin,
    arguments: &UpdateBrokerConfigArgs,
) -> Result<(), AdminError> {
    let mut changed = Vec::new();
    for broker in brokers(admin, &arguments.place, arguments.all).await? {
        admin.update_broker_config(&broker.address, &arguments.key, &arguments.value).await?;
        changed.push(broker.address);
    }
    let line = |address: &String| format!("update broker config success, {address}\n");
    print(&arguments.common, || changed.iter().map(line).collect(), || json!(changed))
}

pub(super) async fn write_permission(
    admin: &Admin,
    arguments: &BrokerNameArgs,
    permission: WritePermission,
) -> Result<(), AdminError> {
    let name = &arguments.broker_name;
    let mut told = Vec::new();
    for name_server in admin.name_servers() {
        let topics = admin.set_write_permission(name_server, name, permission).await?;
        told.push((name_server.clone(), topics));
    }
    let verb = match permission {
        WritePermission::Wipe => "wipe",
        WritePermission::Add => "add",
    };
    let line = |(name_server, topics): &(String, i64)| {
        format!("{verb} write perm of broker[{name}] in name server[{name_server}] OK, {topics}\n")
    };
    let json = || {
        let one = |(name_server, topics): &(String, i64)| json!({"nameServer": name_server, "topics": topics});
        told.iter().map(one).collect()
    };
    print(&arguments.common, || told.iter().map(line).collect(), json)
}
