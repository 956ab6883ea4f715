//! Requests as a client sends them.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use raftmq::protocol::code::{request, response};
use raftmq::protocol::fastjson::JsonBody as _;
use raftmq::protocol::heartbeat::{ConsumerData, HeartbeatData, SubscriptionData};
use raftmq::protocol::record::{RecordView, records};
use raftmq::remoting::header::EncodeHeader as _;
use raftmq::remoting::header::{PullHeader, SendHeader};
use raftmq::remoting::{
    ClientOptions, Connection, RemotingClient, RemotingCommand, Request, RequestHandler,
};
use tokio::sync::mpsc;
use tokio::time::timeout;

/// Longer than any answer may take.
const LIMIT: Duration = Duration::from_secs(60);

/// A client without a memory.
pub struct Ask {
    /// Its connections.
    pub client: RemotingClient,
}

impl Ask {
    pub fn new() -> Ask {
        Ask { client: RemotingClient::new(ClientOptions::default(), None) }
    }

    /// Sends a request and waits for whatever is answered.
    pub async fn request(&self, address: &str, command: RemotingCommand) -> RemotingCommand {
        self.client.invoke(address, command, LIMIT).await.unwrap()
    }

    /// A request made of a code and text fields.
    pub async fn fields(
        &self,
        address: &str,
        code: i32,
        fields: &[(&str, &str)],
    ) -> RemotingCommand {
        let mut command = RemotingCommand::request(code);
        for (key, value) in fields {
            command.ext_fields.insert(key, *value);
        }
        self.request(address, command).await
    }

    pub async fn send(&self, address: &str, topic: &str, body: &str) -> RemotingCommand {
        self.request(address, send_command(topic, 0, body, "")).await
    }

    /// Sends again while nobody leads, which a request waits for only so long.
    pub async fn send_in_the_end(&self, address: &str, topic: &str, body: &str) {
        let sends = async {
            loop {
                let sent = self.send(address, topic, body).await;
                if sent.code == response::SUCCESS {
                    return;
                }
                assert_eq!(sent.code, response::SERVICE_NOT_AVAILABLE, "{sent:?}");
            }
        };
        timeout(LIMIT, sends).await.expect("the group has a leader");
    }

    pub async fn pull(
        &self,
        address: &str,
        topic: &str,
        offset: i64,
        hold_ms: i64,
    ) -> RemotingCommand {
        self.request(address, pull_command(topic, 0, offset, hold_ms)).await
    }

    /// What is to be consumed of queue 0 of a topic, from the beginning.
    pub async fn bodies(&self, address: &str, topic: &str) -> Vec<String> {
        let mut bodies = Vec::new();
        let mut offset = 0;
        loop {
            let answer = self.pull(address, topic, offset, 0).await;
            if answer.code != 0 {
                return bodies;
            }
            offset = number(&answer, "nextBeginOffset");
            bodies.extend(bodies_of(&answer.body));
        }
    }
}

pub fn send_command(topic: &str, queue_id: i32, body: &str, properties: &str) -> RemotingCommand {
    let header = SendHeader {
        producer_group: "producers",
        topic,
        default_topic: "TBW102",
        default_topic_queue_nums: 4,
        queue_id,
        sys_flag: 0,
        born_timestamp_ms: 1_700_000_000_000,
        flag: 7,
        properties,
        reconsume_times: 0,
        unit_mode: false,
        max_reconsume_times: None,
        batch: false,
        broker_name: None,
    };
    let mut command = header.request(request::SEND_MESSAGE_V2);
    command.body = Bytes::copy_from_slice(body.as_bytes());
    command
}

pub fn pull_command(topic: &str, queue_id: i32, offset: i64, hold_ms: i64) -> RemotingCommand {
    let suspend = if hold_ms > 0 { 2 } else { 0 };
    let header = PullHeader {
        consumer_group: "consumers",
        topic,
        queue_id,
        queue_offset: offset,
        max_msg_nums: 32,
        sys_flag: 4 | suspend,
        commit_offset: 0,
        suspend_timeout_ms: hold_ms,
        sub_version: 0,
        subscription: Some("*"),
        expression_type: "TAG",
        max_msg_bytes: None,
        broker_name: None,
    };
    header.request(request::PULL_MESSAGE)
}

/// That of a consumer in group `g1`.
pub fn heartbeat(client_id: &str, tags: &str) -> RemotingCommand {
    let consumer = ConsumerData {
        group_name: "g1".into(),
        subscription_data_set: vec![SubscriptionData::from_tags("Orders", tags, 1).unwrap()],
        ..ConsumerData::default()
    };
    let data = HeartbeatData {
        client_id: client_id.into(),
        consumer_data_set: vec![consumer],
        ..HeartbeatData::default()
    };
    RemotingCommand::request(request::HEART_BEAT).with_body(data.encode())
}

/// A field that is a number.
pub fn number(answer: &RemotingCommand, field: &str) -> i64 {
    let text = answer.ext_fields.get(field);
    let text = text.unwrap_or_else(|| panic!("no {field} in {answer:?}"));
    text.parse().unwrap()
}

/// The records of a body.
pub fn records_of(body: &[u8]) -> Vec<RecordView<'_>> {
    records(body).map(Result::unwrap).collect()
}

/// Their bodies as texts.
pub fn bodies_of(body: &[u8]) -> Vec<String> {
    let text = |record: RecordView<'_>| String::from_utf8(record.body.to_vec()).unwrap();
    records_of(body).into_iter().map(text).collect()
}

/// Hands on the groups whose members were told to rebalance.
pub struct Told(pub mpsc::Sender<String>);

impl RequestHandler for Told {
    fn handle(&self, request: Request) {
        assert_eq!(request.command.code, request::NOTIFY_CONSUMER_IDS_CHANGED);
        let group = request.command.ext_fields.get("consumerGroup").unwrap();
        self.0.try_send(group.to_owned()).unwrap();
    }

    fn connection_closed(&self, _connection: &Arc<Connection>) {}
}
