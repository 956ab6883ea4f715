//! `getSyncStateSet`, `electMaster`, `getControllerMetaData`, `getControllerConfig` and
//! `updateControllerConfig`: what RocketMQ's operators ask of a controller, and any name server here.

use serde_json::json;

use super::arguments::{
    ControllerArgs, ControllersArgs, ElectMasterArgs, SyncStateSetArgs, UpdateControllerArgs,
};
use super::settings::{by_address, properties};
use super::{AdminError, print, repeat};
use crate::client::{Admin, Elected};
use crate::protocol::body::{ReplicaIdentity, ReplicasInfo};

pub(super) async fn sync_state(
    admin: &Admin,
    arguments: &SyncStateSetArgs,
) -> Result<(), AdminError> {
    repeat(admin, arguments.interval_seconds, async || sync_state_once(admin, arguments).await)
        .await
}

async fn sync_state_once(admin: &Admin, arguments: &SyncStateSetArgs) -> Result<(), AdminError> {
    let names = match &arguments.broker_name {
        Some(name) => vec![name.clone()],
        None => {
            let brokers = admin.brokers(arguments.cluster.as_deref()).await?;
            let mut names: Vec<_> = brokers.into_iter().map(|broker| broker.broker_name).collect();
            names.dedup();
            names
        }
    };
    let found = admin.sync_state(first(&arguments.controller), &names).await?.replicas_info_table;
    if let Some(unknown) = names.iter().find(|name| !found.contains_key(*name)) {
        return Err(AdminError::NoBrokerName(unknown.clone()));
    }
    let table = || found.iter().map(|(name, group)| sync_state_text(name, group)).collect();
    print(&arguments.common, table, || json!(found))
}

fn sync_state_text(name: &str, group: &ReplicasInfo) -> String {
    let mut text = format!(
        "\n#brokerName\t{name}\n#MasterBrokerId\t{}\n#MasterAddr\t{}\n#MasterEpoch\t{}\n\
         #SyncStateSetEpoch\t{}\n#SyncStateSetNums\t{}\n",
        group.master_broker_id.map_or_else(|| "null".to_owned(), |id| id.to_string()),
        group.master_address.as_deref().unwrap_or("null"),
        group.master_epoch,
        group.sync_state_set_epoch,
        group.in_sync_replicas.len(),
    );
    for member in &group.in_sync_replicas {
        text.push_str(&format!("\nInSyncReplica:\t{}\n", as_java(member)));
    }
    for member in &group.not_in_sync_replicas {
        text.push_str(&format!("\nNotInSyncReplica:\t{}\n", as_java(member)));
    }
    text
}

fn as_java(member: &ReplicaIdentity) -> String {
    let ReplicaIdentity { alive, broker_address, broker_id, broker_name } = member;
    format!(
        "ReplicaIdentity{{brokerName='{broker_name}', brokerId={broker_id}, \
         brokerAddress='{broker_address}', alive={alive}}}"
    )
}

pub(super) async fn elect(admin: &Admin, arguments: &ElectMasterArgs) -> Result<(), AdminError> {
    let ElectMasterArgs { cluster, broker_name, broker_id, .. } = arguments;
    let controller = first(&arguments.controller);
    let elected = admin.elect_master(controller, cluster, broker_name, *broker_id).await?;
    let Elected { address, term, sync_state_set_epoch, members } = &elected;
    let table = || {
        let member = |(id, address): (&i64, &String)| format!("\t#Broker\t{id}\t{address}\n");
        let members: String = members.iter().map(member).collect();
        format!(
            "\n#ClusterName\t{cluster}\n#BrokerName\t{broker_name}\n#BrokerMasterAddr\t{address}\n\
             #MasterEpoch\t{term}\n#SyncStateSetEpoch\t{sync_state_set_epoch}\n{members}"
        )
    };
    let json = || {
        json!({
            "clusterName": cluster,
            "brokerName": broker_name,
            "masterAddress": address,
            "masterEpoch": term,
            "syncStateSetEpoch": sync_state_set_epoch,
            "brokerAddrs": members,
        })
    };
    print(&arguments.common, table, json)
}

pub(super) async fn metadata(admin: &Admin, arguments: &ControllerArgs) -> Result<(), AdminError> {
    let found = admin.controller(first(&arguments.controller)).await?;
    let table = || {
        let peers: String = found.peers.iter().map(|peer| format!("#Peer:\t{peer}\n")).collect();
        format!(
            "\n#ControllerGroup\t{}\n#ControllerLeaderId\t{}\n#ControllerLeaderAddress\t{}\n{peers}",
            found.group, found.leader_id, found.leader_address
        )
    };
    let json = || {
        json!({
            "group": found.group,
            "controllerLeaderId": found.leader_id,
            "controllerLeaderAddress": found.leader_address,
            "peers": found.peers,
        })
    };
    print(&arguments.common, table, json)
}

pub(super) async fn config(admin: &Admin, arguments: &ControllersArgs) -> Result<(), AdminError> {
    let mut listed = Vec::new();
    for address in all(&arguments.controllers) {
        listed.push((address.to_owned(), admin.controller_config(address).await?));
    }
    let table = || {
        let one = |(address, config): &(String, _)| {
            format!("============{address}============\n{}", properties(config))
        };
        listed.iter().map(one).collect()
    };
    print(&arguments.common, table, || by_address(&listed))
}

pub(super) async fn update(
    admin: &Admin,
    arguments: &UpdateControllerArgs,
) -> Result<(), AdminError> {
    let UpdateControllerArgs { key, value, .. } = arguments;
    let controllers: Vec<&str> = all(&arguments.controllers).collect();
    for address in &controllers {
        admin.update_controller_config(address, key, value).await?;
    }
    let listed = || controllers.join(", ");
    let table = || format!("update controller config success![{}]\n{key} : {value}\n", listed());
    print(
        &arguments.common,
        table,
        || json!({"controllers": controllers, "key": key, "value": value}),
    )
}

/// Any controller tells of the one that leads.
fn first(addresses: &str) -> &str {
    all(addresses).next().unwrap_or_default()
}

fn all(addresses: &str) -> impl Iterator<Item = &str> {
    addresses.split(';').map(str::trim).filter(|address| !address.is_empty())
}
