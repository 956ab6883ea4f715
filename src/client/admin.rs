//! Administrative calls, typed.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use crate::protocol::body::{ConsumeStats, ConsumerConnection, GroupList, KvTable};
use crate::protocol::body::{RaftStatus, TopicStatsTable};
use crate::protocol::code::{request, response};
use crate::protocol::fastjson::JsonBody as _;
use crate::protocol::message_id::OffsetMessageId;
use crate::protocol::names::AUTO_CREATE_TOPIC;
use crate::protocol::properties;
use crate::protocol::record::records;
use crate::protocol::route::{ClusterInfo, TopicList, TopicRouteData};
use crate::protocol::topic::TopicConfig;

use super::error::ClientError;
use super::instance::Client;
use super::message::ReceivedMessage;
use super::patience::Patience;
use super::remote::{Answer, Ask};

/// One broker as the NameServer knows it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct BrokerAddress {
    /// Cluster.
    pub cluster: String,
    /// Name of its group.
    pub broker_name: String,
    /// Zero for the leader.
    pub broker_id: i64,
    /// Where clients reach it.
    pub address: String,
}

/// A message found by its id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredMessage {
    /// The message.
    pub message: ReceivedMessage,
    /// The topic that it is stored in: of a retried message the group's own.
    pub topic: String,
    /// Bytes of its record.
    pub record_bytes: usize,
    /// Checksum of its body as it is stored.
    pub body_crc: i32,
    /// Where the first half of its transaction is, zero without one.
    pub prepared_transaction_offset: i64,
}

/// Administrative calls.
pub struct Admin {
    client: Client,
    /// Without it, each request has a time limit of its own.
    patience: Option<Patience>,
}

impl Admin {
    /// On a client.
    pub fn new(client: &Client) -> Admin {
        Admin { client: client.clone(), patience: None }
    }

    /// For one command, whose waits for brokers that do not answer are bounded together.
    pub fn for_a_command(client: &Client, patience: Duration) -> Admin {
        Admin { client: client.clone(), patience: Some(Patience::new(patience)) }
    }

    /// What begins now is a command of its own.
    pub fn renew_patience(&self) {
        if let Some(patience) = &self.patience {
            patience.renew();
        }
    }

    async fn name_server(&self, ask: &Ask) -> Result<Answer, ClientError> {
        self.ask_name_server(ask).await?.success()
    }

    /// Asks one name server that answers, and takes whatever answer.
    pub(super) async fn ask_name_server(&self, ask: &Ask) -> Result<Answer, ClientError> {
        self.client.shared.routes.ask_name_server(ask).await
    }

    pub(super) async fn broker(&self, address: &str, ask: &Ask) -> Result<Answer, ClientError> {
        self.ask(address, ask).await?.success()
    }

    /// Asks and takes whatever answer.
    pub(super) async fn ask(&self, address: &str, ask: &Ask) -> Result<Answer, ClientError> {
        let remote = &self.client.shared.remote;
        let Some(patience) = &self.patience else { return remote.ask(address, ask).await };
        let limit = patience.with(address, remote.timeout())?;
        let asked_at = Instant::now();
        let answer = remote.ask_within(address, ask, limit).await;
        let waited = asked_at.elapsed();
        if answer.is_err() && waited >= limit {
            patience.in_vain(address, waited);
        }
        answer
    }

    /// The same for what may take longer than requests usually do. Slow is not silent: who answers
    /// what is quickly answered is given the time.
    pub(super) async fn ask_within(
        &self,
        address: &str,
        ask: &Ask,
        limit: Duration,
    ) -> Result<Answer, ClientError> {
        if self.patience.is_some() {
            self.ask(address, &Ask::new(request::GET_BROKER_RUNTIME_INFO)).await?;
        }
        self.client.shared.remote.ask_within(address, ask, limit).await
    }

    /// The client it is on.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The name servers that this client asks.
    pub fn name_servers(&self) -> &[String] {
        self.client.shared.routes.name_servers()
    }

    /// The brokers that one name server knows.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn brokers_known_to(
        &self,
        name_server: &str,
    ) -> Result<Vec<BrokerAddress>, ClientError> {
        let ask = Ask::new(request::GET_BROKER_CLUSTER_INFO);
        let info = self.broker(name_server, &ask).await?.decode(ClusterInfo::decode)?;
        Ok(brokers_of(&info, None))
    }

    /// A broker's configuration in effect.
    ///
    /// # Errors
    /// When it does not answer, or with something else.
    pub async fn broker_config(
        &self,
        address: &str,
    ) -> Result<BTreeMap<String, String>, ClientError> {
        let answer = self.broker(address, &Ask::new(request::GET_BROKER_CONFIG)).await?;
        Ok(properties_of(answer.body()))
    }

    /// Every broker of every cluster.
    pub async fn cluster_info(&self) -> Result<ClusterInfo, ClientError> {
        let answer = self.name_server(&Ask::new(request::GET_BROKER_CLUSTER_INFO)).await?;
        answer.decode(ClusterInfo::decode)
    }

    /// The brokers of one cluster, or of all, by cluster, broker name and id.
    ///
    /// # Errors
    /// When the cluster does not exist, or the NameServer does not answer.
    pub async fn brokers(&self, cluster: Option<&str>) -> Result<Vec<BrokerAddress>, ClientError> {
        let info = self.cluster_info().await?;
        if let Some(name) = cluster
            && !info.cluster_addr_table.contains_key(name)
        {
            let what = format!("the NameServer knows no cluster {name}");
            return Err(ClientError::IllegalArgument(what));
        }
        Ok(brokers_of(&info, cluster))
    }

    /// A broker's counters and gauges.
    pub async fn runtime_info(
        &self,
        address: &str,
    ) -> Result<BTreeMap<String, String>, ClientError> {
        let answer = self.broker(address, &Ask::new(request::GET_BROKER_RUNTIME_INFO)).await?;
        Ok(answer.decode(KvTable::decode)?.table)
    }

    /// Names of every topic the NameServer knows.
    pub async fn topics(&self) -> Result<Vec<String>, ClientError> {
        let ask = Ask::new(request::GET_ALL_TOPIC_LIST_FROM_NAMESERVER);
        let list = self.name_server(&ask).await?.decode(TopicList::decode)?;
        Ok(list.topic_list.into_iter().collect())
    }

    /// A topic's route.
    pub async fn route(&self, topic: &str) -> Result<TopicRouteData, ClientError> {
        self.client.shared.routes.fetch(topic).await
    }

    /// Offsets of a topic's queues on one broker.
    pub async fn topic_stats(
        &self,
        address: &str,
        topic: &str,
    ) -> Result<TopicStatsTable, ClientError> {
        let ask = Ask::new(request::GET_TOPIC_STATS_INFO).with("topic", topic);
        self.broker(address, &ask).await?.decode(TopicStatsTable::decode)
    }

    /// Groups that read a topic.
    pub async fn groups_of_topic(
        &self,
        address: &str,
        topic: &str,
    ) -> Result<Vec<String>, ClientError> {
        let ask = Ask::new(request::QUERY_TOPIC_CONSUME_BY_WHO).with("topic", topic);
        let list = self.broker(address, &ask).await?.decode(GroupList::decode)?;
        Ok(list.group_list.into_iter().collect())
    }

    /// Creates a topic on a broker or changes it.
    pub async fn update_topic(
        &self,
        address: &str,
        topic: &TopicConfig,
        attributes: Option<&str>,
    ) -> Result<(), ClientError> {
        let ask = Ask::new(request::UPDATE_AND_CREATE_TOPIC)
            .with("topic", &topic.topic_name)
            .with("defaultTopic", AUTO_CREATE_TOPIC)
            .with("readQueueNums", topic.read_queue_nums)
            .with("writeQueueNums", topic.write_queue_nums)
            .with("perm", topic.perm)
            .with("topicFilterType", topic.topic_filter_type.as_str())
            .with("topicSysFlag", topic.topic_sys_flag)
            .with("order", topic.order)
            .with_some("attributes", attributes);
        self.broker(address, &ask).await.map(drop)
    }

    /// Deletes a topic on a broker.
    pub async fn delete_topic_in_broker(
        &self,
        address: &str,
        topic: &str,
    ) -> Result<(), ClientError> {
        let ask = Ask::new(request::DELETE_TOPIC_IN_BROKER).with("topic", topic);
        self.broker(address, &ask).await.map(drop)
    }

    /// Makes every NameServer forget a topic in one cluster.
    pub async fn delete_topic_in_name_servers(
        &self,
        cluster: &str,
        topic: &str,
    ) -> Result<(), ClientError> {
        let ask = Ask::new(request::DELETE_TOPIC_IN_NAMESRV)
            .with("topic", topic)
            .with("clusterName", cluster);
        for address in self.client.shared.routes.name_servers() {
            self.broker(address, &ask).await?;
        }
        Ok(())
    }

    /// How far a group is in the queues of one broker.
    pub async fn consume_stats(
        &self,
        address: &str,
        group: &str,
        topic: Option<&str>,
    ) -> Result<ConsumeStats, ClientError> {
        let ask = Ask::new(request::GET_CONSUME_STATS)
            .with("consumerGroup", group)
            .with_some("topic", topic);
        self.broker(address, &ask).await?.decode(ConsumeStats::decode)
    }

    /// The connected members of a group; `None` if there are none.
    pub async fn consumer_connection(
        &self,
        address: &str,
        group: &str,
    ) -> Result<Option<ConsumerConnection>, ClientError> {
        let ask = Ask::new(request::GET_CONSUMER_CONNECTION_LIST).with("consumerGroup", group);
        let answer = self.ask(address, &ask).await?;
        if answer.code() == response::CONSUMER_NOT_ONLINE {
            return Ok(None);
        }
        answer.success()?.decode(ConsumerConnection::decode).map(Some)
    }

    /// The message that an offset id names, from the broker it names.
    pub async fn view_message(&self, id: &OffsetMessageId) -> Result<StoredMessage, ClientError> {
        let ask = Ask::new(request::VIEW_MESSAGE_BY_ID).with("offset", id.offset);
        let answer = self.broker(&id.store_host.to_string(), &ask).await?;
        let found = stored_messages(answer.body(), "")?;
        found.into_iter().next().ok_or_else(|| answer.refusal())
    }

    /// The messages of a topic that carry a unique id, from every broker name of its route or of its
    /// route in one cluster.
    ///
    /// # Errors
    /// When the topic has no route, or none in that cluster, or a broker does not answer; so below.
    pub async fn query_by_unique_id(
        &self,
        topic: &str,
        cluster: Option<&str>,
        unique_id: &str,
    ) -> Result<Vec<StoredMessage>, ClientError> {
        let ask = key_query(topic, unique_id, 32, (0, i64::MAX)).with("_UNIQUE_KEY_QUERY", true);
        let mut found = self.query_everywhere(topic, cluster, &ask).await?;
        found.retain(|stored| stored.message.property(properties::UNIQ_KEY) == Some(unique_id));
        Ok(found)
    }

    /// The messages of a topic with a key that were stored within a span of time, some from each broker
    /// name of its route.
    pub async fn query_by_key(
        &self,
        topic: &str,
        cluster: Option<&str>,
        key: &str,
        messages_max: i32,
        span_ms: (i64, i64),
    ) -> Result<Vec<StoredMessage>, ClientError> {
        let ask = key_query(topic, key, messages_max, span_ms);
        self.query_everywhere(topic, cluster, &ask).await
    }

    async fn query_everywhere(
        &self,
        topic: &str,
        cluster: Option<&str>,
        ask: &Ask,
    ) -> Result<Vec<StoredMessage>, ClientError> {
        let mut brokers = self.route(topic).await?.broker_datas;
        if let Some(name) = cluster {
            brokers.retain(|broker| broker.cluster == name);
            if brokers.is_empty() {
                let what = format!("topic {topic} is not in cluster {name}");
                return Err(ClientError::IllegalArgument(what));
            }
        }
        let mut found = Vec::new();
        for broker in &brokers {
            let Some(address) = broker.master().or_else(|| first_address(&broker.broker_addrs))
            else {
                continue;
            };
            let answer = self.ask(address, ask).await?;
            if answer.code() == response::QUERY_NOT_FOUND {
                continue;
            }
            let answer = answer.success()?;
            found.extend(stored_messages(answer.body(), &broker.broker_name)?);
        }
        Ok(found)
    }

    /// A member's view of its Raft group.
    pub async fn raft_status(&self, address: &str) -> Result<RaftStatus, ClientError> {
        self.broker(address, &Ask::new(request::RAFT_STATUS)).await?.decode(RaftStatus::decode)
    }

    /// Hands leadership to another member; its raft id.
    pub async fn transfer_leader(
        &self,
        address: &str,
        target: Option<u64>,
    ) -> Result<u64, ClientError> {
        let ask = Ask::new(request::TRANSFER_LEADER).with_some("target", target);
        let answer = self.broker(address, &ask).await?;
        Ok(answer.number("target")?.unsigned_abs())
    }
}

/// The pairs of a properties file.
pub(super) fn properties_of(body: &[u8]) -> BTreeMap<String, String> {
    let text = String::from_utf8_lossy(body);
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let pairs = lines.filter_map(|line| line.split_once('='));
    pairs.map(|(key, value)| (key.trim().to_owned(), value.trim().to_owned())).collect()
}

/// By cluster, broker name and id.
fn brokers_of(info: &ClusterInfo, cluster: Option<&str>) -> Vec<BrokerAddress> {
    let mut brokers = Vec::new();
    for (name, broker_names) in &info.cluster_addr_table {
        if cluster.is_some_and(|wanted| wanted != name) {
            continue;
        }
        for broker in broker_names.iter().filter_map(|name| info.broker_addr_table.get(name)) {
            for (broker_id, address) in &broker.broker_addrs {
                brokers.push(BrokerAddress {
                    cluster: name.clone(),
                    broker_name: broker.broker_name.clone(),
                    broker_id: *broker_id,
                    address: address.clone(),
                });
            }
        }
    }
    brokers.sort();
    brokers
}

fn key_query(topic: &str, key: &str, messages_max: i32, (begin_ms, end_ms): (i64, i64)) -> Ask {
    Ask::new(request::QUERY_MESSAGE)
        .with("topic", topic)
        .with("key", key)
        .with("maxNum", messages_max)
        .with("beginTimestamp", begin_ms)
        .with("endTimestamp", end_ms)
}

fn first_address(addresses: &BTreeMap<i64, String>) -> Option<&str> {
    addresses.values().next().map(String::as_str)
}

pub(super) fn stored_messages(
    body: &Bytes,
    broker_name: &str,
) -> Result<Vec<StoredMessage>, ClientError> {
    let stored = |record: crate::protocol::record::RecordView<'_>| StoredMessage {
        topic: record.topic.to_owned(),
        record_bytes: record.bytes.len(),
        body_crc: record.body_crc,
        prepared_transaction_offset: record.prepared_transaction_offset,
        message: ReceivedMessage::from_record(&record, broker_name),
    };
    records(body).map(|record| Ok(stored(record?))).collect()
}
