//! What the name server is told: topics, who leads, and who left.

use std::time::Duration;

use raftmq::config::{Configuration as _, NamesrvConfig};
use raftmq::namesrv::NameServer;
use raftmq::protocol::code::request;
use raftmq::protocol::fastjson::JsonBody as _;
use raftmq::protocol::route::TopicRouteData;
use tempfile::TempDir;
use tokio::time::{sleep, timeout};

use super::ask::Ask;
use super::cluster::{Cluster, LIMIT};

/// Between two questions to a name server, which tells nobody of changes.
const AGAIN: Duration = Duration::from_millis(10);

/// A name server, its address, and where it keeps things.
pub async fn name_server() -> (NameServer, String, TempDir) {
    let directory = TempDir::new().unwrap();
    let text = format!(
        "listenPort=0\nbindAddress=127.0.0.1\nkvConfigPath={}\n",
        directory.path().join("kv.json").display()
    );
    let config = NamesrvConfig::from_text(&text).unwrap();
    let server = NameServer::start(config, None).await.unwrap();
    let address = format!("127.0.0.1:{}", server.local_addr().port());
    (server, address, directory)
}

/// Who leads according to the route of a topic.
async fn routed_leader(ask: &Ask, name_server: &str, topic: &str) -> Option<String> {
    let route = ask.fields(name_server, request::GET_ROUTEINFO_BY_TOPIC, &[("topic", topic)]).await;
    if route.code != 0 {
        return None;
    }
    let route = TopicRouteData::decode(&route.body).unwrap();
    route.broker_datas[0].master().map(str::to_owned)
}

/// Waits until the route of a topic leads to a leader.
pub async fn wait_for_leader(ask: &Ask, name_server: &str, topic: &str, leader: &str) {
    let moved = async {
        while routed_leader(ask, name_server, topic).await.as_deref() != Some(leader) {
            sleep(AGAIN).await;
        }
    };
    timeout(LIMIT, moved).await.expect("the route leads to the leader");
}

#[tokio::test]
async fn routes_follow_the_leader() {
    let (_server, name_server, _directory) = name_server().await;
    let mut cluster = Cluster::start(3, &name_server).await;
    let ask = Ask::new();
    let first = cluster.leader().await;
    wait_for_leader(&ask, &name_server, "TBW102", &cluster.node(first).address).await;

    // Whoever created a topic finds its route.
    let topic = [("topic", "Made"), ("readQueueNums", "3"), ("writeQueueNums", "3"), ("perm", "6")];
    let at = cluster.node(first).address.clone();
    assert_eq!(ask.fields(&at, request::UPDATE_AND_CREATE_TOPIC, &topic).await.code, 0);
    wait_for_leader(&ask, &name_server, "Made", &at).await;

    cluster.kill(first);
    let second = cluster.leader().await;
    wait_for_leader(&ask, &name_server, "Made", &cluster.node(second).address).await;

    cluster.restart(first).await;
    cluster.leader().await;
    let left = cluster.node(second).address.clone();
    cluster.stop(second).await;
    let routed = routed_leader(&ask, &name_server, "Made").await;
    assert!(routed.is_some_and(|leader| leader != left), "an orderly stop leaves a leader behind");
}
