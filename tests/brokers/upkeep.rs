//! What operators ask for the good of a broker: each is done, or refused by name.

use bytes::Bytes;
use raftmq::protocol::body::{
    EpochEntryCache, HaRuntimeInfo, MessageRequestModeBody, QueryConsumeQueueBody,
};
use raftmq::protocol::code::{request, response};
use raftmq::protocol::fastjson::JsonBody as _;
use raftmq::remoting::RemotingCommand;

use super::ask::{Ask, records_of, send_command};
use super::cluster::{Cluster, LIMIT};

fn with_body(code: i32, body: impl Into<Bytes>) -> RemotingCommand {
    let mut command = RemotingCommand::request(code);
    command.body = body.into();
    command
}

#[tokio::test]
async fn the_units_of_a_queue_are_where_its_messages_are() {
    let cluster = Cluster::start(1, "").await;
    cluster.leader().await;
    let (ask, at) = (Ask::new(), cluster.node(0).address.as_str());
    for number in 0..5 {
        let properties = if number % 2 == 0 { "TAGS\u{1}even\u{2}" } else { "" };
        let sent = ask.request(at, send_command("Units", 0, "body", properties)).await;
        assert_eq!(sent.code, 0, "{sent:?}");
    }
    let pulled = ask.pull(at, "Units", 0, 0).await;
    let records = records_of(&pulled.body);
    let query = [("topic", "Units"), ("queueId", "0"), ("index", "1"), ("count", "3")];
    let answer = ask.fields(at, request::QUERY_CONSUME_QUEUE, &query).await;
    let body = QueryConsumeQueueBody::decode(&answer.body).unwrap();
    assert_eq!((body.min_queue_index, body.max_queue_index, body.queue_data.len()), (0, 5, 3));
    for (unit, record) in body.queue_data.iter().zip(&records[1..]) {
        assert_eq!(unit.physic_offset, record.physical_offset);
        assert_eq!(unit.physic_size as usize, record.bytes.len());
        assert_eq!(unit.tags_code != 0, record.property("TAGS").is_some());
    }
    let behind = [("topic", "Units"), ("queueId", "0"), ("index", "9")];
    let answer = ask.fields(at, request::QUERY_CONSUME_QUEUE, &behind).await;
    assert!(QueryConsumeQueueBody::decode(&answer.body).unwrap().queue_data.is_empty());
    let unknown = [("topic", "Nothing"), ("queueId", "0"), ("index", "0")];
    let answer = ask.fields(at, request::QUERY_CONSUME_QUEUE, &unknown).await;
    assert_eq!(answer.code, response::TOPIC_NOT_EXIST);
}

#[tokio::test]
async fn replication_is_told_in_rocketmqs_words() {
    let cluster = Cluster::start(3, "").await;
    let leader = cluster.leader().await;
    let ask = Ask::new();
    let at = cluster.node(leader).address.as_str();
    assert_eq!(ask.send(at, "Watched", "body").await.code, 0);
    let deadline = tokio::time::Instant::now() + LIMIT;
    let info = loop {
        let answer = ask.fields(at, request::GET_BROKER_HA_STATUS, &[]).await;
        let info = HaRuntimeInfo::decode(&answer.body).unwrap();
        if info.in_sync_slave_nums == 2 {
            break info;
        }
        assert!(tokio::time::Instant::now() < deadline, "{info:?}");
    };
    assert!(info.master && info.master_commit_log_max_offset > 0);
    let follower = (leader + 1) % 3;
    let known = cluster.node(follower).address.clone();
    let seen = info.ha_connection_info.iter().find(|peer| peer.addr == known).unwrap();
    assert!(seen.slave_ack_offset > 0 && seen.slave_ack_offset + seen.diff > 0);
    let answer = ask.fields(&known, request::GET_BROKER_HA_STATUS, &[]).await;
    let info = HaRuntimeInfo::decode(&answer.body).unwrap();
    assert!(!info.master && info.ha_connection_info.is_empty());
    assert_eq!(info.ha_client_runtime_info.master_addr, at);
    assert!(info.ha_client_runtime_info.max_offset > 0);

    let answer = ask.fields(at, request::GET_BROKER_EPOCH_CACHE, &[]).await;
    let cache = EpochEntryCache::decode(&answer.body).unwrap();
    assert_eq!((cache.broker_id, cache.broker_name.as_str()), (0, "broker-a"));
    assert_eq!(cache.epoch_list.first().unwrap().start_offset, 0);
    assert_eq!(cache.epoch_list.last().unwrap().end_offset, cache.max_offset);
    assert!(
        cache.epoch_list.is_sorted_by(|a, b| a.epoch < b.epoch && a.end_offset == b.start_offset)
    );
}

#[tokio::test]
async fn what_is_asked_for_upkeep_is_done_or_refused_by_name() {
    let cluster = Cluster::start(1, "").await;
    cluster.leader().await;
    let (ask, at) = (Ask::new(), cluster.node(0).address.as_str());
    for code in [
        request::CLEAN_EXPIRED_CONSUMEQUEUE,
        request::CLEAN_UNUSED_TOPIC,
        request::DELETE_EXPIRED_COMMITLOG,
    ] {
        assert_eq!(ask.fields(at, code, &[]).await.code, 0, "{code}");
    }
    for (mode, code, word) in [
        ("PULL", 0, ""),
        ("POP", response::REQUEST_CODE_NOT_SUPPORTED, "POP"),
        ("OTHER", response::INVALID_PARAMETER, "OTHER"),
    ] {
        let body = MessageRequestModeBody { mode: mode.into(), ..Default::default() };
        let command = with_body(request::SET_MESSAGE_REQUEST_MODE, body.encode());
        let answer = ask.request(at, command).await;
        let remark = answer.remark.clone().unwrap_or_default();
        assert!(answer.code == code && remark.contains(word), "{mode}: {answer:?}");
    }

    let change = |text: &'static str| with_body(request::UPDATE_BROKER_CONFIG, text.as_bytes());
    let refused = ask.request(at, change("listenPort=1\n")).await;
    assert_eq!(refused.code, response::INVALID_PARAMETER);
    assert!(refused.remark.unwrap().starts_with("listenPort cannot be changed"));
    assert_eq!(ask.request(at, change("brokerPermission=4\n")).await.code, 0);
    let shown = ask.fields(at, request::GET_BROKER_CONFIG, &[]).await;
    assert!(String::from_utf8_lossy(&shown.body).contains("\nbrokerPermission=4\n"));
    assert_eq!(ask.send(at, "Watched", "body").await.code, response::NO_PERMISSION);
    assert_eq!(ask.request(at, change("brokerPermission=6\n")).await.code, 0);
    assert_eq!(ask.send(at, "Watched", "body").await.code, 0);
}

/// Of a list, all is stored or nothing.
#[tokio::test]
async fn topics_and_groups_are_stored_by_the_list() {
    let cluster = Cluster::start(1, "").await;
    cluster.leader().await;
    let (ask, at) = (Ask::new(), cluster.node(0).address.as_str());
    let topics = |second: &str| {
        let first = r#"{"topicName":"ListA","readQueueNums":2,"writeQueueNums":3,"perm":6}"#;
        format!(r#"{{"topicConfigList":[{first},{second}]}}"#)
    };
    let groups = |second: &str| {
        format!(r#"{{"groupConfigList":[{{"groupName":"GroupA","retryMaxTimes":3}},{second}]}}"#)
    };
    let bad_topics = [
        r#"{"topicName":"ListB","readQueueNums":-1,"writeQueueNums":1,"perm":6}"#,
        r#"{"topicName":"TBW102","readQueueNums":1,"writeQueueNums":1,"perm":6}"#,
        r#"{"topicName":"ListB","perm":6,"attributes":{"message.type":"FIFO"}}"#,
    ];
    let store = async |code: i32, list: String| {
        let answer = ask.request(at, with_body(code, list)).await;
        (answer.code, answer.remark.unwrap_or_default())
    };
    let known = async |code: i32| {
        let table = ask.fields(at, code, &[]).await;
        String::from_utf8_lossy(&table.body).into_owned()
    };
    const TOPICS: i32 = request::UPDATE_AND_CREATE_TOPIC_LIST;
    const GROUPS: i32 = request::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST;
    for bad in bad_topics {
        let (code, remark) = store(TOPICS, topics(bad)).await;
        assert_eq!(code, response::INVALID_PARAMETER, "{remark}");
    }
    let (code, remark) = store(GROUPS, groups(r#"{"groupName":"no good"}"#)).await;
    assert_eq!(code, response::INVALID_PARAMETER, "{remark}");
    assert!(!known(request::GET_ALL_TOPIC_CONFIG).await.contains("ListA"));
    assert!(!known(request::GET_ALL_SUBSCRIPTIONGROUP_CONFIG).await.contains("GroupA"));

    let second = r#"{"topicName":"ListB","perm":6,"attributes":{"+message.type":"FIFO"}}"#;
    assert_eq!(store(TOPICS, topics(second)).await, (0, String::new()));
    assert_eq!(store(GROUPS, groups(r#"{"groupName":"GroupB"}"#)).await, (0, String::new()));
    let topics = known(request::GET_ALL_TOPIC_CONFIG).await;
    assert!(topics.contains(r#""message.type":"FIFO""#) && topics.contains("ListA"), "{topics}");
    let groups = known(request::GET_ALL_SUBSCRIPTIONGROUP_CONFIG).await;
    assert!(groups.contains("GroupA") && groups.contains("GroupB"), "{groups}");
}
