//! `getConsumerConfig`: a group's settings, broker group by broker group.

use serde_json::json;

use super::arguments::ConsumerConfigArgs;
use super::retry_policy::RetryPolicy;
use super::{AdminError, print};
use crate::client::{Admin, BrokerAddress};
use crate::protocol::group::SubscriptionGroupConfig;
use crate::protocol::route::MASTER_ID;

pub(super) async fn show(admin: &Admin, arguments: &ConsumerConfigArgs) -> Result<(), AdminError> {
    let mut brokers = admin.brokers(None).await?;
    brokers.retain(|broker| broker.broker_id == MASTER_ID);
    let mut found = Vec::new();
    for broker in brokers {
        if let Some(config) = admin.group_config(&broker.address, &arguments.group).await? {
            found.push((broker, config));
        }
    }
    if found.is_empty() {
        return Err(AdminError::NoGroup(arguments.group.clone()));
    }
    let texts = found.iter().map(|(broker, config)| text(broker, config));
    let table = texts.collect::<Result<String, AdminError>>()?;
    let json = || {
        let one = |(broker, config): &(BrokerAddress, SubscriptionGroupConfig)| {
            json!({
                "clusterName": broker.cluster,
                "brokerName": broker.broker_name,
                "config": config,
            })
        };
        found.iter().map(one).collect()
    };
    print(&arguments.common, || table, json)
}

fn text(broker: &BrokerAddress, config: &SubscriptionGroupConfig) -> Result<String, AdminError> {
    let policy: RetryPolicy = serde_json::from_value(json!(config.group_retry_policy))?;
    let fixed = match &config.subscription_data_set {
        Some(subscriptions) => serde_json::to_string(subscriptions)?,
        None => String::new(),
    };
    let attributes = config.attributes.iter().map(|(key, value)| format!("{key}={value}"));
    let attributes = format!("{{{}}}", attributes.collect::<Vec<_>>().join(", "));
    let rows: [(&str, &dyn std::fmt::Display); 15] = [
        ("groupName", &config.group_name),
        ("consumeEnable", &config.consume_enable),
        ("consumeFromMinEnable", &config.consume_from_min_enable),
        ("consumeBroadcastEnable", &config.consume_broadcast_enable),
        ("consumeMessageOrderly", &config.consume_message_orderly),
        ("retryQueueNums", &config.retry_queue_nums),
        ("retryMaxTimes", &config.retry_max_times),
        ("groupRetryPolicy", &policy),
        ("brokerId", &config.broker_id),
        ("whichBrokerWhenConsumeSlowly", &config.which_broker_when_consume_slowly),
        ("notifyConsumerIdsChangedEnable", &config.notify_consumer_ids_changed_enable),
        ("groupSysFlag", &config.group_sys_flag),
        ("consumeTimeoutMinute", &config.consume_timeout_minute),
        ("subscriptionDataSet", &fixed),
        ("attributes", &attributes),
    ];
    let line = "=".repeat(29);
    let mut text = format!("{line}{}:{}{line}\n", broker.cluster, broker.broker_name);
    for (name, value) in rows {
        text.push_str(&format!("{name:<40}=  {value}\n"));
    }
    Ok(text)
}
