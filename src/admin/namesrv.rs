//! `updateKvConfig`, `deleteKvConfig`, `updateOrderConf`, `getNamesrvConfig` and `updateNamesrvConfig`: what name
//! servers keep and how they are set.

use serde_json::json;

use super::arguments::{
    CommonArgs, DeleteKvArgs, KeptArgs, KeyValueArgs, OrderConfArgs, OrderConfMethod, UpdateKvArgs,
};
use super::settings::{by_address, properties};
use super::{AdminError, print};
use crate::client::Admin;
use crate::namesrv::ORDER_TOPIC_CONFIG;

pub(super) async fn put(admin: &Admin, arguments: &UpdateKvArgs) -> Result<(), AdminError> {
    let (KeptArgs { namespace, key }, value) = (&arguments.kept, &arguments.value);
    admin.put_kv(namespace, key, value).await?;
    let done = || "create or update kv config to namespace success.\n".to_owned();
    print(&arguments.common, done, || json!({"namespace": namespace, "key": key, "value": value}))
}

pub(super) async fn delete(admin: &Admin, arguments: &DeleteKvArgs) -> Result<(), AdminError> {
    let KeptArgs { namespace, key } = &arguments.kept;
    admin.delete_kv(namespace, key).await?;
    let done = || "delete kv config from namespace success.\n".to_owned();
    print(&arguments.common, done, || json!({"namespace": namespace, "key": key}))
}

pub(super) async fn order(admin: &Admin, arguments: &OrderConfArgs) -> Result<(), AdminError> {
    let topic = &arguments.topic;
    let queues = arguments.queues.as_deref().unwrap_or_default();
    let (done, queues) = match arguments.method {
        OrderConfMethod::Put => {
            admin.put_kv(ORDER_TOPIC_CONFIG, topic, queues).await?;
            ("update", Some(queues.to_owned()))
        }
        OrderConfMethod::Get => {
            let kept = admin.get_kv(ORDER_TOPIC_CONFIG, topic).await?;
            ("get", Some(kept.ok_or_else(|| AdminError::NoOrder(topic.clone()))?))
        }
        OrderConfMethod::Delete => {
            admin.delete_kv(ORDER_TOPIC_CONFIG, topic).await?;
            ("delete", None)
        }
    };
    let shown = || queues.as_ref().map(|queues| format!(", orderConf=[{queues}]"));
    let table =
        || format!("{done} orderConf success. topic=[{topic}]{}\n", shown().unwrap_or_default());
    print(&arguments.common, table, || json!({"topic": topic, "orderConf": queues}))
}

pub(super) async fn config(admin: &Admin, common: &CommonArgs) -> Result<(), AdminError> {
    let mut listed = Vec::new();
    for address in admin.name_servers() {
        listed.push((address.clone(), admin.name_server_config(address).await?));
    }
    let table = || {
        let one = |(address, config): &(String, _)| {
            format!("============{address}============\n{}", properties(config))
        };
        listed.iter().map(one).collect()
    };
    print(common, table, || by_address(&listed))
}

pub(super) async fn update(admin: &Admin, arguments: &KeyValueArgs) -> Result<(), AdminError> {
    let (key, value) = (&arguments.key, &arguments.value);
    admin.update_name_server_config(key, value).await?;
    let name_servers = admin.name_servers();
    let done = || {
        let listed = name_servers.join(", ");
        format!("update name server config success![{listed}]\n{key} : {value}\n")
    };
    let json = || json!({"nameServers": name_servers, "key": key, "value": value});
    print(&arguments.common, done, json)
}
