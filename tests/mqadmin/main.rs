//! RocketMQ's `mqadmin` and our `admin`, given the same words on the same cluster, print the same.
//!
//! Compared line by line, without blanks at a line's end and blank lines at the answer's. What changes
//! from one run to the next is masked (rates, ids of messages that the command itself sends), and the
//! order of what Java keeps in hash tables is not looked at. What differs on purpose is named where it is
//! taken out.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "drives real processes")]

mod control;
mod masks;
mod operate;
#[path = "../support/mod.rs"]
mod support;
mod tools;

use std::sync::Arc;
use std::time::Duration;

use masks::*;
use raftmq::client::{
    Client, ClientOptions, ConsumeFrom, ConsumeResult, ConsumerOptions, Message, Producer,
    ProducerOptions, PushConsumer, ReceivedMessage,
};
use support::cluster::BROKER_NAME;
use support::poll;
use tools::Tools;

const CLUSTER: &str = "RaftCluster";
const TOPIC: &str = "CompareTopic";
const GROUP: &str = "CompareGroup";
const PRODUCERS: &str = "CompareProducers";
const LIMIT: Duration = Duration::from_secs(60);

/// The group has an offset in each queue, and nothing is behind it.
fn await_consumed(tools: &Tools, group: &str) {
    poll::until("all is consumed", LIMIT, || {
        let (progress, known) = tools.ours(&["consumerProgress", "-g", group]);
        let queues = progress.iter().filter(|line| line.starts_with(TOPIC)).count();
        let done = progress.iter().any(|line| line == "Consume Diff Total: 0");
        (known && queues == 2 && done).then_some(())
    });
}

/// A consumer that has consumed what a producer sent, both still there.
async fn clients(tools: &Tools) -> (Client, PushConsumer, Producer, Vec<String>) {
    let name_servers = tools.cluster.name_servers();
    let client = ClientOptions::new(&name_servers).with_instance_name("compared");
    let client = Client::start(client).await.unwrap();
    let producer = Producer::start(&client, ProducerOptions::new(PRODUCERS)).unwrap();
    let mut ids = Vec::new();
    for number in 0..6 {
        let tag = if number % 2 == 0 { "TagA" } else { "TagB" };
        let message = Message::new(TOPIC, format!("body {number}")).with_tag(tag).with_key("key");
        ids.push(producer.send(&message).await.unwrap().message_id);
    }
    let mut options = ConsumerOptions::new(GROUP).subscribe(TOPIC, "TagA");
    options.consume_from = ConsumeFrom::First;
    let listener = |_: Arc<[ReceivedMessage]>| async { ConsumeResult::Success };
    let consumer = PushConsumer::start(&client, options, listener).await.unwrap();
    await_consumed(tools, GROUP);
    (client, consumer, producer, ids)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_tools_print_the_same() {
    let Some(mut tools) = Tools::start() else { return };
    let tools = &mut tools;
    let create = ["updateTopic", "-c", CLUSTER, "-t", TOPIC, "-r", "2", "-w", "2"];
    tools.same(&create, exact);
    poll::until("the topic has a route", LIMIT, || {
        tools.ours(&["topicRoute", "-t", TOPIC]).1.then_some(())
    });
    let (_client, _consumer, producer, ids) = clients(tools).await;
    charsets(tools, &producer).await;
    what_is_there(tools);
    topics(tools);
    messages(tools, &ids);
    groups(tools);
    settings(tools);
    permissions(tools);
    operate::compare(tools);
    a_java_consumer(tools, &ids[0]);
    control::compare(tools);
    tools.same(&["deleteTopic", "-c", CLUSTER, "-t", TOPIC], exact);
    assert!(tools.differences.is_empty(), "{}", tools.differences.concat());
}

/// Bodies that are no UTF-8.
async fn charsets(tools: &mut Tools, producer: &Producer) {
    const TOPIC: &str = "CharsetTopic";
    assert!(tools.ours(&["updateTopic", "-c", CLUSTER, "-t", TOPIC, "-r", "1", "-w", "1"]).1);
    let (hello_in_gbk, hello) = (vec![0xc4, 0xe3, 0xba, 0xc3], "BODY: 你好");
    producer.send(&Message::new(TOPIC, hello_in_gbk)).await.unwrap();
    let of_topic = ["printMsg", "-t", TOPIC, "-c", "GBK"];
    let of_queue = ["printMsgByQueue", "-t", TOPIC, "-a", BROKER_NAME, "-i", "0", "-p", "true"];
    let of_queue = [&of_queue[..], &["-d", "true", "-c", "GBK"]].concat();
    for command in [&of_topic[..], &of_queue] {
        let shown = tools.same(command, printed);
        assert!(shown.iter().any(|line| line.ends_with(hello)), "{shown:?}");
    }
    let place = ["-b", BROKER_NAME, "-i", "0", "-o", "0", "-f", "GBK"];
    let (shown, _) = tools.ours(&[&["queryMsgByOffset", "-t", TOPIC], &place[..]].concat());
    assert!(shown.iter().any(|line| line.ends_with(" 你好")), "{shown:?}");
    assert!(!tools.ours(&["printMsg", "-t", TOPIC, "-c", "NoSuchCharset"]).1);
}

fn what_is_there(tools: &mut Tools) {
    tools.same(&["clusterList"], exact);
    tools.same(&["clusterList", "-m"], exact);
    tools.same(&["topicList"], sorted);
    tools.same(&["topicList", "-c"], squeezed);
    tools.same(&["topicRoute", "-t", TOPIC], json);
    tools.same(&["topicRoute", "-l", "-t", TOPIC], exact);
    tools.same(&["topicStatus", "-t", TOPIC], exact);
    tools.same(&["topicStatus", "-t", TOPIC, "-c", CLUSTER], exact);
    tools.same(&["topicClusterList", "-t", TOPIC], exact);
    tools.same(&["statsAll"], sorted);
    let stats = tools.same(&["statsAll", "-t", TOPIC], exact);
    assert!(stats[1].contains(GROUP), "{stats:?}");
    tools.same(&["statsAll", "-a"], sorted);
    tools.same(&["consumerProgress"], sorted);
    tools.same(&["consumerProgress", "-g", GROUP], exact);
    let members = tools.same(&["consumerConnection", "-g", GROUP], sorted);
    assert!(members.iter().any(|line| line.ends_with("V5_3_3")), "{members:?}");
    tools.same(&["producerConnection", "-g", PRODUCERS, "-t", TOPIC], exact);
    let leader = tools.leader();
    tools.same(&["brokerConsumeStats", "-b", &leader], exact);
    tools.same(&["haStatus", "-c", CLUSTER], exact);
    let mut members = (0..3).map(|member| tools.cluster.address(member).to_string());
    let follower = members.find(|address| *address != leader).unwrap();
    tools.same(&["haStatus", "-b", &follower], unmeasured);
    tools.both_refuse(&["consumerConnection", "-g", "NoSuchGroup"]);
    tools.both_refuse(&["producerConnection", "-g", "NoSuchGroup", "-t", TOPIC]);
    tools.both_refuse(&["topicClusterList", "-t", "NoSuchTopic"]);
}

/// What name servers and clients of units are told of a topic.
fn topics(tools: &mut Tools) {
    const TOPIC: &str = "UnitTopic";
    let leader = tools.leader();
    let update = ["updateTopic", "-t", TOPIC, "-r", "3", "-w", "2"];
    let once = |unit, subscribed| ["-u", unit, "-s", subscribed];
    for (place, flags) in
        [(["-c", CLUSTER], once("true", "false")), (["-b", &leader], once("false", "true"))]
    {
        tools.same(&[&update[..], &place, &flags].concat(), exact);
        let ordered = ["-o", "true", "-u", "true", "-s", "true", "-a", "+message.type=FIFO"];
        let shown = tools.same(&[&update[..], &place, &ordered].concat(), exact);
        let queues = format!("orderConf=[{BROKER_NAME}:2]");
        assert!(shown.iter().any(|line| line.ends_with(&queues)), "{shown:?}");
        assert!(shown.iter().any(|line| line.contains("topicSysFlag=3, order=true")), "{shown:?}");
    }
    tools.same(&["updateTopicPerm", "-t", TOPIC, "-p", "4", "-b", &leader], exact);
    tools.same(&["deleteTopic", "-c", CLUSTER, "-t", TOPIC], exact);
}

fn messages(tools: &mut Tools, ids: &[String]) {
    tools.same(&["queryMsgById", "-t", TOPIC, "-i", &ids[0]], message);
    // Once: mqadmin's own command answers only the first time in a process.
    tools.same(&["queryMsgByUniqueKey", "-t", TOPIC, "-i", &ids[1], "-c", CLUSTER], message);
    let place = ["queryMsgByOffset", "-t", TOPIC, "-b", BROKER_NAME, "-i", "0", "-o", "0"];
    let found = tools.same(&place, message);
    assert!(found.iter().any(|line| line.contains("trackType=CONSUMED")), "{found:?}");
    tools.same(&["printMsg", "-t", TOPIC], printed);
    tools.same(&["printMsg", "-t", TOPIC, "-s", "TagB", "-d", "false"], printed);
    tools.same(&["printMsg", "-t", TOPIC, "-s", "NoSuchTag"], printed);
    let queue = ["printMsgByQueue", "-t", TOPIC, "-a", BROKER_NAME, "-i", "1", "-f", "true"];
    let counted = tools.same(&queue, exact);
    assert!(counted[0].starts_with("Tag: Tag"), "{counted:?}");
    tools.same(&[&queue[..], &["-p", "true", "-d", "true"]].concat(), printed);
    let by_key = ["queryMsgByKey", "-t", TOPIC, "-k", "key"];
    let found = tools.same(&by_key, sorted);
    assert_eq!(found.len(), 1 + ids.len(), "{found:?}");
    let by_id = ["queryMsgById", "-t", TOPIC, "-i", &ids[0]];
    for look in [&by_key[..], &by_id] {
        let mask = if look == by_key { sorted } else { message };
        tools.same(&[look, &["-c", CLUSTER]].concat(), mask);
        tools.both_refuse(&[look, &["-c", "NoSuchCluster"]].concat());
    }
    tools.same(&[&by_id[..], &["-f", "UTF-8"]].concat(), message);
    tools.same(&[&place[..], &["-f", "UTF-8"]].concat(), message);
    // Once, as above.
    let words = "sendMessage -p hello -k own -c TagA -i 1 -m true -t".split(' ');
    tools.same(&words.chain([TOPIC, "-b", BROKER_NAME]).collect::<Vec<_>>(), sent);
    tools.same(&["printMsg", "-t", TOPIC, "-l", TOPIC], printed);
    several_messages(tools, ids);
    traces(tools);
}

fn several_messages(tools: &mut Tools, ids: &[String]) {
    let several = ids[..3].join(",");
    let by_ids = ["queryMsgById", "-t", TOPIC, "-i", &several];
    let found = tools.same(&by_ids, message);
    assert_eq!(found.iter().filter(|line| line.starts_with("OffsetID:")).count(), 3, "{found:?}");
    let again = tools.same(&[&by_ids[..], &["-s", "true", "-u", "north"]].concat(), sent_again);
    let repeated = |line: &&String| ids.iter().any(|id| line.matches(&**id).count() == 2);
    assert_eq!(again.iter().filter(repeated).count(), 3, "{again:?}");
}

/// What ours writes down, mqadmin reads too.
fn traces(tools: &mut Tools) {
    let send = ["sendMessage", "-t", TOPIC, "-p", "traced", "-k", "a b", "-m", "true"];
    let (shown, success) = tools.ours(&send);
    assert!(success, "{shown:?}");
    let id = shown[1].rsplit(' ').next().unwrap().to_owned();
    let trace = tools.same(&["queryMsgTraceById", "-i", &id], exact);
    assert!(trace[1].starts_with("Pub ") && trace[1].ends_with("success"), "{trace:?}");
    let until = ["-t", "RMQ_SYS_TRACE_TOPIC", "-b", "1", "-e", "4102444800000", "-c", "8"];
    tools.same(&[&["queryMsgTraceById", "-i", &id], &until[..]].concat(), exact);
    tools.both_refuse(&["queryMsgTraceById", "-i", "NoSuchMessage"]);
}

fn groups(tools: &mut Tools) {
    let leader = tools.leader();
    tools.same(&["updateSubGroup", "-c", CLUSTER, "-g", "Second"], exact);
    let words =
        "updateSubGroup -g Third -r 5 -q 2 -o true -s true -m true -d true -w 0 -a false -b";
    tools.same(&words.split(' ').chain([&*leader]).collect::<Vec<_>>(), exact);
    let reset = ["resetOffsetByTime", "-g", "Second", "-t", TOPIC, "-s"];
    for policy in [
        r#"{"type":"EXPONENTIAL","exponentialRetryPolicy":{"initial":7000}}"#,
        r#"{"customizedRetryPolicy":{"next":[1000,5000]}}"#,
    ] {
        let policy = ["updateSubGroup", "-c", CLUSTER, "-g", "Third", "-p", policy];
        tools.same(&policy, exact);
    }
    for changes in ["+a=b,+c=d", "+a=e,-c"] {
        let change = ["updateSubGroup", "-b", &leader, "-g", "Third", "--attributes", changes];
        tools.same(&change, exact);
    }
    for time in ["0", "2024-01-01#00:00:00:000", "-1"] {
        tools.same(&[&reset[..], &[time]].concat(), sorted);
    }
    let queue = ["0", "-b", &leader, "-q", "1", "-o", "1"];
    tools.same(&[&reset[..], &queue].concat(), exact);
    tools.same(&["skipAccumulatedMessage", "-g", "Second", "-t", TOPIC], sorted);
    tools.same(&["skipAccumulatedMessage", "-g", "Second", "-t", TOPIC, "-c", CLUSTER], sorted);
    tools.same(&[&reset[..], &["-1", "-c", CLUSTER]].concat(), sorted);
    tools.same(&["cloneGroupOffset", "-s", GROUP, "-d", "Second", "-t", TOPIC], exact);
    tools.same(&["deleteSubGroup", "-c", CLUSTER, "-g", "Second", "-r", "true"], exact);
    tools.same(&["deleteSubGroup", "-b", &leader, "-g", "Third"], exact);
}

fn name_servers(tools: &mut Tools) {
    let address = tools.cluster.name_servers();
    tools.same(&["updateKvConfig", "-s", "Names", "-k", "a", "-v", "b"], exact);
    tools.same(&["deleteKvConfig", "-s", "Names", "-k", "a"], exact);
    tools.same(&["getNamesrvConfig", "-n", &address], sorted);
    let change = ["updateNamesrvConfig", "-k", "orderMessageEnable", "-v", "true", "-n", &address];
    tools.same(&change, exact);
    tools.both_refuse(&["updateNamesrvConfig", "-k", "noSuchKey", "-v", "true"]);
}

/// Ours are not asked: they do not tell what they are doing.
fn a_java_consumer(tools: &mut Tools, id: &str) {
    const GROUP: &str = "JavaGroup";
    assert!(tools.mqadmin(&["CONSUME", GROUP, TOPIC]).iter().all(String::is_empty));
    let members = ["consumerConnection", "-g", GROUP];
    let client_id = poll::until("the consumer is known", LIMIT, || {
        let (printed, known) = tools.ours(&members);
        known.then(|| printed[1].split(' ').next().unwrap().to_owned())
    });
    await_consumed(tools, GROUP);
    tools.same(&members, sorted);
    let progress = ["consumerProgress", "-g", GROUP, "-c", CLUSTER, "-s"];
    let shown = tools.same(&[&progress[..], &["true"]].concat(), exact);
    let ip = client_id.split('@').next().unwrap();
    let own = |line: &&String| line.starts_with(TOPIC) && line.contains(ip);
    assert_eq!(shown.iter().filter(own).count(), 2, "{shown:?}");
    tools.same(&[&progress[..], &["false"]].concat(), exact);
    let consume = ["-t", TOPIC, "-i", id, "-g", GROUP, "-d", &client_id];
    let consumed = tools.same(&[&["queryMsgById"], &consume[..]].concat(), untimed);
    assert!(consumed[0].contains("consumeResult=CR_SUCCESS"), "{consumed:?}");
    let (by_unique_key, success) = tools.ours(&[&["queryMsgByUniqueKey"], &consume[..]].concat());
    assert!(success && untimed(by_unique_key) == consumed);
    tools.same(&["consumerStatus", "-g", GROUP], without_files);
    tools.same(&["consumerStatus", "-g", GROUP, "-i", &client_id], moments);
}

fn permissions(tools: &mut Tools) {
    let leader = tools.leader();
    for place in [["-c", CLUSTER], ["-b", &leader]] {
        let change =
            |permission| [&["updateTopicPerm", "-t", TOPIC, "-p", permission][..], &place].concat();
        tools.same_after(&change("6"), &change("4"), exact);
    }
    let again = ["updateTopicPerm", "-t", TOPIC, "-p", "4", "-b", &leader];
    assert_eq!(tools.same(&again, exact), ["new perm equals to the old one!"]);
    tools.same(&["updateTopicPerm", "-t", TOPIC, "-p", "6", "-c", CLUSTER], |_| {
        vec!["changed".to_owned()]
    });
}

fn settings(tools: &mut Tools) {
    let leader = tools.leader();
    tools.same(&["brokerStatus", "-b", &leader], keys);
    tools.same(&["brokerStatus", "-c", CLUSTER], keys);
    tools.same(&["getBrokerConfig", "-b", &leader], sorted);
    tools.same(&["getBrokerConfig", "-c", CLUSTER], sorted);
    let change = ["updateBrokerConfig", "-k", "fileReservedTime", "-v", "71"];
    tools.same(&[&change[..], &["-b", &leader]].concat(), exact);
    tools.same(&[&change[..], &["-c", CLUSTER]].concat(), exact);
    tools.same(&[&change[..], &["-c", CLUSTER, "-a", "true"]].concat(), sorted);
    name_servers(tools);
    tools.same_after(
        &["addWritePerm", "-b", BROKER_NAME],
        &["wipeWritePerm", "-b", BROKER_NAME],
        exact,
    );
    tools.same_after(
        &["wipeWritePerm", "-b", BROKER_NAME],
        &["addWritePerm", "-b", BROKER_NAME],
        exact,
    );
}
