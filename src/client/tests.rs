//! The client against servers that behave badly in one precise way each.

#![allow(clippy::unwrap_used)]

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::{
    Client, ClientError, ClientOptions, ConsumeFrom, ConsumeResult, ConsumerOptions,
    LitePullConsumer, LitePullOptions, Message, Producer, ProducerOptions, PushConsumer,
};
use crate::protocol::body::ConsumerIdList;
use crate::protocol::code::{request, response};
use crate::protocol::fastjson::JsonBody as _;
use crate::protocol::heartbeat::HeartbeatData;
use crate::protocol::properties;
use crate::protocol::queue::MessageQueue;
use crate::protocol::record::RecordParts;
use crate::protocol::route::{BrokerData, QueueData, TopicRouteData};
use crate::remoting::{Connection, RemotingCommand, RemotingServer};
use crate::remoting::{Request, RequestHandler, ServerOptions};

const TOPIC: &str = "T";
const LIMIT: Duration = Duration::from_secs(60);

/// Answers every request with what a function says; `None` closes the connection instead.
struct Scripted<F>(F);

impl<F> RequestHandler for Scripted<F>
where
    F: Fn(&RemotingCommand) -> Option<RemotingCommand> + Send + Sync + 'static,
{
    fn handle(&self, request: Request) {
        match (self.0)(&request.command) {
            Some(answer) => request.responder.respond(answer),
            None => request.connection.close_with_reset(),
        }
    }

    fn connection_closed(&self, _connection: &Arc<Connection>) {}
}

async fn server<F>(script: F) -> RemotingServer
where
    F: Fn(&RemotingCommand) -> Option<RemotingCommand> + Send + Sync + 'static,
{
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    RemotingServer::bind(any, Arc::new(Scripted(script)), ServerOptions::default()).await.unwrap()
}

/// A NameServer whose one broker group is led by whoever `leader` says.
async fn name_server(leader: Arc<Mutex<Option<SocketAddr>>>) -> RemotingServer {
    counting_name_server(leader, Arc::default()).await
}

/// The same; counts how often it is asked.
async fn counting_name_server(
    leader: Arc<Mutex<Option<SocketAddr>>>,
    lookups: Arc<Mutex<usize>>,
) -> RemotingServer {
    server(move |command| {
        assert_eq!(command.code, request::GET_ROUTEINFO_BY_TOPIC);
        *lookups.lock() += 1;
        if command.ext_fields.get("topic") != Some(TOPIC) {
            return Some(RemotingCommand::error(response::TOPIC_NOT_EXIST, "no such topic"));
        }
        let broker_addrs = leader.lock().iter().map(|address| (0, address.to_string())).collect();
        let route = TopicRouteData {
            broker_datas: vec![BrokerData {
                broker_name: "b".into(),
                broker_addrs,
                ..BrokerData::default()
            }],
            queue_datas: vec![QueueData {
                broker_name: "b".into(),
                perm: 6,
                read_queue_nums: 1,
                write_queue_nums: 1,
                ..QueueData::default()
            }],
            ..TopicRouteData::default()
        };
        let mut answer = RemotingCommand::response(response::SUCCESS);
        answer.body = route.encode();
        Some(answer)
    })
    .await
}

async fn client(name_server: &RemotingServer) -> Client {
    Client::start(ClientOptions::new(&name_server.local_addr().to_string())).await.unwrap()
}

fn stored() -> RemotingCommand {
    RemotingCommand::response(response::SUCCESS)
        .with_ext("msgId", "00")
        .with_ext("queueId", 0)
        .with_ext("queueOffset", 7i64)
}

fn unique_id(command: &RemotingCommand) -> String {
    let text = command.ext_fields.get("i").unwrap();
    properties::get(text.as_bytes(), properties::UNIQ_KEY).unwrap().to_owned()
}

/// A broker that stores sends and reports their unique ids.
async fn storing_broker() -> (RemotingServer, mpsc::Receiver<String>) {
    let (ids, received) = mpsc::channel(64);
    let broker = server(move |command| {
        if command.code == request::SEND_MESSAGE_V2 {
            ids.try_send(unique_id(command)).unwrap();
            return Some(stored());
        }
        Some(RemotingCommand::response(response::SUCCESS))
    });
    (broker.await, received)
}

#[tokio::test]
async fn a_send_follows_the_leader_and_keeps_its_id() {
    let leader = Arc::new(Mutex::new(None));
    let (new, mut received) = storing_broker().await;
    let new_address = new.local_addr();
    let (refused, moved) = (Arc::new(Mutex::new(Vec::new())), leader.clone());
    let seen = refused.clone();
    // Refuses until its third refusal has made the other one leader.
    let old = server(move |command| {
        if command.code != request::SEND_MESSAGE_V2 {
            return Some(RemotingCommand::response(response::SUCCESS));
        }
        seen.lock().push(unique_id(command));
        if seen.lock().len() == 3 {
            *moved.lock() = Some(new_address);
        }
        Some(RemotingCommand::error(response::SERVICE_NOT_AVAILABLE, "not the leader"))
    })
    .await;
    *leader.lock() = Some(old.local_addr());
    let names = name_server(leader).await;
    let producer = Producer::start(&client(&names).await, ProducerOptions::new("p")).unwrap();
    let message = Message::new(TOPIC, "body");
    let sent = producer.send(&message);
    let result = timeout(LIMIT, sent).await.unwrap().unwrap();
    assert_eq!(result.queue_offset, 7);
    assert_eq!(received.recv().await.unwrap(), result.message_id);
    assert_eq!(*refused.lock(), vec![result.message_id; 3], "one id over all attempts");
}

#[tokio::test]
async fn a_send_survives_a_leader_that_dies_with_it() {
    let leader = Arc::new(Mutex::new(None));
    let (new, mut received) = storing_broker().await;
    let (new_address, moved) = (new.local_addr(), leader.clone());
    let old = server(move |command| {
        if command.code == request::SEND_MESSAGE_V2 {
            *moved.lock() = Some(new_address);
            return None;
        }
        Some(RemotingCommand::response(response::SUCCESS))
    })
    .await;
    *leader.lock() = Some(old.local_addr());
    let names = name_server(leader).await;
    let producer = Producer::start(&client(&names).await, ProducerOptions::new("p")).unwrap();
    let message = Message::new(TOPIC, "body");
    let sent = producer.send(&message);
    let result = timeout(LIMIT, sent).await.unwrap().unwrap();
    assert_eq!(received.recv().await.unwrap(), result.message_id);
}

#[tokio::test]
async fn sends_that_fail_together_share_a_lookup() {
    const SENDS: usize = 500;
    let leader = Arc::new(Mutex::new(None));
    let new = server(|_| Some(stored())).await;
    let (new_address, moved) = (new.local_addr(), leader.clone());
    let received = Mutex::new(0);
    // Refuses all and dies with the last: each send fails by a route that another one renews.
    let old = server(move |command| {
        if command.code == request::SEND_MESSAGE_V2 {
            *received.lock() += 1;
            if *received.lock() == SENDS {
                *moved.lock() = Some(new_address);
                return None;
            }
            return Some(RemotingCommand::error(response::SERVICE_NOT_AVAILABLE, "dying"));
        }
        Some(RemotingCommand::response(response::SUCCESS))
    })
    .await;
    *leader.lock() = Some(old.local_addr());
    let lookups = Arc::new(Mutex::new(0));
    let names = counting_name_server(leader, lookups.clone()).await;
    let producer = Producer::start(&client(&names).await, ProducerOptions::new("p")).unwrap();
    let message = Message::new(TOPIC, "body");
    let sends = (0..SENDS).map(|_| producer.send(&message));
    let results = timeout(LIMIT, futures_util::future::join_all(sends)).await.unwrap();
    assert!(results.iter().all(Result::is_ok));
    let lookups = *lookups.lock();
    assert!(lookups < SENDS / 10, "{lookups} look-ups for {SENDS} sends");
}

#[tokio::test]
async fn an_election_without_end_is_reported_within_the_budget() {
    let names = name_server(Arc::default()).await;
    let mut options = ProducerOptions::new("p");
    options.send_timeout = Duration::from_secs(3);
    let producer = Producer::start(&client(&names).await, options).unwrap();
    let message = Message::new(TOPIC, "body");
    let sent = producer.send(&message);
    match timeout(LIMIT, sent).await.unwrap() {
        Err(ClientError::Budget { attempts, last, .. }) => {
            assert!(attempts > 2, "only {attempts} attempts");
            assert!(matches!(*last, ClientError::NoLeader(_)), "{last}");
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_illegal_message_is_not_tried_twice() {
    let attempts = Arc::new(Mutex::new(0));
    let counted = attempts.clone();
    let broker = server(move |command| {
        if command.code == request::SEND_MESSAGE_V2 {
            *counted.lock() += 1;
        }
        Some(RemotingCommand::error(response::MESSAGE_ILLEGAL, "too long"))
    })
    .await;
    let names = name_server(Arc::new(Mutex::new(Some(broker.local_addr())))).await;
    let producer = Producer::start(&client(&names).await, ProducerOptions::new("p")).unwrap();
    let error = producer.send(&Message::new(TOPIC, "body")).await.unwrap_err();
    assert_eq!(error.code(), Some(response::MESSAGE_ILLEGAL));
    assert_eq!(*attempts.lock(), 1);
    let error = producer.send(&Message::new("Unknown", "body")).await.unwrap_err();
    assert!(matches!(error, ClientError::NoRoute(_)), "{error}");
}

fn record(offset: i64, tag: &str, body: &str) -> Bytes {
    let host = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
    let mut built = properties::PropertiesBuilder::new();
    built.put(properties::TAGS, tag).put(properties::UNIQ_KEY, body);
    let mut out = bytes::BytesMut::new();
    RecordParts {
        queue_id: 0,
        flag: 0,
        queue_offset: offset,
        physical_offset: offset * 100,
        sys_flag: 0,
        born_timestamp_ms: 1,
        born_host: host,
        store_timestamp_ms: 1,
        store_host: host,
        reconsume_times: 0,
        prepared_transaction_offset: 0,
        body: body.as_bytes(),
        topic: TOPIC,
        properties: &built.build(),
    }
    .encode(&mut out);
    out.freeze()
}

/// A broker with one queue of three messages: `first` and `second` wanted, one of another tag
/// between them. Reports every offset that is committed.
async fn broker_with_messages(committed: mpsc::Sender<i64>) -> RemotingServer {
    broker_that_takes_back(committed, |_| response::SUCCESS).await
}

/// The same, which answers what `take` says to who sends a message back.
async fn broker_that_takes_back(
    committed: mpsc::Sender<i64>,
    take: impl Fn(&RemotingCommand) -> i32 + Send + Sync + 'static,
) -> RemotingServer {
    let members = Arc::new(Mutex::new(Vec::new()));
    server(move |command| {
        let field = |name: &str| command.ext_fields.get(name).unwrap_or("0").to_owned();
        let success = RemotingCommand::response(response::SUCCESS);
        let mut answer = match command.code {
            request::HEART_BEAT => {
                *members.lock() = vec![HeartbeatData::decode(&command.body).unwrap().client_id];
                success
            }
            request::GET_CONSUMER_LIST_BY_GROUP => {
                let mut answer = success;
                let consumer_id_list = members.lock().clone();
                answer.body = ConsumerIdList { consumer_id_list }.encode();
                answer
            }
            request::QUERY_CONSUMER_OFFSET => {
                RemotingCommand::error(response::QUERY_NOT_FOUND, "none")
            }
            request::CONSUMER_SEND_MSG_BACK => RemotingCommand::response(take(command)),
            request::GET_MIN_OFFSET => success.with_ext("offset", 10i64),
            request::UPDATE_CONSUMER_OFFSET => {
                committed.try_send(field("commitOffset").parse().unwrap()).unwrap();
                success
            }
            request::PULL_MESSAGE if field("queueOffset") == "10" => {
                let mut body = bytes::BytesMut::new();
                for (offset, tag, text) in
                    [(10, "A", "first"), (11, "X", "no"), (12, "A", "second")]
                {
                    body.extend_from_slice(&record(offset, tag, text));
                }
                let mut answer = success.with_ext("nextBeginOffset", 13i64);
                answer.body = body.freeze();
                answer
            }
            // The test is over before the consumer asks a third time in a hurry.
            request::PULL_MESSAGE => RemotingCommand::error(response::SYSTEM_ERROR, "nothing more"),
            _ => success,
        };
        answer.version = 479;
        Some(answer)
    })
    .await
}

#[tokio::test]
async fn messages_wanted_later_hold_the_offset_back() {
    let (committed, mut commits) = mpsc::channel(64);
    let broker = broker_with_messages(committed).await;
    let names = name_server(Arc::new(Mutex::new(Some(broker.local_addr())))).await;
    let mut options = ConsumerOptions::new("g").subscribe(TOPIC, "A");
    options.consume_from = ConsumeFrom::First;
    options.send_back = false;
    options.later_pause = Duration::from_millis(1);
    options.commit_interval = Duration::from_millis(5);
    let (deliveries, mut delivered) = mpsc::channel(64);
    let allowed = Arc::new(Mutex::new(false));
    let allow = allowed.clone();
    let consumer = PushConsumer::start(&client(&names).await, options, move |messages| {
        let body = String::from_utf8(messages[0].body.to_vec()).unwrap();
        let done = body != "first" || *allow.lock();
        let _ = deliveries.try_send(body);
        async move { if done { ConsumeResult::Success } else { ConsumeResult::Later } }
    })
    .await
    .unwrap();
    let until = async |wanted: &[&str], delivered: &mut mpsc::Receiver<String>| {
        let mut missing: Vec<&str> = wanted.to_vec();
        while !missing.is_empty() {
            let body = timeout(LIMIT, delivered.recv()).await.unwrap().unwrap();
            assert_ne!(body, "no", "another tag");
            missing.retain(|wanted| *wanted != body);
        }
    };
    until(&["first", "second"], &mut delivered).await;
    // It is offered again while the commit stays in front of it.
    until(&["first"], &mut delivered).await;
    assert_eq!(timeout(LIMIT, commits.recv()).await.unwrap(), Some(10));
    *allowed.lock() = true;
    assert_eq!(timeout(LIMIT, commits.recv()).await.unwrap(), Some(13));
    timeout(LIMIT, consumer.shutdown()).await.unwrap();
}

#[tokio::test]
async fn a_message_that_is_not_taken_back_is_offered_again_until_it_is() {
    let (committed, mut commits) = mpsc::channel(64);
    let (backs, mut sent_back) = mpsc::channel(64);
    let refused_once = Mutex::new(false);
    let broker = broker_that_takes_back(committed, move |command| {
        let field = |name: &str| command.ext_fields.get(name).unwrap_or("none").to_owned();
        let names = ["offset", "group", "delayLevel", "originTopic", "maxReconsumeTimes"];
        backs.try_send(names.map(field)).unwrap();
        match std::mem::replace(&mut *refused_once.lock(), true) {
            true => response::SUCCESS,
            false => response::SERVICE_NOT_AVAILABLE,
        }
    })
    .await;
    let names = name_server(Arc::new(Mutex::new(Some(broker.local_addr())))).await;
    let mut options = ConsumerOptions::new("g").subscribe(TOPIC, "A");
    options.consume_from = ConsumeFrom::First;
    options.later_pause = Duration::from_millis(1);
    options.commit_interval = Duration::from_millis(5);
    options.max_reconsume_times = Some(5);
    let consumer =
        PushConsumer::start(&client(&names).await, options, move |messages| {
            let wanted_later = &messages[0].body[..] == b"first";
            async move {
                if wanted_later { ConsumeResult::LaterAtLevel(7) } else { ConsumeResult::Success }
            }
        })
        .await
        .unwrap();
    for _ in 0..2 {
        let asked = timeout(LIMIT, sent_back.recv()).await.unwrap().unwrap();
        assert_eq!(asked, ["1000", "g", "7", TOPIC, "5"]);
    }
    // What was taken back holds the offset no more.
    while timeout(LIMIT, commits.recv()).await.unwrap() != Some(13) {}
    timeout(LIMIT, consumer.shutdown()).await.unwrap();
    assert!(sent_back.try_recv().is_err(), "taken once, and not sent back again");
}

/// A broker with one queue, from offset 10 to `end`, of which a pull brings `pulled` messages at most.
async fn broker_of_a_queue(end: Arc<Mutex<i64>>, pulled: i64) -> RemotingServer {
    server(move |command| {
        let end = *end.lock();
        let success = RemotingCommand::response(response::SUCCESS);
        Some(match command.code {
            request::QUERY_CONSUMER_OFFSET => {
                RemotingCommand::error(response::QUERY_NOT_FOUND, "none")
            }
            request::GET_MIN_OFFSET => success.with_ext("offset", 10i64),
            request::GET_MAX_OFFSET => success.with_ext("offset", end),
            request::LITE_PULL_MESSAGE => {
                let offset: i64 = command.ext_fields.get("queueOffset").unwrap().parse().unwrap();
                let next = end.min(offset + pulled);
                let mut body = bytes::BytesMut::new();
                for offset in offset..next {
                    body.extend_from_slice(&record(offset, "A", &offset.to_string()));
                }
                if body.is_empty() {
                    // It is asked again soon.
                    return Some(RemotingCommand::error(response::FLOW_CONTROL, "nothing more"));
                }
                let mut answer = success.with_ext("nextBeginOffset", next);
                answer.body = body.freeze();
                answer
            }
            _ => success,
        })
    })
    .await
}

#[tokio::test]
async fn a_paused_queue_is_not_pulled_until_it_is_resumed() {
    /// Many times what a pull takes.
    const MANY_PULLS: Duration = Duration::from_millis(300);
    let end = Arc::new(Mutex::new(12));
    let broker = broker_of_a_queue(end.clone(), 2).await;
    let names = name_server(Arc::new(Mutex::new(Some(broker.local_addr())))).await;
    let client = client(&names).await;
    let queue = MessageQueue { broker_name: "b".into(), queue_id: 0, topic: TOPIC.into() };
    let queues = || [queue.clone()].into();
    let mut options = LitePullOptions::new("g");
    options.consumer.consume_from = ConsumeFrom::First;
    options.poll_messages_max = 1;
    let consumer = LitePullConsumer::start_assigned(&client, options, queues()).await.unwrap();
    let next = async |limit: Duration| {
        consumer.poll(limit).await.first().map(|message| message.queue_offset)
    };
    assert_eq!(next(LIMIT).await, Some(10));

    consumer.pause(queues()).await.unwrap();
    *end.lock() = 14;
    assert_eq!(next(LIMIT).await, Some(11), "it was pulled with the first");
    assert_eq!(next(MANY_PULLS).await, None);
    let other = MessageQueue { queue_id: 1, ..queue.clone() };
    consumer.resume([other].into()).await.unwrap();
    consumer.seek(&queue, 13).await.unwrap();
    assert_eq!(next(MANY_PULLS).await, None, "elsewhere it is paused as well");

    consumer.resume(queues()).await.unwrap();
    assert_eq!(next(LIMIT).await, Some(13));
    timeout(LIMIT, consumer.shutdown()).await.unwrap();
}
