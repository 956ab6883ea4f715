//! Delayed messages and messages sent back, on one broker and across the death of a leader.

use std::collections::BTreeMap;
use std::time::Duration;

use raftmq::client::{
    Client, ClientOptions, ConsumeFrom, ConsumeResult, ConsumerOptions, Message, Producer,
    ProducerOptions, PushConsumer,
};
use raftmq::protocol::code::{request, response};
use raftmq::protocol::message_id::OffsetMessageId;
use raftmq::protocol::record::RecordView;
use raftmq::remoting::RemotingCommand;

use super::ask::{Ask, bodies_of, number, pull_command, records_of, send_command};
use super::cluster::Cluster;
use super::routes::{name_server, wait_for_leader};

const LEVELS: &str = "messageDelayLevel=1s 2s 1s 1s";
const HOLD_MS: i64 = 15_000;

fn delayed(topic: &str, queue_id: i32, body: &str, level: &str) -> RemotingCommand {
    let properties = format!("TAGS\u{1}T\u{2}UNIQ_KEY\u{1}U-{body}\u{2}DELAY\u{1}{level}\u{2}");
    send_command(topic, queue_id, body, &properties)
}

/// What a property is, if it is there.
fn property(record: &RecordView<'_>, name: &str) -> Option<String> {
    record.property(name).map(str::to_owned)
}

#[tokio::test]
async fn a_delayed_message_comes_in_time_and_as_it_was_sent() {
    let cluster = Cluster::start_with(1, "", LEVELS).await;
    cluster.leader().await;
    let (ask, at) = (Ask::new(), cluster.node(0).address.as_str());
    let sent = ask.request(at, delayed("Orders", 2, "x", "1")).await;
    assert_eq!(sent.code, 0, "{sent:?}");
    assert_eq!(number(&sent, "queueId"), 2, "the queue it will go to");
    let id = OffsetMessageId::decode(sent.ext_fields.get("msgId").unwrap()).unwrap();
    let waiting =
        ask.fields(at, request::VIEW_MESSAGE_BY_ID, &[("offset", &id.offset.to_string())]).await;
    let stored_ms = records_of(&waiting.body)[0].store_timestamp_ms;
    assert_eq!(records_of(&waiting.body)[0].topic, "SCHEDULE_TOPIC_XXXX");

    let pulled = ask.request(at, pull_command("Orders", 2, 0, HOLD_MS)).await;
    assert_eq!(pulled.code, 0, "{pulled:?}");
    let record = &records_of(&pulled.body)[0];
    let waited_ms = record.store_timestamp_ms - stored_ms;
    assert!((1_000..HOLD_MS).contains(&waited_ms), "after {waited_ms} ms");
    assert_eq!((record.body, record.topic, record.flag), (&b"x"[..], "Orders", 7));
    assert_eq!((record.queue_id, record.queue_offset), (2, 0));
    assert_eq!(record.born_timestamp_ms, 1_700_000_000_000);
    assert_eq!(property(record, "UNIQ_KEY").as_deref(), Some("U-x"));
    assert_eq!(property(record, "TAGS").as_deref(), Some("T"));
    assert_eq!(property(record, "REAL_TOPIC").as_deref(), Some("Orders"));

    // Beyond the highest level counts as the highest, and nothing comes twice.
    let properties = "DELAY\u{1}99\u{2}TIMER_DELAY_SEC\u{1}9999\u{2}";
    ask.request(at, send_command("Orders", 2, "y", properties)).await;
    let pulled = ask.request(at, pull_command("Orders", 2, 1, HOLD_MS)).await;
    assert_eq!(bodies_of(&pulled.body), ["y"]);
    assert_eq!(property(&records_of(&pulled.body)[0], "DELAY").as_deref(), Some("4"));
    let runtime = ask.fields(at, request::GET_BROKER_RUNTIME_INFO, &[]).await;
    let runtime = String::from_utf8_lossy(&runtime.body).into_owned();
    for figure in [r#""scheduleMessageOffset_1":"1,1""#, r#""scheduleMessageOffset_4":"1,1""#] {
        assert!(runtime.contains(figure), "{figure} in {runtime}");
    }
}

#[tokio::test]
async fn a_backlog_that_became_due_together_keeps_its_order() {
    const COUNT: i64 = 9_000;
    let cluster = Cluster::start_with(1, "", LEVELS).await;
    cluster.leader().await;
    let (ask, at) = (Ask::new(), cluster.node(0).address.as_str());
    let sends = (0..COUNT).map(|n| ask.request(at, delayed("Orders", 0, &n.to_string(), "2")));
    for answer in futures_util::future::join_all(sends).await {
        assert_eq!(answer.code, 0, "{answer:?}");
    }
    let mut bodies = Vec::new();
    while bodies.len() < COUNT as usize {
        let pull = pull_command("Orders", 0, bodies.len() as i64, HOLD_MS);
        let answer = ask.request(at, pull).await;
        assert_eq!(answer.code, 0, "{answer:?}");
        bodies.extend(bodies_of(&answer.body));
    }
    // Requests of one connection are taken in their order.
    let expected: Vec<String> = (0..COUNT).map(|n| n.to_string()).collect();
    assert_eq!(bodies, expected);
}

#[tokio::test]
async fn messages_that_wait_while_the_leader_dies_come_once_and_not_early() {
    let mut cluster = Cluster::start_with(3, "", LEVELS).await;
    let leader = cluster.leader().await;
    let ask = Ask::new();
    let at = cluster.node(leader).address.clone();
    let mut stored_ms = BTreeMap::new();
    let began = tokio::time::Instant::now();
    let mut n = 0;
    // Until the first are being delivered and others still wait.
    while began.elapsed() < Duration::from_millis(2_200) {
        let body = format!("m{n}");
        let answer = ask.request(&at, delayed("Orders", 0, &body, "2")).await;
        assert_eq!(answer.code, 0, "{answer:?}");
        let id = OffsetMessageId::decode(answer.ext_fields.get("msgId").unwrap()).unwrap();
        let viewed = ask
            .fields(&at, request::VIEW_MESSAGE_BY_ID, &[("offset", &id.offset.to_string())])
            .await;
        stored_ms.insert(body, records_of(&viewed.body)[0].store_timestamp_ms);
        n += 1;
    }
    cluster.kill(leader);
    let new = cluster.leader().await;
    let at = cluster.node(new).address.clone();
    let mut delivered: Vec<String> = Vec::new();
    while delivered.len() < stored_ms.len() {
        let pull = pull_command("Orders", 0, delivered.len() as i64, HOLD_MS);
        let answer = ask.request(&at, pull).await;
        for record in if answer.code == 0 { records_of(&answer.body) } else { Vec::new() } {
            let body = String::from_utf8(record.body.to_vec()).unwrap();
            let waited_ms = record.store_timestamp_ms - stored_ms[&body];
            assert!(waited_ms >= 2_000, "{body} after {waited_ms} ms");
            delivered.push(body);
        }
    }
    let expected: Vec<String> = (0..n).map(|n| format!("m{n}")).collect();
    assert_eq!(delivered, expected, "each once, in the order in which they were sent");
    // One that is sent now is next: nothing comes behind that was there before.
    ask.request(&at, delayed("Orders", 0, "last", "1")).await;
    let pull = pull_command("Orders", 0, delivered.len() as i64, HOLD_MS);
    assert_eq!(bodies_of(&ask.request(&at, pull).await.body), ["last"]);
}

/// Sends back a message at a position.
async fn send_back(ask: &Ask, at: &str, position: i64, fields: &[(&str, &str)]) -> RemotingCommand {
    let position = position.to_string();
    let mut all = vec![("offset", position.as_str()), ("group", "g1")];
    all.extend(fields);
    if !fields.iter().any(|(name, _)| *name == "delayLevel") {
        all.push(("delayLevel", "0"));
    }
    ask.fields(at, request::CONSUMER_SEND_MSG_BACK, &all).await
}

#[tokio::test]
async fn a_message_sent_back_comes_again_and_ends_in_the_dead_letter_topic() {
    let cluster = Cluster::start_with(3, "", LEVELS).await;
    let leader = cluster.leader().await;
    // A follower is asked throughout: it passes on what only the leader may do.
    let asked = cluster.follower().await;
    let (ask, at) = (Ask::new(), cluster.node(asked).address.clone());
    let lead = cluster.node(leader).address.clone();
    let properties = "KEYS\u{1}k\u{2}UNIQ_KEY\u{1}U\u{2}";
    let sent = ask.request(&lead, send_command("Orders", 0, "x", properties)).await;
    let id = sent.ext_fields.get("msgId").unwrap().to_owned();
    let first = OffsetMessageId::decode(&id).unwrap().offset;
    let named = [("originTopic", "Orders"), ("maxReconsumeTimes", "2")];

    let mut position = first;
    for times in 1..=2 {
        let answer = send_back(&ask, &at, position, &named).await;
        assert_eq!(answer.code, 0, "{answer:?}");
        let pull = pull_command("%RETRY%g1", 0, i64::from(times) - 1, HOLD_MS);
        let pulled = ask.request(&lead, pull).await;
        assert_eq!(pulled.code, 0, "{pulled:?}");
        let record = &records_of(&pulled.body)[0];
        assert_eq!((record.reconsume_times, record.body), (times, &b"x"[..]));
        assert_eq!(property(record, "RETRY_TOPIC").as_deref(), Some("Orders"));
        assert_eq!(property(record, "ORIGIN_MESSAGE_ID"), Some(id.clone()));
        assert_eq!(property(record, "REAL_TOPIC").as_deref(), Some("%RETRY%g1"));
        assert_eq!(property(record, "KEYS").as_deref(), Some("k"));
        position = record.physical_offset;
    }
    assert_eq!(send_back(&ask, &at, position, &named).await.code, 0);
    let dead = ask.request(&lead, pull_command("%DLQ%g1", 0, 0, HOLD_MS)).await;
    let record = &records_of(&dead.body)[0];
    assert_eq!((record.reconsume_times, record.body), (3, &b"x"[..]));
    assert_eq!(property(record, "DLQ_ORIGIN_TOPIC").as_deref(), Some("Orders"));
    assert_eq!(property(record, "DLQ_ORIGIN_MESSAGE_ID"), Some(id));
    assert_eq!(property(record, "UNIQ_KEY").as_deref(), Some("U"));
    assert_eq!([property(record, "DELAY"), property(record, "REAL_TOPIC")], [None, None]);

    // The consumer gives up at once.
    assert_eq!(send_back(&ask, &at, first, &[("delayLevel", "-1")]).await.code, 0);
    let dead = ask.request(&lead, pull_command("%DLQ%g1", 0, 1, HOLD_MS)).await;
    assert_eq!(records_of(&dead.body)[0].reconsume_times, 1);
}

#[tokio::test]
async fn what_cannot_be_taken_back_is_refused() {
    let cluster = Cluster::start_with(1, "", "autoCreateSubscriptionGroup=false").await;
    cluster.leader().await;
    let (ask, at) = (Ask::new(), cluster.node(0).address.as_str());
    let sent = ask.send(at, "Orders", "x").await;
    let id = OffsetMessageId::decode(sent.ext_fields.get("msgId").unwrap()).unwrap();
    let unknown = send_back(&ask, at, id.offset, &[]).await;
    assert_eq!(unknown.code, response::SUBSCRIPTION_GROUP_NOT_EXIST);
    let create = |retry_queue_nums: i32| {
        let body = format!("{{\"groupName\":\"g1\",\"retryQueueNums\":{retry_queue_nums}}}");
        RemotingCommand::request(request::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP).with_body(body)
    };
    assert_eq!(ask.request(at, create(0)).await.code, 0);
    assert_eq!(send_back(&ask, at, id.offset, &[]).await.code, 0, "it wants no retries");
    let topic = [("topic", "%RETRY%g1")];
    assert_ne!(ask.fields(at, request::GET_TOPIC_CONFIG, &topic).await.code, 0);

    assert_eq!(ask.request(at, create(1)).await.code, 0);
    for (what, position, fields) in [
        ("no message there", id.offset + 1, [("originTopic", "Orders")]),
        ("before the log", -1, [("originTopic", "Orders")]),
        ("another topic's", id.offset, [("originTopic", "Invoices")]),
    ] {
        let answer = send_back(&ask, at, position, &fields).await;
        assert_eq!(answer.code, response::SYSTEM_ERROR, "{what}: {answer:?}");
    }
}

#[tokio::test]
async fn the_rust_client_delays_fails_and_gives_up() {
    let (_server, name_server, _directory) = name_server().await;
    let cluster = Cluster::start_with(1, &name_server, LEVELS).await;
    cluster.leader().await;
    let ask = Ask::new();
    wait_for_leader(&ask, &name_server, "TBW102", &cluster.node(0).address).await;
    let mut options = ClientOptions::new(&name_server);
    options.route_interval = Duration::from_millis(500);
    let client = Client::start(options).await.unwrap();
    let producer = Producer::start(&client, ProducerOptions::new("producers")).unwrap();
    let message = |body: &'static str| Message::new("Orders", body);
    producer.send(&message("fails once")).await.unwrap();
    producer.send(&message("is given up")).await.unwrap();
    producer.send(&message("waits").with_delay_level(1)).await.unwrap();
    assert!(producer.send_batch(&[message("waits").with_delay_level(1)]).await.is_err());

    let (deliveries, mut delivered) = tokio::sync::mpsc::channel(64);
    let mut options = ConsumerOptions::new("g1").subscribe("Orders", "*");
    options.consume_from = ConsumeFrom::First;
    let consumer = PushConsumer::start(&client, options, move |messages| {
        let received = &messages[0];
        let body = String::from_utf8(received.body.to_vec()).unwrap();
        let result = match (body.as_str(), received.reconsume_times) {
            ("fails once", 0) => ConsumeResult::LaterAtLevel(1),
            ("is given up", _) => ConsumeResult::GiveUp,
            _ => ConsumeResult::Success,
        };
        deliveries.try_send((body, received.topic.clone(), received.reconsume_times)).unwrap();
        async move { result }
    })
    .await
    .unwrap();
    let mut all = Vec::new();
    while all.len() < 4 {
        let limit = Duration::from_secs(60);
        all.push(tokio::time::timeout(limit, delivered.recv()).await.unwrap().unwrap());
    }
    all.sort();
    let orders = |body: &str, times: i32| (body.to_owned(), "Orders".to_owned(), times);
    let expected = [
        orders("fails once", 0),
        orders("fails once", 1),
        orders("is given up", 0),
        orders("waits", 0),
    ];
    assert_eq!(all, expected);
    let dead = ask.pull(&cluster.node(0).address, "%DLQ%g1", 0, HOLD_MS).await;
    assert_eq!(bodies_of(&dead.body), ["is given up"]);
    consumer.shutdown().await;
    assert!(delivered.recv().await.is_none(), "nothing came once too often");
}
