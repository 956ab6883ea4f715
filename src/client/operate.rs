//! What operators ask of name servers, and of one broker about replication and about every group.

use std::collections::BTreeMap;
use std::time::Duration;

use super::admin::{Admin, properties_of};
use super::error::ClientError;
use super::message::ReceivedMessage;
use super::remote::Ask;
use crate::protocol::body::{
    ConsumeStatsList, ConsumedDirectly, ConsumerRunningInfo, HaRuntimeInfo,
};
use crate::protocol::code::{request, response};
use crate::protocol::fastjson::JsonBody as _;
use crate::protocol::topic::TopicConfig;

/// A broker waits for the client, not for ever.
const CLIENT_LIMIT: Duration = Duration::from_secs(15);

impl Admin {
    /// How closely the followers of a broker follow, or it follows its leader.
    ///
    /// # Errors
    /// When the broker refuses, or does not answer; so below.
    pub async fn ha_status(&self, address: &str) -> Result<HaRuntimeInfo, ClientError> {
        let ask = Ask::new(request::GET_BROKER_HA_STATUS);
        self.broker(address, &ask).await?.decode(HaRuntimeInfo::decode)
    }

    /// How far every group of a broker is, in ordered topics or in all.
    pub async fn all_consume_stats(
        &self,
        address: &str,
        ordered_only: bool,
        limit: Duration,
    ) -> Result<ConsumeStatsList, ClientError> {
        let ask = Ask::new(request::GET_BROKER_CONSUME_STATS).with("isOrder", ordered_only);
        let answer = self.ask_within(address, &ask, limit).await?.success()?;
        answer.decode(ConsumeStatsList::decode)
    }

    /// What a consumer tells of itself, through a broker that it is connected to.
    pub async fn running_info(
        &self,
        address: &str,
        group: &str,
        client_id: &str,
        jstack: bool,
    ) -> Result<ConsumerRunningInfo, ClientError> {
        let ask = Ask::new(request::GET_CONSUMER_RUNNING_INFO)
            .with("consumerGroup", group)
            .with("clientId", client_id)
            .with("jstackEnable", jstack);
        let answer = self.ask_within(address, &ask, CLIENT_LIMIT).await?.success()?;
        answer.decode(ConsumerRunningInfo::decode)
    }

    /// Has a consumer consume a stored message at once, through the leader of the message's group.
    pub async fn consume_directly(
        &self,
        address: &str,
        group: &str,
        client_id: &str,
        message: &ReceivedMessage,
    ) -> Result<ConsumedDirectly, ClientError> {
        let ask = Ask::new(request::CONSUME_MESSAGE_DIRECTLY)
            .with("consumerGroup", group)
            .with("clientId", client_id)
            .with("topic", &message.topic)
            .with("msgId", message.offset_message_id());
        let answer = self.ask_within(address, &ask, CLIENT_LIMIT).await?.success()?;
        answer.decode(ConsumedDirectly::decode)
    }

    /// A topic's settings on a broker.
    pub async fn topic_config(
        &self,
        address: &str,
        topic: &str,
    ) -> Result<TopicConfig, ClientError> {
        let ask = Ask::new(request::GET_TOPIC_CONFIG).with("topic", topic);
        self.broker(address, &ask).await?.decode(TopicConfig::decode)
    }

    /// Has every name server keep a value.
    pub async fn put_kv(&self, namespace: &str, key: &str, value: &str) -> Result<(), ClientError> {
        let ask = Ask::new(request::PUT_KV_CONFIG)
            .with("namespace", namespace)
            .with("key", key)
            .with("value", value);
        self.every_name_server(&ask).await
    }

    /// A value that the name servers keep, if any.
    pub async fn get_kv(&self, namespace: &str, key: &str) -> Result<Option<String>, ClientError> {
        let ask = Ask::new(request::GET_KV_CONFIG).with("namespace", namespace).with("key", key);
        let answer = self.ask_name_server(&ask).await?;
        if answer.code() == response::QUERY_NOT_FOUND {
            return Ok(None);
        }
        Ok(answer.success()?.text("value").map(str::to_owned))
    }

    /// Has every name server forget a value.
    pub async fn delete_kv(&self, namespace: &str, key: &str) -> Result<(), ClientError> {
        let ask = Ask::new(request::DELETE_KV_CONFIG).with("namespace", namespace).with("key", key);
        self.every_name_server(&ask).await
    }

    /// A name server's settings in effect.
    pub async fn name_server_config(
        &self,
        name_server: &str,
    ) -> Result<BTreeMap<String, String>, ClientError> {
        let answer = self.broker(name_server, &Ask::new(request::GET_NAMESRV_CONFIG)).await?;
        Ok(properties_of(answer.body()))
    }

    /// Changes a setting of every name server.
    pub async fn update_name_server_config(
        &self,
        key: &str,
        value: &str,
    ) -> Result<(), ClientError> {
        let change = format!("{key}={value}\n").into_bytes();
        self.every_name_server(&Ask::new(request::UPDATE_NAMESRV_CONFIG).with_body(change.into()))
            .await
    }

    /// None of them is left out because an earlier one failed; the first failure is told.
    async fn every_name_server(&self, ask: &Ask) -> Result<(), ClientError> {
        let mut failed = Ok(());
        for name_server in self.name_servers() {
            let told = self.broker(name_server, ask).await.map(drop);
            failed = failed.and(told);
        }
        failed
    }
}
