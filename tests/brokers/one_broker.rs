//! A group of one member: every family of requests, good and bad.

use std::sync::Arc;
use std::time::Duration;

use raftmq::protocol::code::{request, response};
use raftmq::protocol::message_id::OffsetMessageId;
use raftmq::remoting::{ClientOptions, RemotingClient, RemotingCommand, RequestHandler};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::ask::{Ask, Told, bodies_of, heartbeat, number, pull_command, records_of, send_command};
use super::cluster::{Cluster, LIMIT};

#[tokio::test]
async fn a_message_is_stored_pulled_found_and_its_consumption_remembered() {
    let cluster = Cluster::start(1, "").await;
    cluster.leader().await;
    let (ask, at) = (Ask::new(), cluster.node(0).address.as_str());

    let properties = "KEYS\u{1}k1 k2\u{2}UNIQ_KEY\u{1}unique-1\u{2}";
    let sent = ask.request(at, send_command("Orders", 0, "hello", properties)).await;
    assert_eq!(sent.code, 0, "{sent:?}");
    assert_eq!((number(&sent, "queueId"), number(&sent, "queueOffset")), (0, 0));
    let id = OffsetMessageId::decode(sent.ext_fields.get("msgId").unwrap()).unwrap();
    assert_eq!(id.store_host.to_string(), at);

    let pulled = ask.pull(at, "Orders", 0, 0).await;
    assert_eq!(pulled.code, 0, "{pulled:?}");
    let offsets = ["nextBeginOffset", "minOffset", "maxOffset", "suggestWhichBrokerId"];
    assert_eq!(offsets.map(|field| number(&pulled, field)), [1, 0, 1, 0]);
    let record = &records_of(&pulled.body)[0];
    assert_eq!((record.body, record.topic, record.flag), (&b"hello"[..], "Orders", 7));
    assert_eq!(record.physical_offset, id.offset);

    let position = id.offset.to_string();
    let viewed = ask.fields(at, request::VIEW_MESSAGE_BY_ID, &[("offset", &position)]).await;
    assert_eq!((viewed.code, viewed.body), (0, pulled.body.clone()));
    for key in ["k2", "unique-1"] {
        let query = [
            ("topic", "Orders"),
            ("key", key),
            ("maxNum", "10"),
            ("beginTimestamp", "0"),
            ("endTimestamp", "9999999999999"),
        ];
        let found = ask.fields(at, request::QUERY_MESSAGE, &query).await;
        assert_eq!((found.code, bodies_of(&found.body)), (0, vec!["hello".to_owned()]), "{key}");
    }

    let queue = [("consumerGroup", "consumers"), ("topic", "Orders"), ("queueId", "0")];
    let young = ask.fields(at, request::QUERY_CONSUMER_OFFSET, &queue).await;
    assert_eq!((young.code, number(&young, "offset")), (0, 0));
    let strict = [queue[0], queue[1], queue[2], ("setZeroIfNotFound", "false")];
    let none = ask.fields(at, request::QUERY_CONSUMER_OFFSET, &strict).await;
    assert_eq!(none.code, response::QUERY_NOT_FOUND);
    let commit = [queue[0], queue[1], queue[2], ("commitOffset", "1")];
    assert_eq!(ask.fields(at, request::UPDATE_CONSUMER_OFFSET, &commit).await.code, 0);
    let known = ask.fields(at, request::QUERY_CONSUMER_OFFSET, &strict).await;
    assert_eq!((known.code, number(&known, "offset")), (0, 1));

    let stats = ask.fields(at, request::GET_CONSUME_STATS, &[("consumerGroup", "consumers")]).await;
    assert_eq!(stats.code, 0);
    let runtime = ask.fields(at, request::GET_BROKER_RUNTIME_INFO, &[]).await;
    assert!(String::from_utf8_lossy(&runtime.body).contains("\"msgPutTotalTodayNow\":\"1\""));
}

#[tokio::test]
async fn a_pull_waits_for_its_queue_and_no_longer_than_asked() {
    let cluster = Cluster::start(1, "").await;
    cluster.leader().await;
    let (ask, at) = (Ask::new(), cluster.node(0).address.clone());
    ask.send(&at, "Orders", "first").await;

    let waiting = {
        let (client, at) = (ask.client.clone(), at.clone());
        let command = pull_command("Orders", 0, 1, 15_000);
        tokio::spawn(async move { client.invoke(&at, command, LIMIT).await.unwrap() })
    };
    // Another queue's message must not wake it: it would find nothing.
    ask.request(&at, send_command("Orders", 1, "elsewhere", "")).await;
    ask.send(&at, "Orders", "second").await;
    let woken = waiting.await.unwrap();
    assert_eq!((woken.code, bodies_of(&woken.body)), (0, vec!["second".to_owned()]));

    let begin = tokio::time::Instant::now();
    let nothing = ask.pull(&at, "Orders", 2, 300).await;
    assert_eq!(nothing.code, response::PULL_NOT_FOUND);
    assert_eq!(number(&nothing, "nextBeginOffset"), 2);
    assert!(begin.elapsed() >= Duration::from_millis(300), "it was held");
}

#[tokio::test]
async fn a_tag_that_nobody_sends_does_not_end_the_wait_but_moves_the_offset() {
    let cluster = Cluster::start(1, "").await;
    cluster.leader().await;
    let (ask, at) = (Ask::new(), cluster.node(0).address.clone());
    ask.request(&at, send_command("Orders", 0, "b", "TAGS\u{1}TagB\u{2}")).await;
    let mut command = pull_command("Orders", 0, 0, 400);
    command.ext_fields.insert("subscription", "TagA");
    let answer = ask.request(&at, command).await;
    assert_eq!(answer.code, response::PULL_RETRY_IMMEDIATELY);
    assert_eq!(number(&answer, "nextBeginOffset"), 1);
    let mut command = pull_command("Orders", 0, 0, 400);
    command.ext_fields.insert("subscription", "TagA || TagB");
    assert_eq!(ask.request(&at, command).await.code, 0);
}

/// Java clients count their subscription on whenever they are given other queues, and now and then do
/// not tell: until the next heartbeat, half a minute later, their pulls name a version that nobody knows.
#[tokio::test]
async fn pulls_of_a_subscription_that_is_not_known_yet_get_all_for_the_client_to_choose_from() {
    let cluster = Cluster::start(1, "").await;
    cluster.leader().await;
    let (ask, at) = (Ask::new(), cluster.node(0).address.clone());
    ask.request(&at, heartbeat("client-1", "TagA")).await;
    ask.request(&at, send_command("Orders", 0, "b", "TAGS\u{1}TagB\u{2}")).await;
    let pull = |version: &str| {
        let mut command = pull_command("Orders", 0, 0, 0);
        command.ext_fields.insert("consumerGroup", "g1");
        command.ext_fields.insert("sysFlag", "0");
        command.ext_fields.insert("subVersion", version);
        ask.request(&at, command)
    };
    assert_eq!(pull("1").await.code, response::PULL_RETRY_IMMEDIATELY);
    let newer = pull("2").await;
    assert_eq!((newer.code, bodies_of(&newer.body)), (response::SUCCESS, vec!["b".to_owned()]));
}

/// What is wrong with it, its code, its fields, and the expected answer.
type BadRequest<'a> = (&'a str, i32, &'a [(&'a str, &'a str)], i32);

#[tokio::test]
async fn what_is_wrong_is_refused_by_its_code() {
    let cluster = Cluster::start(1, "").await;
    cluster.leader().await;
    let (ask, at) = (Ask::new(), cluster.node(0).address.as_str());
    ask.send(at, "Orders", "x").await;
    ask.pull(at, "Orders", 0, 0).await;

    let long = "v".repeat(33_000);
    let sends = [
        ("queue after the last", send_command("Orders", 99, "x", ""), response::INVALID_PARAMETER),
        ("bad name", send_command("a b", 0, "x", ""), response::INVALID_PARAMETER),
        ("reserved", send_command("SCHEDULE_TOPIC_XXXX", 0, "x", ""), response::NO_PERMISSION),
        (
            "retry of nobody",
            send_command("%RETRY%nobody", 0, "x", ""),
            response::SUBSCRIPTION_GROUP_NOT_EXIST,
        ),
        ("long properties", send_command("Orders", 0, "x", &long), response::MESSAGE_ILLEGAL),
        (
            "half message",
            send_command("Orders", 0, "x", "TRAN_MSG\u{1}true\u{2}"),
            response::NO_PERMISSION,
        ),
        ("no level", send_command("Orders", 0, "x", "DELAY\u{1}x\u{2}"), response::MESSAGE_ILLEGAL),
        (
            "timed",
            send_command("Orders", 0, "x", "TIMER_DELAY_MS\u{1}1\u{2}"),
            response::MESSAGE_ILLEGAL,
        ),
        ("level zero", send_command("Orders", 0, "x", "DELAY\u{1}0\u{2}"), response::SUCCESS),
        ("negative queue is chosen", send_command("Orders", -1, "x", ""), response::SUCCESS),
    ];
    for (what, command, code) in sends {
        assert_eq!(ask.request(at, command).await.code, code, "{what}");
    }

    let pulls = [
        ("negative offset", pull_command("Orders", 0, -7, 0), response::PULL_OFFSET_MOVED),
        ("far offset", pull_command("Orders", 0, 1_000, 5_000), response::PULL_OFFSET_MOVED),
        ("no such topic", pull_command("Nothing", 0, 0, 0), response::TOPIC_NOT_EXIST),
        ("no such queue", pull_command("Orders", 99, 0, 0), response::INVALID_PARAMETER),
        ("negative queue", pull_command("Orders", -1, 0, 0), response::INVALID_PARAMETER),
    ];
    for (what, command, code) in pulls {
        let answer = ask.request(at, command).await;
        assert_eq!(answer.code, code, "{what}: {answer:?}");
    }
    let mut no_tag = pull_command("Orders", 0, 0, 0);
    no_tag.ext_fields.insert("subscription", "||");
    assert_eq!(ask.request(at, no_tag).await.code, response::SUBSCRIPTION_PARSE_FAILED);

    let group = ("consumerGroup", "consumers");
    let (topic, queue) = (("topic", "Orders"), ("queueId", "0"));
    let others: [BadRequest<'_>; 9] = [
        ("unknown code", 9_999, &[], response::REQUEST_CODE_NOT_SUPPORTED),
        ("no offset", 15, &[group, topic, queue], response::INVALID_PARAMETER),
        (
            "no group",
            15,
            &[("consumerGroup", "x"), topic, queue, ("commitOffset", "1")],
            response::SUBSCRIPTION_GROUP_NOT_EXIST,
        ),
        (
            "no topic",
            15,
            &[group, ("topic", "x"), queue, ("commitOffset", "1")],
            response::TOPIC_NOT_EXIST,
        ),
        (
            "negative commit",
            15,
            &[group, topic, queue, ("commitOffset", "-1")],
            response::INVALID_PARAMETER,
        ),
        ("not a number", 30, &[topic, ("queueId", "one")], response::INVALID_PARAMETER),
        ("nobody there", 38, &[group], response::SYSTEM_ERROR),
        ("nobody online", 203, &[group], response::CONSUMER_NOT_ONLINE),
        ("nothing there", 33, &[("offset", "3")], response::SYSTEM_ERROR),
    ];
    for (what, code, fields, expected) in others {
        let answer = ask.fields(at, code, fields).await;
        assert_eq!(answer.code, expected, "{what}: {answer:?}");
        assert!(answer.remark.is_some_and(|remark| !remark.is_empty()), "{what} says why");
    }
    let heartbeat = RemotingCommand::request(request::HEART_BEAT).with_body("no json");
    assert_eq!(ask.request(at, heartbeat).await.code, response::INVALID_PARAMETER);
}

#[tokio::test]
async fn a_groups_attributes_are_changed_one_by_one() {
    let cluster = Cluster::start(1, "").await;
    cluster.leader().await;
    let (ask, at) = (Ask::new(), cluster.node(0).address.as_str());
    let changes = [
        (r#"{"+a":"1","+b":"2"}"#, r#""attributes":{"a":"1","b":"2"}"#),
        (r#"{"-a":"","+b":"3"}"#, r#""attributes":{"b":"3"}"#),
        ("{}", r#""attributes":{"b":"3"}"#),
    ];
    for (change, expected) in changes {
        let body = format!(r#"{{"groupName":"g1","attributes":{change}}}"#);
        let update = request::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP;
        let update = RemotingCommand::request(update).with_body(body);
        assert_eq!(ask.request(at, update).await.code, 0);
        let group = [("group", "g1")];
        let stored = ask.fields(at, request::GET_SUBSCRIPTIONGROUP_CONFIG, &group).await;
        let stored = String::from_utf8_lossy(&stored.body).into_owned();
        assert!(stored.contains(expected), "{change}: {stored}");
    }
    let body = r#"{"groupName":"g1","attributes":{"a":"1"}}"#;
    let update = RemotingCommand::request(request::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP);
    let refused = ask.request(at, update.with_body(body)).await;
    assert_eq!(refused.code, response::INVALID_PARAMETER, "{refused:?}");
}

#[tokio::test]
async fn members_hear_of_each_other_coming_and_going() {
    let cluster = Cluster::start(1, "").await;
    cluster.leader().await;
    let at = cluster.node(0).address.as_str();
    let (tell, mut told) = mpsc::channel(10);
    let handler: Arc<dyn RequestHandler> = Arc::new(Told(tell));
    let first = RemotingClient::new(ClientOptions::default(), Some(handler));
    let second = RemotingClient::new(ClientOptions::default(), None);
    let mut hear = async || timeout(LIMIT, told.recv()).await.unwrap().unwrap();

    let answer = first.invoke(at, heartbeat("client-1", "*"), LIMIT).await.unwrap();
    assert_eq!(answer.ext_fields.get("IS_SUB_CHANGE"), Some("true"));
    assert_eq!(hear().await, "g1");
    second.invoke(at, heartbeat("client-2", "*"), LIMIT).await.unwrap();
    assert_eq!(hear().await, "g1");
    let list = RemotingCommand::request(request::GET_CONSUMER_LIST_BY_GROUP)
        .with_ext("consumerGroup", "g1");
    let list = first.invoke(at, list, LIMIT).await.unwrap();
    assert_eq!(&list.body[..], br#"{"consumerIdList":["client-1","client-2"]}"#);
    second.shutdown();
    assert_eq!(hear().await, "g1");

    // The group and the topic of its retries exist from the first heartbeat on.
    let ask = Ask { client: first };
    let topic = [("topic", "%RETRY%g1")];
    assert_eq!(ask.fields(at, request::GET_TOPIC_CONFIG, &topic).await.code, 0);
    let group = [("group", "g1")];
    assert_eq!(ask.fields(at, request::GET_SUBSCRIPTIONGROUP_CONFIG, &group).await.code, 0);
}
