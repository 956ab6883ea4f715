//! What operators change, and what they look up beside it: groups, offsets, settings.

use std::collections::BTreeMap;

use super::admin::Admin;
use super::error::ClientError;
use super::remote::Ask;
use crate::protocol::body::{BrokerStatsData, ProducerConnection, ResetOffsetBody};
use crate::protocol::code::{request, response};
use crate::protocol::fastjson::JsonBody as _;
use crate::protocol::group::SubscriptionGroupConfig;
use crate::protocol::queue::MessageQueue;

/// Where a group's offsets are put.
#[derive(Debug, Clone, Copy)]
pub struct ResetOffsets<'a> {
    /// Group.
    pub group: &'a str,
    /// Topic.
    pub topic: &'a str,
    /// Milliseconds since 1970, -1 for the end.
    pub timestamp_ms: i64,
    /// Also forwards.
    pub force: bool,
    /// Only this queue, at this offset instead of a time if there is one.
    pub queue: Option<(i32, Option<i64>)>,
}

/// Whether producers may write to a broker, as name servers tell them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WritePermission {
    /// Not any more.
    Wipe,
    /// Again.
    Add,
}

impl Admin {
    /// Creates a group on a broker or changes it.
    ///
    /// # Errors
    /// When the broker refuses, or does not answer; so below.
    pub async fn update_group(
        &self,
        address: &str,
        group: &SubscriptionGroupConfig,
    ) -> Result<(), ClientError> {
        let ask = Ask::new(request::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP).with_body(group.encode());
        self.broker(address, &ask).await.map(drop)
    }

    /// Deletes a group on a broker, with its offsets if asked.
    pub async fn delete_group(
        &self,
        address: &str,
        group: &str,
        clean_offset: bool,
    ) -> Result<(), ClientError> {
        let ask = Ask::new(request::DELETE_SUBSCRIPTIONGROUP)
            .with("groupName", group)
            .with("cleanOffset", clean_offset);
        self.broker(address, &ask).await.map(drop)
    }

    /// Puts a group elsewhere on a broker; where it is then, queue by queue.
    pub async fn reset_offsets(
        &self,
        address: &str,
        to: ResetOffsets<'_>,
    ) -> Result<BTreeMap<MessageQueue, i64>, ClientError> {
        let (queue_id, offset) = to.queue.unzip();
        let ask = Ask::new(request::INVOKE_BROKER_TO_RESET_OFFSET)
            .with("topic", to.topic)
            .with("group", to.group)
            .with("timestamp", to.timestamp_ms)
            .with("isForce", to.force)
            .with_some("queueId", queue_id)
            .with_some("offset", offset.flatten());
        let body = self.broker(address, &ask).await?.decode(ResetOffsetBody::decode)?;
        Ok(body.offset_table.0)
    }

    /// Gives a group the offsets of another one, of one topic or, without, of all.
    pub async fn clone_offsets(
        &self,
        address: &str,
        from: &str,
        to: &str,
        topic: Option<&str>,
    ) -> Result<(), ClientError> {
        let ask = Ask::new(request::CLONE_GROUP_OFFSET)
            .with("srcGroup", from)
            .with("destGroup", to)
            .with_some("topic", topic);
        self.broker(address, &ask).await.map(drop)
    }

    /// The connected producers of a group.
    pub async fn producer_connection(
        &self,
        address: &str,
        group: &str,
    ) -> Result<ProducerConnection, ClientError> {
        let ask = Ask::new(request::GET_PRODUCER_CONNECTION_LIST).with("producerGroup", group);
        self.broker(address, &ask).await?.decode(ProducerConnection::decode)
    }

    /// Changes a setting of a running broker.
    pub async fn update_broker_config(
        &self,
        address: &str,
        key: &str,
        value: &str,
    ) -> Result<(), ClientError> {
        let change = format!("{key}={value}\n").into_bytes();
        let ask = Ask::new(request::UPDATE_BROKER_CONFIG).with_body(change.into());
        self.broker(address, &ask).await.map(drop)
    }

    /// Lets a name server tell producers not to write to a broker, or to write to it again; to how many
    /// topics that applied.
    pub async fn set_write_permission(
        &self,
        name_server: &str,
        broker_name: &str,
        permission: WritePermission,
    ) -> Result<i64, ClientError> {
        let (code, count) = match permission {
            WritePermission::Wipe => (request::WIPE_WRITE_PERM_OF_BROKER, "wipeTopicCount"),
            WritePermission::Add => (request::ADD_WRITE_PERM_OF_BROKER, "addTopicCount"),
        };
        let ask = Ask::new(code).with("brokerName", broker_name);
        self.broker(name_server, &ask).await?.number(count)
    }

    /// What a broker counted under a name; none where it never did.
    pub async fn broker_stats(
        &self,
        address: &str,
        name: &str,
        key: &str,
    ) -> Result<Option<BrokerStatsData>, ClientError> {
        let ask =
            Ask::new(request::VIEW_BROKER_STATS_DATA).with("statsName", name).with("statsKey", key);
        match self.broker(address, &ask).await {
            Ok(answer) => answer.decode(BrokerStatsData::decode).map(Some),
            Err(error) if error.code() == Some(response::SYSTEM_ERROR) => Ok(None),
            Err(error) => Err(error),
        }
    }
}
