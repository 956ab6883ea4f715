//! A name server behind a real socket, asked by brokers, clients and tools.

use std::time::Duration;

use super::{NameServer, RAFT_TERM};
use crate::config::{Configuration, NamesrvConfig};
use crate::protocol::body::{KvTable, RegisterBrokerBody};
use crate::protocol::code::{request, response};
use crate::protocol::data_version::DataVersion;
use crate::protocol::fastjson::JsonBody;
use crate::protocol::route::{ClusterInfo, TopicList, TopicRouteData};
use crate::protocol::topic::TopicConfig;
use crate::remoting::{ClientOptions, RemotingClient, RemotingCommand};

const TIMEOUT: Duration = Duration::from_secs(60);

struct Fixture {
    server: NameServer,
    addr: String,
    directory: tempfile::TempDir,
}

async fn start(lines: &str) -> Fixture {
    let directory = tempfile::tempdir().unwrap();
    start_in(directory, lines).await
}

async fn start_in(directory: tempfile::TempDir, lines: &str) -> Fixture {
    let kv = directory.path().join("kv/kvConfig.json");
    let text = format!(
        "listenPort=0\nbindAddress=127.0.0.1\nkvConfigPath={}\nrouteGraceMillis=0\n{lines}",
        kv.display()
    );
    let file = directory.path().join("namesrv.conf");
    #[allow(clippy::disallowed_methods)]
    std::fs::write(&file, &text).unwrap();
    let config = NamesrvConfig::from_text(&text).unwrap();
    let server = NameServer::start(config, Some(file)).await.unwrap();
    let addr = server.local_addr().to_string();
    Fixture { server, addr, directory }
}

fn client() -> RemotingClient {
    RemotingClient::new(ClientOptions::default(), None)
}

async fn ask(client: &RemotingClient, addr: &str, command: RemotingCommand) -> RemotingCommand {
    client.invoke(addr, command, TIMEOUT).await.unwrap()
}

fn registration(address: &str, id: i64, term: i64, topics: &[&str]) -> RemotingCommand {
    let mut body = RegisterBrokerBody::default();
    let wrapper = &mut body.topic_config_serialize_wrapper;
    wrapper.data_version.counter = 1;
    for topic in topics {
        wrapper.topic_config_table.insert((*topic).to_owned(), TopicConfig::new(*topic, 4, 6));
    }
    RemotingCommand::request(request::REGISTER_BROKER)
        .with_ext("clusterName", "c")
        .with_ext("brokerName", "b")
        .with_ext("brokerAddr", address)
        .with_ext("brokerId", id)
        .with_ext(RAFT_TERM, term)
        .with_body(body.encode())
}

fn route_of(topic: &str) -> RemotingCommand {
    RemotingCommand::request(request::GET_ROUTEINFO_BY_TOPIC).with_ext("topic", topic)
}

/// Asks until `holds`, or fails when it never does.
async fn eventually(
    client: &RemotingClient,
    addr: &str,
    command: RemotingCommand,
    holds: impl Fn(&RemotingCommand) -> bool,
) {
    let asking = async { while !holds(&ask(client, addr, command.clone()).await) {} };
    tokio::time::timeout(TIMEOUT, asking).await.expect("it never held");
}

#[tokio::test]
async fn brokers_register_and_clients_find_the_leader() {
    let ns = start("").await;
    let broker = client();
    let accepted = ask(&broker, &ns.addr, registration("10.0.0.1:1", 0, 3, &["T"])).await;
    assert_eq!((accepted.code, accepted.ext_fields.get("masterAddr")), (response::SUCCESS, None));
    let follower = ask(&broker, &ns.addr, registration("10.0.0.2:1", 2, 3, &["T"])).await;
    assert_eq!(follower.ext_fields.get("masterAddr"), Some("10.0.0.1:1"));
    let found = ask(&client(), &ns.addr, route_of("T")).await;
    assert_eq!(found.code, response::SUCCESS);
    assert_eq!(
        std::str::from_utf8(&found.body).unwrap(),
        r#"{"brokerDatas":[{"brokerAddrs":{"0":"10.0.0.1:1","2":"10.0.0.2:1"},"brokerName":"b","cluster":"c","enableActingMaster":false}],"filterServerTable":{},"queueDatas":[{"brokerName":"b","perm":6,"readQueueNums":4,"topicSysFlag":0,"writeQueueNums":4}]}"#
    );
    let missing = ask(&broker, &ns.addr, route_of("nobody")).await;
    assert_eq!(missing.code, response::TOPIC_NOT_EXIST);
    assert!(missing.remark.unwrap().contains("No topic route info"));
}

#[tokio::test]
async fn a_new_leader_takes_id_zero_and_the_old_one_cannot_take_it_back() {
    let ns = start("").await;
    let broker = client();
    ask(&broker, &ns.addr, registration("10.0.0.1:1", 0, 3, &["T"])).await;
    ask(&broker, &ns.addr, registration("10.0.0.2:1", 0, 4, &["T"])).await;
    let stale = ask(&broker, &ns.addr, registration("10.0.0.1:1", 0, 3, &["T"])).await;
    assert_eq!(stale.code, response::SUCCESS, "brokers of any kind understand this answer");
    assert_eq!(stale.ext_fields.get("masterAddr"), Some("10.0.0.2:1"));
    assert_eq!(stale.ext_fields.get(RAFT_TERM), Some("4"));
    let found = ask(&broker, &ns.addr, route_of("T")).await;
    let route = TopicRouteData::decode(&found.body).unwrap();
    assert_eq!(route.broker_datas[0].broker_addrs.len(), 1);
    assert_eq!(route.broker_datas[0].master(), Some("10.0.0.2:1"));
}

#[tokio::test]
async fn a_broker_whose_connection_closes_is_gone_at_once() {
    let ns = start("").await;
    let (leader, follower, asker) = (client(), client(), client());
    ask(&leader, &ns.addr, registration("10.0.0.1:1", 0, 3, &["T"])).await;
    ask(&follower, &ns.addr, registration("10.0.0.2:1", 2, 3, &["T"])).await;
    leader.close_addr(&ns.addr);
    eventually(&asker, &ns.addr, route_of("T"), |found| {
        let route = TopicRouteData::decode(&found.body).unwrap();
        let addresses = &route.broker_datas[0].broker_addrs;
        addresses.len() == 1 && addresses.contains_key(&2)
    })
    .await;
    follower.close_addr(&ns.addr);
    eventually(&asker, &ns.addr, route_of("T"), |found| found.code == response::TOPIC_NOT_EXIST)
        .await;
}

#[tokio::test]
async fn a_silent_broker_expires_and_one_that_leaves_is_gone() {
    let ns = start("scanNotActiveBrokerInterval=10").await;
    let broker = client();
    let short = registration("10.0.0.1:1", 0, 3, &["T"]).with_ext("heartbeatTimeoutMillis", 1);
    ask(&broker, &ns.addr, short).await;
    eventually(&broker, &ns.addr, route_of("T"), |found| found.code == response::TOPIC_NOT_EXIST)
        .await;
    ask(&broker, &ns.addr, registration("10.0.0.1:1", 0, 3, &["T"])).await;
    let leave = RemotingCommand::request(request::UNREGISTER_BROKER)
        .with_ext("clusterName", "c")
        .with_ext("brokerName", "b")
        .with_ext("brokerAddr", "10.0.0.1:1")
        .with_ext("brokerId", 0);
    assert_eq!(ask(&broker, &ns.addr, leave).await.code, response::SUCCESS);
    assert_eq!(ask(&broker, &ns.addr, route_of("T")).await.code, response::TOPIC_NOT_EXIST);
}

#[tokio::test]
async fn name_servers_are_independent() {
    let (one, other) = (start("").await, start("").await);
    let broker = client();
    for addr in [&one.addr, &other.addr] {
        ask(&broker, addr, registration("10.0.0.1:1", 0, 3, &["T"])).await;
    }
    one.server.shutdown().await;
    assert!(broker.invoke(&one.addr, route_of("T"), TIMEOUT).await.is_err());
    assert_eq!(ask(&broker, &other.addr, route_of("T")).await.code, response::SUCCESS);
}

#[tokio::test]
async fn a_fresh_name_server_does_not_deny_topics() {
    let ns = start("routeGraceMillis=600000\nrouteSettleMillis=600000").await;
    let broker = client();
    let early = ask(&broker, &ns.addr, route_of("T")).await;
    assert_eq!((early.code, early.remark.as_deref()), (1, Some("name server not ready")));
    ask(&broker, &ns.addr, registration("10.0.0.1:1", 0, 3, &["TBW102"])).await;
    assert_eq!(ask(&broker, &ns.addr, route_of("TBW102")).await.code, response::SUCCESS);
    assert_eq!(ask(&broker, &ns.addr, route_of("T")).await.code, 1);
    let settled = start("routeGraceMillis=600000\nrouteSettleMillis=0").await;
    ask(&broker, &settled.addr, registration("10.0.0.1:1", 0, 3, &["TBW102"])).await;
    assert_eq!(ask(&broker, &settled.addr, route_of("T")).await.code, response::TOPIC_NOT_EXIST);
}

#[tokio::test]
async fn tools_get_their_lists() {
    let ns = start("enableTopicList=false").await;
    let tool = client();
    ask(&tool, &ns.addr, registration("10.0.0.1:1", 0, 3, &["T", "U"])).await;
    let info =
        ask(&tool, &ns.addr, RemotingCommand::request(request::GET_BROKER_CLUSTER_INFO)).await;
    let info = ClusterInfo::decode(&info.body).unwrap();
    assert_eq!(info.broker_addr_table["b"].master(), Some("10.0.0.1:1"));
    let all = RemotingCommand::request(request::GET_ALL_TOPIC_LIST_FROM_NAMESERVER);
    let list = TopicList::decode(&ask(&tool, &ns.addr, all).await.body).unwrap();
    assert_eq!(list.topic_list.len(), 2);
    let system = RemotingCommand::request(request::GET_SYSTEM_TOPIC_LIST_FROM_NS);
    assert_eq!(ask(&tool, &ns.addr, system).await.code, response::SYSTEM_ERROR);
    let group = RemotingCommand::request(request::GET_BROKER_MEMBER_GROUP)
        .with_ext("clusterName", "c")
        .with_ext("brokerName", "b");
    assert_eq!(
        std::str::from_utf8(&ask(&tool, &ns.addr, group).await.body).unwrap(),
        r#"{"brokerMemberGroup":{"brokerAddrs":{"0":"10.0.0.1:1"},"brokerName":"b","cluster":"c"}}"#
    );
    let version = |counter| {
        let version = DataVersion { counter, ..DataVersion::default() };
        RemotingCommand::request(request::QUERY_DATA_VERSION)
            .with_ext("brokerName", "b")
            .with_ext("brokerAddr", "10.0.0.1:1")
            .with_body(version.encode())
    };
    for (counter, changed) in [(1, "false"), (2, "true")] {
        let answer = ask(&tool, &ns.addr, version(counter)).await;
        assert_eq!(answer.ext_fields.get("changed"), Some(changed));
        assert_eq!(DataVersion::decode(&answer.body).unwrap().counter, 1);
    }
    let wipe =
        RemotingCommand::request(request::WIPE_WRITE_PERM_OF_BROKER).with_ext("brokerName", "b");
    assert_eq!(ask(&tool, &ns.addr, wipe).await.ext_fields.get("wipeTopicCount"), Some("2"));
    let unknown = ask(&tool, &ns.addr, RemotingCommand::request(12345)).await;
    assert_eq!(unknown.code, response::REQUEST_CODE_NOT_SUPPORTED);
}

#[tokio::test]
async fn settings_survive_a_restart_and_order_a_topic() {
    let lines = "orderMessageEnable=true";
    let ns = start(lines).await;
    let tool = client();
    let kv = |code, key: &str| {
        RemotingCommand::request(code)
            .with_ext("namespace", "ORDER_TOPIC_CONFIG")
            .with_ext("key", key)
    };
    let put = kv(request::PUT_KV_CONFIG, "T").with_ext("value", "b:8;");
    assert_eq!(ask(&tool, &ns.addr, put).await.code, response::SUCCESS);
    let blank = kv(request::PUT_KV_CONFIG, "U").with_ext("value", " ");
    assert_eq!(ask(&tool, &ns.addr, blank).await.code, response::SYSTEM_ERROR);
    ns.server.shutdown().await;
    let ns = start_in(ns.directory, lines).await;
    let value = ask(&tool, &ns.addr, kv(request::GET_KV_CONFIG, "T")).await;
    assert_eq!(value.ext_fields.get("value"), Some("b:8;"));
    let registered = ask(&tool, &ns.addr, registration("10.0.0.1:1", 0, 3, &["T"])).await;
    assert_eq!(KvTable::decode(&registered.body).unwrap().table["T"], "b:8;");
    let route = ask(&tool, &ns.addr, route_of("T")).await;
    let route = TopicRouteData::decode(&route.body).unwrap();
    assert_eq!(route.order_topic_conf.as_deref(), Some("b:8"));
    assert_eq!(ask(&tool, &ns.addr, kv(request::DELETE_KV_CONFIG, "T")).await.code, 0);
    let gone = ask(&tool, &ns.addr, kv(request::GET_KV_CONFIG, "T")).await;
    assert_eq!(gone.code, response::QUERY_NOT_FOUND);
}

#[tokio::test]
async fn its_configuration_changes_at_run_time_and_in_the_file() {
    let ns = start("# mine").await;
    let tool = client();
    let update = |text: &'static str| {
        RemotingCommand::request(request::UPDATE_NAMESRV_CONFIG).with_body(text.as_bytes().to_vec())
    };
    for (text, code) in [
        ("kvConfigPath=/x", response::NO_PERMISSION),
        ("enableTopicList=maybe", response::SYSTEM_ERROR),
        ("listenPort=1", response::SYSTEM_ERROR),
        ("noSuchKey=1", response::SYSTEM_ERROR),
        ("enableTopicList=false\nrouteGraceMillis=5", response::SUCCESS),
    ] {
        assert_eq!(ask(&tool, &ns.addr, update(text)).await.code, code, "{text}");
    }
    let shown = ask(&tool, &ns.addr, RemotingCommand::request(request::GET_NAMESRV_CONFIG)).await;
    let shown = std::str::from_utf8(&shown.body).unwrap();
    assert!(shown.contains("enableTopicList=false\n") && shown.contains("listenPort=0\n"));
    let text = std::fs::read_to_string(ns.directory.path().join("namesrv.conf")).unwrap();
    assert!(text.contains("# mine\n") && text.ends_with("enableTopicList=false\n"), "{text}");
    assert!(text.contains("routeGraceMillis=5\n") && !text.contains("routeGraceMillis=0"));
}

#[tokio::test]
async fn mistakes_get_clear_answers() {
    let ns = start("").await;
    let tool = client();
    let bad = [
        registration("nowhere", 0, 1, &[]),
        registration("10.0.0.1:1", 0, 1, &[]).with_ext("brokerId", "x"),
        registration(" ", 0, 1, &[]),
        registration("10.0.0.1:1", 0, 1, &[]).with_body("junk"),
        registration("10.0.0.1:1", 0, 1, &[]).with_ext("bodyCrc32", 7),
        RemotingCommand::request(request::GET_ROUTEINFO_BY_TOPIC),
    ];
    for command in bad {
        let answer = ask(&tool, &ns.addr, command.clone()).await;
        assert_eq!(answer.code, response::SYSTEM_ERROR, "{command:?}");
        assert!(!answer.remark.unwrap_or_default().is_empty(), "{command:?}");
    }
    let text = format!("listenPort={}\nbindAddress=127.0.0.1", ns.server.local_addr().port());
    let config = NamesrvConfig::from_text(&text).unwrap();
    let kv_config_path = ns.directory.path().join("other.json");
    let taken = NameServer::start(NamesrvConfig { kv_config_path, ..config }, None).await;
    let message = taken.err().unwrap().to_string();
    assert!(message.contains("cannot listen on 127.0.0.1:") && message.contains("listenPort"));
}

#[tokio::test]
async fn a_damaged_settings_file_is_named() {
    let ns = start("").await;
    let path = ns.directory.path().join("broken.json");
    #[allow(clippy::disallowed_methods)]
    std::fs::write(&path, "{").unwrap();
    let config = NamesrvConfig::from_text("listenPort=0").unwrap();
    let config = NamesrvConfig { kv_config_path: path, ..config };
    let message = NameServer::start(config, None).await.err().unwrap().to_string();
    assert!(message.contains("broken.json") && message.contains("move it away"), "{message}");
}

#[tokio::test]
async fn a_name_server_is_a_controller_that_leads() {
    let ns = start("").await;
    let tool = client();
    let metadata = RemotingCommand::request(request::CONTROLLER_GET_METADATA_INFO);
    let found = ask(&tool, &ns.addr, metadata).await;
    assert_eq!(found.ext_fields.get("controllerLeaderAddress"), Some(&*ns.addr));
    assert_eq!(found.ext_fields.get("isLeader"), Some("true"));
    let config = ask(&tool, &ns.addr, RemotingCommand::request(request::GET_CONTROLLER_CONFIG));
    assert!(std::str::from_utf8(&config.await.body).unwrap().contains("listenPort="));
}

#[tokio::test]
async fn groups_without_a_leader_are_told_as_such() {
    let ns = start("").await;
    let (broker, tool) = (client(), client());
    // Nobody listens there.
    ask(&broker, &ns.addr, registration("127.0.0.1:1", 2, 3, &["T"])).await;
    let state = |names: &'static str| {
        RemotingCommand::request(request::CONTROLLER_GET_SYNC_STATE_DATA).with_body(names)
    };
    let found = ask(&tool, &ns.addr, state(r#"["b","nobody"]"#)).await;
    assert_eq!(
        std::str::from_utf8(&found.body).unwrap(),
        r#"{"replicasInfoTable":{"b":{"inSyncReplicas":[],"masterEpoch":0,"notInSyncReplicas":[{"alive":true,"brokerAddress":"127.0.0.1:1","brokerId":2,"brokerName":"b"}],"syncStateSetEpoch":0}}}"#
    );
    assert_eq!(ask(&tool, &ns.addr, state("b")).await.code, response::SYSTEM_ERROR);
    let elect = |name: &str| {
        RemotingCommand::request(request::CONTROLLER_ELECT_MASTER)
            .with_ext("brokerName", name)
            .with_ext("brokerId", 2)
            .with_ext("designateElect", true)
    };
    for (name, code) in [
        ("b", response::CONTROLLER_MASTER_NOT_AVAILABLE),
        ("nobody", response::CONTROLLER_BROKER_METADATA_NOT_EXIST),
    ] {
        let refused = ask(&tool, &ns.addr, elect(name)).await;
        assert_eq!(refused.code, code, "{refused:?}");
        assert!(refused.remark.unwrap().contains(name));
    }
}
