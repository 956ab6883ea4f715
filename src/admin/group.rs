//! `updateSubGroup` and `deleteSubGroup`: consumer groups and their settings.

use serde_json::json;

use super::arguments::{DeleteSubGroupArgs, UpdateSubGroupArgs};
use super::retry_policy::RetryPolicy;
use super::settings::brokers;
use super::{AdminError, print, topic};
use crate::client::Admin;
use crate::protocol::group::{GroupRetryPolicy, SubscriptionGroupConfig};
use crate::protocol::names;

pub(super) async fn update(
    admin: &Admin,
    arguments: &UpdateSubGroupArgs,
) -> Result<(), AdminError> {
    let policy = arguments.retry_policy.clone().unwrap_or_default();
    let group = config(arguments, policy.stored()?);
    let mut stored = Vec::new();
    for broker in brokers(admin, &arguments.place, false).await? {
        admin.update_group(&broker.address, &group).await?;
        stored.push(broker.address);
    }
    let table = || {
        let line = |address: &String| format!("create subscription group to {address} success.\n");
        let lines: String = stored.iter().map(line).collect();
        format!("{lines}{}\n", one_line(&group, &policy))
    };
    print(&arguments.common.common(), table, || json!({"brokers": stored, "config": group}))
}

/// What is not said stays as it is by default.
fn config(
    arguments: &UpdateSubGroupArgs,
    group_retry_policy: GroupRetryPolicy,
) -> SubscriptionGroupConfig {
    let usual = SubscriptionGroupConfig::default();
    SubscriptionGroupConfig {
        group_name: arguments.group.clone(),
        consume_enable: arguments.consume.unwrap_or(usual.consume_enable),
        // mqadmin's default, unlike the broker's.
        consume_from_min_enable: arguments.from_min.unwrap_or(false),
        consume_broadcast_enable: arguments.broadcast.unwrap_or(false),
        consume_message_orderly: arguments.orderly.unwrap_or(usual.consume_message_orderly),
        retry_queue_nums: arguments.retry_queues.unwrap_or(usual.retry_queue_nums),
        retry_max_times: arguments.retry_max.unwrap_or(usual.retry_max_times),
        group_retry_policy,
        attributes: arguments.attributes.clone().unwrap_or_default(),
        broker_id: arguments.broker_id.unwrap_or(usual.broker_id),
        which_broker_when_consume_slowly: arguments
            .which_slow
            .unwrap_or(usual.which_broker_when_consume_slowly),
        notify_consumer_ids_changed_enable: arguments
            .notify
            .unwrap_or(usual.notify_consumer_ids_changed_enable),
        ..usual
    }
}

fn one_line(group: &SubscriptionGroupConfig, policy: &RetryPolicy) -> String {
    let pairs = group.attributes.iter().map(|(key, value)| format!("{key}={value}"));
    format!(
        "SubscriptionGroupConfig{{groupName={}, consumeEnable={}, consumeFromMinEnable={}, \
         consumeBroadcastEnable={}, consumeMessageOrderly={}, retryQueueNums={}, \
         retryMaxTimes={}, groupRetryPolicy={policy}, brokerId={}, \
         whichBrokerWhenConsumeSlowly={}, notifyConsumerIdsChangedEnable={}, groupSysFlag={}, \
         consumeTimeoutMinute={}, subscriptionDataSet=null, attributes={{{}}}}}",
        group.group_name,
        group.consume_enable,
        group.consume_from_min_enable,
        group.consume_broadcast_enable,
        group.consume_message_orderly,
        group.retry_queue_nums,
        group.retry_max_times,
        group.broker_id,
        group.which_broker_when_consume_slowly,
        group.notify_consumer_ids_changed_enable,
        group.group_sys_flag,
        group.consume_timeout_minute,
        pairs.collect::<Vec<_>>().join(", "),
    )
}

pub(super) async fn delete(
    admin: &Admin,
    arguments: &DeleteSubGroupArgs,
) -> Result<(), AdminError> {
    let group = &arguments.group;
    let mut deleted = Vec::new();
    for broker in brokers(admin, &arguments.place, false).await? {
        admin.delete_group(&broker.address, group, arguments.remove_offset).await?;
        deleted.push(broker.address);
    }
    if let Some(cluster) = &arguments.place.cluster {
        for topic in [names::retry_topic(group), names::dead_letter_topic(group)] {
            topic::delete_in_brokers(admin, cluster, &topic).await?;
            admin.delete_topic_in_name_servers(cluster, &topic).await?;
        }
    }
    let of_cluster = match &arguments.place.cluster {
        Some(cluster) => format!(" in cluster [{cluster}]"),
        None => String::new(),
    };
    let line = |address: &String| {
        format!(
            "delete subscription group [{group}] from broker [{address}]{of_cluster} success.\n"
        )
    };
    print(&arguments.common, || deleted.iter().map(line).collect(), || json!(deleted))
}
