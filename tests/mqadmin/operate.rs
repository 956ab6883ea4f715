//! Sends that are timed, messages that are read, queues as they are stored, lists and exports.

use std::fs;

use serde_json::Value;

use crate::masks::{exact, printed, sorted};
use crate::support::cluster::BROKER_NAME;
use crate::tools::Tools;
use crate::{CLUSTER, GROUP, PRODUCERS, TOPIC};

pub fn compare(tools: &mut Tools) {
    sends(tools);
    reads(tools);
    order(tools);
    lists(tools);
    exports(tools);
    let leader = tools.leader();
    tools.same(&["getConsumerConfig", "-g", GROUP], exact);
    tools.both_refuse(&["getConsumerConfig", "-g", "NoSuchGroup"]);
    tools.same(&["producer", "-b", &leader], own_producers);
    for upkeep in ["cleanExpiredCQ", "cleanUnusedTopic", "deleteExpiredCommitLog"] {
        tools.same(&[upkeep, "-c", CLUSTER], exact);
        tools.same(&[upkeep, "-b", &leader], exact);
    }
}

fn sends(tools: &mut Tools) {
    let check = ["checkMsgSendRT", "-t", TOPIC, "-a", "4", "-s", "16"];
    let timed = tools.same(&check, without_times);
    let succeeded = timed.iter().filter(|line| line.contains("  true  "));
    assert_eq!(succeeded.count(), 4, "{timed:?}");
    let status = ["sendMsgStatus", "-b", BROKER_NAME, "-c", "3", "-s", "20"];
    assert_eq!(tools.same(&status, each_send).len(), 3);
}

fn reads(tools: &mut Tools) {
    // Once: mqadmin's own command answers only the first time in a process.
    tools.same(&["consumeMessage", "-t", TOPIC], printed);
    tools.same(&["queryCq", "-t", TOPIC, "-q", "0", "-i", "0"], exact);
    let leader = tools.leader();
    let of_group = ["-q", "1", "-i", "1", "-c", "2", "-g", GROUP, "-b", &*leader];
    let shown = tools.same(&[&["queryCq", "-t", TOPIC], &of_group[..]].concat(), exact);
    assert_eq!(shown.iter().filter(|line| line.starts_with("idx: ")).count(), 2, "{shown:?}");
    tools.same(&["allocateMQ", "-t", TOPIC, "-i", "10.0.0.1"], allocated);
}

fn order(tools: &mut Tools) {
    let order = |method| ["updateOrderConf", "-t", "Ordered", "-m", method];
    tools.same(&[&order("put")[..], &["-v", "a:4;b:8"]].concat(), exact);
    let kept = tools.same(&order("get"), exact);
    assert!(kept[0].contains("orderConf=[a:4;b:8]"), "{kept:?}");
    tools.same(&order("delete"), exact);
    tools.both_refuse(&order("get"));
}

/// mqadmin prints its help behind the answer when it is given a cluster, so it is given a broker.
fn lists(tools: &mut Tools) {
    let leader = tools.leader();
    let file = tools.cluster.directory().join("list.json");
    let topics = r#"[{"topicName":"ListA","readQueueNums":2,"writeQueueNums":2,"perm":6},
        {"topicName":"ListB","readQueueNums":1,"writeQueueNums":1,"perm":4,
         "attributes":{"+message.type":"FIFO"}}]"#;
    let groups = r#"[{"groupName":"ListGroupA","retryMaxTimes":3},{"groupName":"ListGroupB"}]"#;
    for (command, list) in [("updateTopicList", topics), ("updateSubGroupList", groups)] {
        fs::write(&file, list).unwrap();
        tools.same(&[command, "-b", &leader, "-f", file.to_str().unwrap()], exact);
    }
    let stored = tools.same(&["topicStatus", "-t", "ListA"], exact);
    assert_eq!(stored.iter().filter(|line| line.starts_with(BROKER_NAME)).count(), 2);
    let stored = tools.same(&["getConsumerConfig", "-g", "ListGroupA"], exact);
    assert!(stored.iter().any(|line| line.ends_with("=  3")), "{stored:?}");
}

fn exports(tools: &mut Tools) {
    let directory = tools.cluster.directory().join("export");
    let place = directory.to_str().unwrap().to_owned();
    let leader = tools.leader();
    let commands: [(&str, Vec<&str>); 6] = [
        ("metadata.json", vec!["exportMetadata", "-c", CLUSTER]),
        ("metadata.json", vec!["exportMetadata", "-c", CLUSTER, "-s"]),
        ("topic.json", vec!["exportMetadata", "-c", CLUSTER, "-t"]),
        ("subscriptionGroup.json", vec!["exportMetadata", "-b", &leader, "-g"]),
        ("topic.json", vec!["exportMetadata", "-b", &leader, "-t"]),
        ("configs.json", vec!["exportConfigs", "-c", CLUSTER]),
    ];
    for (name, command) in commands {
        let command = [&command[..], &["-f", &place]].concat();
        let file = directory.join(name);
        let exported = |lines: Vec<String>, who: &str| {
            assert!(lines[0].ends_with(&format!("{name} success")), "{who}: {lines:?}");
            let text = fs::read_to_string(&file).unwrap();
            fs::remove_file(&file).unwrap();
            comparable(serde_json::from_str(&text).unwrap())
        };
        let theirs = exported(tools.mqadmin(&command), "mqadmin");
        let ours = exported(tools.ours(&command).0, "ours");
        if ours != theirs {
            let difference = format!("{command:?}\nours:\n{ours:#}\nmqadmin:\n{theirs:#}\n");
            tools.differences.push(difference);
        }
    }
}

/// When it was exported is another matter.
fn comparable(mut exported: Value) -> Value {
    exported.as_object_mut().unwrap().remove("exportTime");
    exported
}

/// How long a send took is different each time.
fn without_times(lines: Vec<String>) -> Vec<String> {
    let untimed = |line: &String| match line.rsplit_once(' ') {
        Some((before, time)) if time.bytes().all(|byte| byte.is_ascii_digit()) => {
            format!("{before} RT")
        }
        _ => line.clone(),
    };
    exact(lines.iter().map(untimed).collect())
}

/// mqadmin writes all sends on one line.
fn each_send(lines: Vec<String>) -> Vec<String> {
    let joined = lines.concat();
    let sends = joined.split("rt=").filter(|send| !send.is_empty());
    let what = |send: &str| {
        let (_, behind) = send.split_once("ms, ").unwrap();
        behind.split(", ").next().unwrap().to_owned()
    };
    sends.map(what).collect()
}

/// The tools' own come and go, and everybody is heard of again and again.
fn own_producers(lines: Vec<String>) -> Vec<String> {
    let own = lines.iter().filter(|line| line.contains(&format!("({PRODUCERS})")));
    sorted(own.map(|line| line.split(", lastUpdate").next().unwrap().to_owned()).collect())
}

/// Java hands queues out in the order of its hash table; clients sort them first.
fn allocated(lines: Vec<String>) -> Vec<String> {
    let mut json: Value = serde_json::from_str(&lines.concat()).unwrap();
    let queues = json["result"]["10.0.0.1"].as_array_mut().unwrap();
    queues.sort_by_key(|queue| queue["queueId"].as_i64());
    vec![json.to_string()]
}
