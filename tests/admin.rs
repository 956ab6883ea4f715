//! The admin commands on one real cluster: what one of them does, another one shows.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "drives real processes")]

mod support;

use std::time::Duration;

use raftmq::client::{
    Client, ClientOptions, LitePullConsumer, LitePullOptions, Producer, ProducerOptions,
};
use serde_json::Value;
use support::cluster::{BROKER_NAME, Cluster};
use support::{admin, poll};

const TOPIC: &str = "AdminTopic";
const GROUP: &str = "AdminGroup";
const LIMIT: Duration = Duration::from_secs(60);

/// A command's answer as JSON; `flag` is how it is asked for.
fn json(cluster: &Cluster, flag: &str, arguments: &[&str]) -> Value {
    let printed = cluster.admin(&[arguments, &[flag, "json"]].concat());
    serde_json::from_str(&printed)
        .unwrap_or_else(|error| panic!("{arguments:?}: {error}\n{printed}"))
}

/// The words of the first line that begins with one.
fn row(printed: &str, first: &str) -> Vec<String> {
    let mut lines = printed.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let found = lines.find(|words| words.first().is_some_and(|word| *word == first));
    let found = found.unwrap_or_else(|| panic!("no line begins with {first}:\n{printed}"));
    found.into_iter().map(str::to_owned).collect()
}

/// What a command says that must fail.
fn refused(cluster: &Cluster, arguments: &[&str]) -> String {
    let answer = cluster.ask_admin(arguments);
    assert_eq!(answer.code, 1, "{arguments:?}: {answer:?}");
    answer.problem
}

fn start() -> Cluster {
    let cluster = Cluster::start();
    cluster.admin(&["updateTopic", "-c", "RaftCluster", "-t", TOPIC, "-r", "2", "-w", "2"]);
    poll::until("the topic has a route", LIMIT, || {
        cluster.admin(&["topicList"]).lines().any(|topic| topic == TOPIC).then_some(())
    });
    cluster
}

/// Sends a message with the command; its id.
fn send(cluster: &Cluster, queue: &str, body: &str) -> String {
    let arguments = [
        "sendMessage",
        "-t",
        TOPIC,
        "-p",
        body,
        "-k",
        body,
        "-c",
        "TagA",
        "-b",
        BROKER_NAME,
        "-i",
        queue,
    ];
    let sent = row(&cluster.admin(&arguments), BROKER_NAME);
    assert_eq!(sent[1..3], [queue, "SEND_OK"]);
    sent[3].clone()
}

#[test]
fn messages_are_sent_and_found_again() {
    let cluster = start();
    let id = send(&cluster, "1", "hello");
    assert_eq!(cluster.admin(&["topicClusterList", "-t", TOPIC]), "RaftCluster\n");
    let by_key = cluster.admin(&["queryMsgByKey", "-t", TOPIC, "-k", "hello"]);
    assert_eq!(by_key.lines().next().unwrap().split_whitespace().last(), Some("#Offset"));
    assert_eq!(row(&by_key, &id), [&*id, "1", "0"]);
    let by_id = json(&cluster, "-o", &["queryMsgByUniqueKey", "-t", TOPIC, "-i", &id]);
    assert_eq!((&by_id[0]["body"], &by_id[0]["queueId"]), (&"hello".into(), &1.into()));
    let place = ["queryMsgByOffset", "-t", TOPIC, "-b", BROKER_NAME, "-i", "1", "-o"];
    let by_place = cluster.admin(&[&place[..], &["0"]].concat());
    assert_eq!(row(&by_place, "Tags:"), ["Tags:", "[TagA]"]);
    assert_eq!(json(&cluster, "--output", &[&place[..], &["0"]].concat())["msgId"], *id);
    assert!(refused(&cluster, &[&place[..], &["7"]].concat()).contains("has none there"));
    assert!(
        refused(&cluster, &["queryMsgByUniqueKey", "-t", TOPIC, "-i", "no"])
            .contains("no message no")
    );
    let stats = poll::until("it is counted", LIMIT, || {
        let stats = cluster.admin(&["statsAll", "-t", TOPIC]);
        (row(&stats, TOPIC)[1..] != ["0", "0.00", "0", "NO_CONSUMER"]).then_some(stats)
    });
    let counted = row(&stats, TOPIC);
    assert_eq!((&*counted[3], &*counted[4]), ("1", "NO_CONSUMER"), "{stats}");
}

#[test]
fn several_messages_are_shown_and_sent_again() {
    let cluster = start();
    let ids = ["a", "b"].map(|body| send(&cluster, "0", body));
    let both = ids.join(", ");
    let by_id = ["queryMsgById", "-t", TOPIC, "-i"];
    let shown = json(&cluster, "-o", &[&by_id[..], &[&both]].concat());
    assert_eq!((&shown[0]["body"], &shown[1]["body"]), (&"a".into(), &"b".into()));
    // One that is not there does not keep the other from being shown.
    let partly = cluster.ask_admin(&[&by_id[..], &[&format!("none,{},no", ids[1])]].concat());
    assert_eq!(partly.code, 1, "{partly:?}");
    assert_eq!(row(&partly.printed, "Keys:"), ["Keys:", "[b]"]);
    assert_eq!(partly.problem.matches("no message no").count(), 2, "{}", partly.problem);
    let again = ["-s", "true", "-u", "north"];
    let sent = json(&cluster, "-o", &[&by_id[..], &[&ids[0]], &again].concat());
    for field in ["originalMsgId", "msgId"] {
        assert_eq!(sent[field], *ids[0]);
    }
    let copies = json(&cluster, "-o", &["queryMsgByUniqueKey", "-t", TOPIC, "-i", &ids[0], "-a"]);
    let copies = copies.as_array().unwrap();
    assert_eq!(copies.len(), 2, "{copies:?}");
    for field in ["body", "topic", "msgId"] {
        assert_eq!(copies[0][field], copies[1][field]);
    }
    assert_eq!(copies[1]["properties"]["TAGS"], "TagA");
    assert_ne!(copies[0]["commitLogOffset"], copies[1]["commitLogOffset"]);
    let unsent = cluster.admin(&[&by_id[..], &[&ids[0], "-s", "false"]].concat());
    assert_eq!(row(&unsent, "Tags:"), ["Tags:", "[TagA]"]);
}

#[test]
fn a_traced_message_leaves_a_trace() {
    let cluster = start();
    let send = ["sendMessage", "-t", TOPIC, "-p", "x", "-m"];
    let sent = json(&cluster, "-o", &[&send[..], &["true"]].concat());
    let trace = ["queryMsgTraceById", "-i", sent["msgId"].as_str().unwrap()];
    let shown = json(&cluster, "-o", &trace);
    assert_eq!(shown.as_array().unwrap().len(), 1, "{shown}");
    let row = (&shown[0]["type"], &shown[0]["status"]);
    assert_eq!(row, (&"Pub".into(), &"success".into()));
    let untraced = json(&cluster, "-o", &[&send[..], &["false"]].concat());
    let trace = ["queryMsgTraceById", "-i", untraced["msgId"].as_str().unwrap()];
    assert!(refused(&cluster, &trace).contains("has no trace of it"));
}

#[test]
fn an_ordered_topic_of_a_unit_is_made() {
    let cluster = start();
    let update = ["updateTopic", "-c", "RaftCluster", "-t", "UnitTopic", "-w", "2"];
    let flags = ["-u", "true", "-s", "true", "-o", "true"];
    let made = json(&cluster, "--output", &[&update[..], &flags].concat());
    assert_eq!(made["topicConfig"]["topicSysFlag"], 3);
    let route = || json(&cluster, "-o", &["topicRoute", "-l", "-t", "UnitTopic"]);
    cluster.admin(&["updateNamesrvConfig", "-k", "orderMessageEnable", "-v", "true"]);
    let routed = poll::until("the topic has a route", LIMIT, || {
        let known = cluster.admin(&["topicList"]).lines().any(|topic| topic == "UnitTopic");
        known.then(route)
    });
    assert_eq!(routed["queueDatas"][0]["topicSysFlag"], 3);
    assert_eq!(routed["orderTopicConf"], format!("{BROKER_NAME}:2"));
}

#[test]
fn groups_are_made_moved_and_removed() {
    let cluster = start();
    let made = cluster.admin(&[
        "updateSubGroup",
        "-c",
        "RaftCluster",
        "-g",
        GROUP,
        "-r",
        "5",
        "-o",
        "true",
    ]);
    assert!(made.starts_with("create subscription group to 127.0.0.1:"), "{made}");
    assert!(
        made.contains("retryMaxTimes=5") && made.contains("consumeMessageOrderly=true"),
        "{made}"
    );
    for body in ["a", "b", "c"] {
        send(&cluster, "0", body);
    }
    let offsets = |arguments: &[&str]| {
        let moved = json(&cluster, "--output", arguments);
        let of_queues = moved.as_array().unwrap().iter();
        of_queues.map(|queue| queue["offset"].as_i64().unwrap()).collect::<Vec<_>>()
    };
    let reset = ["resetOffsetByTime", "-g", GROUP, "-t", TOPIC, "-s"];
    assert_eq!(offsets(&[&reset[..], &["now"]].concat()), [3, 0]);
    assert_eq!(offsets(&[&reset[..], &["2024-01-01#00:00:00:000"]].concat()), [0, 0]);
    let leader = cluster.address(cluster.leader().unwrap()).to_string();
    assert_eq!(offsets(&[&reset[..], &["0", "-b", &leader, "-q", "0", "-o", "2"]].concat()), [2]);
    assert!(refused(&cluster, &[&reset[..], &["soon"]].concat()).contains("soon is no time"));
    let skip = cluster.admin(&["skipAccumulatedMessage", "-g", GROUP, "-t", TOPIC]);
    assert_eq!(row(&skip, BROKER_NAME), [BROKER_NAME, "0", "3"]);
    cluster.admin(&["updateSubGroup", "-b", &leader, "-g", "Cloned"]);
    let cloned = cluster.admin(&["cloneGroupOffset", "-s", GROUP, "-d", "Cloned", "-t", TOPIC]);
    assert_eq!(
        cloned,
        format!(
            "clone group offset success. srcGroup[{GROUP}], destGroup=[Cloned], topic[{TOPIC}]\n"
        )
    );
    // Not forwards: what it got is where it stands.
    let stands =
        offsets(&["resetOffsetByTime", "-g", "Cloned", "-t", TOPIC, "-s", "-1", "-f", "false"]);
    assert_eq!(stands, [3, 0]);
    let deleted =
        cluster.admin(&["deleteSubGroup", "-c", "RaftCluster", "-g", GROUP, "-r", "true"]);
    assert!(
        deleted.contains(&format!(
            "[{GROUP}] from broker [{leader}] in cluster [RaftCluster] success"
        ))
    );
    assert!(refused(&cluster, &[&reset[..], &["now"]].concat()).contains(GROUP));
}

#[test]
fn settings_and_permissions_are_shown_and_changed() {
    let cluster = start();
    let leader = cluster.address(cluster.leader().unwrap()).to_string();
    let status = cluster.admin(&["brokerStatus", "-b", &leader]);
    assert!(row(&status, "brokerVersionDesc").len() >= 2, "{status}");
    let of_all = json(&cluster, "-o", &["brokerStatus", "-c", "RaftCluster"]);
    assert_eq!(of_all.as_object().unwrap().len(), 3);
    let permission = |address: &str| {
        let config = cluster.admin(&["getBrokerConfig", "-b", address]);
        assert!(config.starts_with(&format!("============{address}============\n")), "{config}");
        row(&config, "brokerPermission")[2].clone()
    };
    assert_eq!(permission(&leader), "6");
    let change = ["updateBrokerConfig", "-b", &leader, "-k", "brokerPermission", "-v"];
    let changed = cluster.admin(&[&change[..], &["4"]].concat());
    assert_eq!(changed, format!("update broker config success, {leader}\n"));
    assert_eq!(permission(&leader), "4");
    assert!(refused(&cluster, &[&change[..], &["9"]].concat()).contains("brokerPermission"));

    let told = |verb: &str| {
        format!(
            "{verb} write perm of broker[{BROKER_NAME}] in name server[{}] OK, ",
            cluster.name_servers()
        )
    };
    let permissions = || {
        json(&cluster, "-o", &["topicRoute", "-l", "-t", TOPIC])["queueDatas"][0]["perm"].as_i64()
    };
    assert!(cluster.admin(&["wipeWritePerm", "-b", BROKER_NAME]).starts_with(&told("wipe")));
    assert_eq!(permissions(), Some(4));
    assert!(cluster.admin(&["addWritePerm", "-b", BROKER_NAME]).starts_with(&told("add")));
    assert_eq!(permissions(), Some(6));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_connected_is_shown() {
    let cluster = start();
    let options = ClientOptions::new(&cluster.name_servers()).with_instance_name("watched");
    let client = Client::start(options).await.unwrap();
    let consumer =
        LitePullConsumer::start(&client, LitePullOptions::new(GROUP).subscribe(TOPIC, "TagA"))
            .await
            .unwrap();
    let producer = Producer::start(&client, ProducerOptions::new("AdminProducers")).unwrap();
    producer.send(&raftmq::client::Message::new(TOPIC, "x")).await.unwrap();
    let leader = cluster.address(cluster.leader().unwrap()).to_string();
    let consumers = ["consumerConnection", "-g", GROUP, "-b", &leader];
    let shown = poll::until("the consumer is known", LIMIT, || {
        let known = admin::run(&consumers);
        known.success().then_some(known.printed)
    });
    assert!(row(&shown, client.client_id())[1].starts_with("127.0.0.1:"), "{shown}");
    assert_eq!(row(&shown, TOPIC), [TOPIC, "TagA"]);
    assert!(shown.contains("ConsumeType: CONSUME_ACTIVELY\nMessageModel: CLUSTERING\n"), "{shown}");
    let producers = ["producerConnection", "-g", "AdminProducers", "-t", TOPIC];
    assert_eq!(row(&cluster.admin(&producers), "0001")[1], client.client_id());
    consumer.shutdown().await;
    let gone = ["producerConnection", "-g", "NoSuchProducers", "-t", TOPIC];
    assert!(refused(&cluster, &gone).contains("no member that is connected"));
    assert!(refused(&cluster, &consumers).contains("no member that is connected"));
}

/// What mqadmin cannot be compared in: it never ends, or takes one message off, or writes nothing.
#[test]
fn sends_are_timed_and_messages_counted() {
    let cluster = start();
    let timed = cluster.admin(&["clusterRT", "-a", "5", "-s", "16"]);
    let of_group = timed.lines().nth(1).unwrap().split_whitespace().collect::<Vec<_>>();
    assert_eq!(
        (&of_group[..2], &of_group[3..]),
        (&["RaftCluster", BROKER_NAME][..], &["5", "0"][..])
    );
    let log = cluster.admin(&["clusterRT", "-a", "2", "-p", "true", "-m", "room"]);
    assert!(log.contains(&format!("|room|RaftCluster|{BROKER_NAME}|")), "{log}");
    let shown = json(&cluster, "-o", &["clusterRT", "-a", "2", "-c", "RaftCluster"]);
    assert_eq!(shown[0]["successCount"], 2);
    assert!(refused(&cluster, &["clusterRT", "-c", "NoSuchCluster"]).contains("NoSuchCluster"));
    let shown = json(&cluster, "-o", &["sendMsgStatus", "-b", BROKER_NAME, "-c", "2"]);
    assert_eq!(shown.as_array().unwrap().len(), 2);

    for number in 0..5 {
        send(&cluster, "1", &format!("body {number}"));
    }
    let consume = |words: &[&str]| {
        let printed = cluster.admin(&[&["consumeMessage", "-t", TOPIC], words].concat());
        printed
            .lines()
            .filter(|line| line.starts_with("MSGID: "))
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    assert_eq!(consume(&[]).len(), 5);
    assert_eq!(consume(&["-c", "3"]).len(), 3);
    let of_queue = consume(&["-b", BROKER_NAME, "-i", "1", "-o", "3"]);
    assert_eq!(of_queue.len(), 2);
    assert!(of_queue[0].ends_with("BODY: body 3"), "{of_queue:?}");
    assert!(consume(&["-s", "now"]).is_empty() && consume(&["-e", "1"]).is_empty());
    refused(&cluster, &["consumeMessage", "-t", TOPIC, "-b", BROKER_NAME, "-i", "9"]);
}

#[test]
fn what_one_cluster_exports_another_takes_in() {
    let (from, to) = (start(), Cluster::start());
    let attributes = ["updateTopic", "-c", "RaftCluster", "-t", "Fifo", "-a", "+message.type=FIFO"];
    from.admin(&attributes);
    from.admin(&["updateSubGroup", "-c", "RaftCluster", "-g", GROUP, "-r", "3"]);
    let directory = from.directory().join("export");
    let export = ["exportMetadata", "-c", "RaftCluster", "-f", directory.to_str().unwrap()];
    from.admin(&export);
    let exported = std::fs::read_to_string(directory.join("metadata.json")).unwrap();
    let exported: Value = serde_json::from_str(&exported).unwrap();
    let metadata = directory.join("metadata.json");
    for command in ["updateTopicList", "updateSubGroupList"] {
        to.admin(&[command, "-c", "RaftCluster", "-f", metadata.to_str().unwrap()]);
    }
    let place = to.directory().join("export");
    let address = to.address(to.leader().unwrap()).to_string();
    to.admin(&["exportMetadata", "-b", &address, "-f", place.to_str().unwrap()]);
    let taken = std::fs::read_to_string(place.join("metadata.json")).unwrap();
    let taken: Value = serde_json::from_str(&taken).unwrap();
    assert_eq!(taken["topicConfigTable"], exported["topicConfigTable"]);
    assert_eq!(taken["topicConfigTable"]["Fifo"]["attributes"]["message.type"], "FIFO");
    assert_eq!(taken["subscriptionGroupTable"][GROUP]["retryMaxTimes"], 3);
    let no_list = ["updateTopicList", "-b", &address, "-f", "/no/such/file"];
    assert!(refused(&to, &no_list).contains("/no/such/file"));
    let broken = place.join("broken.json");
    std::fs::write(&broken, "{}").unwrap();
    let broken = ["updateTopicList", "-b", &address, "-f", broken.to_str().unwrap()];
    assert!(refused(&to, &broken).contains("no list"));
}
