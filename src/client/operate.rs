//! What operators ask of name servers, and of one broker: about replication, about every group, about all that
//! it keeps, and to clean up.

use std::collections::BTreeMap;
use std::time::Duration;

use super::admin::{Admin, properties_of};
use super::error::ClientError;
use super::message::ReceivedMessage;
use super::remote::Ask;
use crate::protocol::body::{
    ConsumeStatsList, ConsumedDirectly, ConsumerRunningInfo, EpochEntryCache, GroupConfigList,
    HaRuntimeInfo, ProducerTable, QueryConsumeQueueBody, SubscriptionGroupWrapper, TopicConfigList,
    TopicConfigSerializeWrapper,
};
use crate::protocol::code::{request, response};
use crate::protocol::fastjson::JsonBody as _;
use crate::protocol::group::SubscriptionGroupConfig;
use crate::protocol::queue::MessageQueue;
use crate::protocol::route::TopicList;
use crate::protocol::topic::TopicConfig;

/// A broker waits for the client, not for ever.
const CLIENT_LIMIT: Duration = Duration::from_secs(15);

/// What a broker does for its own good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Upkeep {
    /// Clean up queues whose messages are gone.
    CleanExpiredQueues,
    /// Clean up queues whose topic is gone.
    CleanUnusedTopics,
    /// Give up expired messages now.
    DeleteExpired,
}

impl Admin {
    /// How closely the followers of a broker follow, or it follows its leader.
    ///
    /// # Errors
    /// When the broker refuses, or does not answer; so below.
    pub async fn ha_status(&self, address: &str) -> Result<HaRuntimeInfo, ClientError> {
        let ask = Ask::new(request::GET_BROKER_HA_STATUS);
        self.broker(address, &ask).await?.decode(HaRuntimeInfo::decode)
    }

    /// The terms in a member's log, as far back as it lists them.
    pub async fn terms(&self, address: &str) -> Result<EpochEntryCache, ClientError> {
        let ask = Ask::new(request::GET_BROKER_EPOCH_CACHE);
        self.broker(address, &ask).await?.decode(EpochEntryCache::decode)
    }

    /// Has a broker clean up.
    pub async fn upkeep(&self, address: &str, upkeep: Upkeep) -> Result<(), ClientError> {
        let code = match upkeep {
            Upkeep::CleanExpiredQueues => request::CLEAN_EXPIRED_CONSUMEQUEUE,
            Upkeep::CleanUnusedTopics => request::CLEAN_UNUSED_TOPIC,
            Upkeep::DeleteExpired => request::DELETE_EXPIRED_COMMITLOG,
        };
        self.broker(address, &Ask::new(code)).await.map(drop)
    }

    /// The producers that are connected to a broker, by group.
    pub async fn all_producers(&self, address: &str) -> Result<ProducerTable, ClientError> {
        let ask = Ask::new(request::GET_ALL_PRODUCER_INFO);
        self.broker(address, &ask).await?.decode(ProducerTable::decode)
    }

    /// Units of a queue from an index on, and which of them a group's filter takes.
    pub async fn queue_units(
        &self,
        address: &str,
        queue: &MessageQueue,
        index: i64,
        count: i32,
        group: Option<&str>,
    ) -> Result<QueryConsumeQueueBody, ClientError> {
        let ask = Ask::new(request::QUERY_CONSUME_QUEUE)
            .with("topic", &queue.topic)
            .with("queueId", queue.queue_id)
            .with("index", index)
            .with("count", count)
            .with_some("consumerGroup", group);
        self.broker(address, &ask).await?.decode(QueryConsumeQueueBody::decode)
    }

    /// Settings of a broker's topics.
    pub async fn all_topic_configs(
        &self,
        address: &str,
    ) -> Result<TopicConfigSerializeWrapper, ClientError> {
        let ask = Ask::new(request::GET_ALL_TOPIC_CONFIG);
        self.broker(address, &ask).await?.decode(TopicConfigSerializeWrapper::decode)
    }

    /// Topics of a broker that belong to the machinery.
    pub async fn system_topics(&self, address: &str) -> Result<TopicList, ClientError> {
        let ask = Ask::new(request::GET_SYSTEM_TOPIC_LIST_FROM_BROKER);
        self.broker(address, &ask).await?.decode(TopicList::decode)
    }

    /// Settings of a broker's groups.
    pub async fn all_group_configs(
        &self,
        address: &str,
    ) -> Result<SubscriptionGroupWrapper, ClientError> {
        let ask = Ask::new(request::GET_ALL_SUBSCRIPTIONGROUP_CONFIG);
        self.broker(address, &ask).await?.decode(SubscriptionGroupWrapper::decode)
    }

    /// A group's settings on a broker; none where it is unknown.
    pub async fn group_config(
        &self,
        address: &str,
        group: &str,
    ) -> Result<Option<SubscriptionGroupConfig>, ClientError> {
        let ask = Ask::new(request::GET_SUBSCRIPTIONGROUP_CONFIG).with("group", group);
        let answer = self.ask(address, &ask).await?;
        if answer.code() == response::SUBSCRIPTION_GROUP_NOT_EXIST {
            return Ok(None);
        }
        answer.success()?.decode(SubscriptionGroupConfig::decode).map(Some)
    }

    /// Creates topics on a broker or changes them; attributes are changes.
    pub async fn update_topics(
        &self,
        address: &str,
        list: &TopicConfigList,
    ) -> Result<(), ClientError> {
        let ask = Ask::new(request::UPDATE_AND_CREATE_TOPIC_LIST).with_body(list.encode());
        self.broker(address, &ask).await.map(drop)
    }

    /// Creates groups on a broker or changes them; attributes are changes.
    pub async fn update_groups(
        &self,
        address: &str,
        list: &GroupConfigList,
    ) -> Result<(), ClientError> {
        let code = request::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST;
        self.broker(address, &Ask::new(code).with_body(list.encode())).await.map(drop)
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
