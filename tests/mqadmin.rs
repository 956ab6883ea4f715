//! RocketMQ's `mqadmin` and our `admin`, given the same words on the same cluster, print the same.
//!
//! Compared line by line, without blanks at a line's end and blank lines at the answer's. What changes
//! from one run to the next is masked (rates, ids of messages that the command itself sends), and the
//! order of what Java keeps in hash tables is not looked at. What differs on purpose is named where it is
//! taken out.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "drives real processes")]

mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use raftmq::client::{
    Client, ClientOptions, ConsumeFrom, ConsumeResult, ConsumerOptions, Message, Producer,
    ProducerOptions, PushConsumer, ReceivedMessage,
};
use support::cluster::{BROKER_NAME, Cluster};
use support::process::Process;
use support::{admin, official, poll};

const CLUSTER: &str = "RaftCluster";
const TOPIC: &str = "CompareTopic";
const GROUP: &str = "CompareGroup";
const PRODUCERS: &str = "CompareProducers";
const LIMIT: Duration = Duration::from_secs(60);
/// How often both tools are asked before their answers count as different.
const ASKS: usize = 3;

/// Both tools on one cluster.
struct Tools {
    cluster: Cluster,
    java: Process,
    /// All of them are shown, not only the first.
    differences: Vec<String>,
}

/// How an answer is made comparable.
type Mask = fn(Vec<String>) -> Vec<String>;

impl Tools {
    fn start() -> Option<Tools> {
        let home = official::prepared_java()?;
        let cluster = Cluster::start();
        let java = official::mqadmin(&home, cluster.directory(), &cluster.name_servers());
        Some(Tools { cluster, java, differences: Vec::new() })
    }

    fn mqadmin(&mut self, words: &[&str]) -> Vec<String> {
        self.java.say(&words.join("\t"));
        let deadline = Instant::now() + LIMIT;
        let next = || self.java.next_line(deadline).expect("mqadmin is still there");
        std::iter::from_fn(|| Some(next()).filter(|line| line != "END")).collect()
    }

    /// What ours prints, and whether it exits with 0.
    fn ours(&self, words: &[&str]) -> (Vec<String>, bool) {
        let answer = admin::run_at(&self.cluster.name_servers(), words);
        (answer.printed.lines().map(str::to_owned).collect(), answer.success())
    }

    /// Both print the same, but for what the mask takes out.
    fn same(&mut self, words: &[&str], mask: Mask) -> Vec<String> {
        self.same_after(&[], words, mask)
    }

    /// The same, where each tool needs another command before it.
    ///
    /// The cluster goes on between the two answers (a consumer commits, a minute of the statistics ends),
    /// so both are asked again: only what differs each time is a difference.
    fn same_after(&mut self, before: &[&str], words: &[&str], mask: Mask) -> Vec<String> {
        let mut answers = (Vec::new(), Vec::new());
        for _ in 0..ASKS {
            self.prepare(before);
            let theirs = tidy(mask(tidy(self.mqadmin(words))));
            self.prepare(before);
            let (ours, success) = self.ours(words);
            assert!(success && !ours.is_empty(), "{words:?}: {ours:?}");
            answers = (tidy(mask(tidy(ours))), theirs);
            if answers.0 == answers.1 {
                return answers.0;
            }
        }
        let (ours, theirs) = (answers.0.join("\n"), answers.1.join("\n"));
        self.differences.push(format!("{words:?}\nours:\n{ours}\nmqadmin:\n{theirs}\n"));
        answers.0
    }

    fn prepare(&self, before: &[&str]) {
        if !before.is_empty() {
            assert!(self.ours(before).1, "{before:?}");
        }
    }

    /// Neither has an answer. mqadmin exits with 0 all the same and prints Java's exception; ours says
    /// why on standard error and exits with 1.
    fn both_refuse(&mut self, words: &[&str]) {
        let theirs = tidy(self.mqadmin(words));
        let (ours, success) = self.ours(words);
        assert!(!success && ours.is_empty() && theirs.is_empty(), "{words:?}: {ours:?} {theirs:?}");
    }

    fn leader(&self) -> String {
        self.cluster.address(self.cluster.leader().unwrap()).to_string()
    }
}

/// Without blanks and lines that nobody sees.
fn tidy(lines: Vec<String>) -> Vec<String> {
    let mut lines: Vec<String> = lines.iter().map(|line| line.trim_end().to_owned()).collect();
    while lines.last().is_some_and(String::is_empty) {
        lines.pop();
    }
    lines
}

/// Nothing but rates and other fractions, which go on while the tools run.
fn exact(lines: Vec<String>) -> Vec<String> {
    lines.iter().map(|line| without_fractions(line)).collect()
}

fn sorted(lines: Vec<String>) -> Vec<String> {
    let mut lines = exact(lines);
    lines.sort();
    lines
}

/// mqadmin's titles do not stand above their columns here; ours do.
fn squeezed(lines: Vec<String>) -> Vec<String> {
    let words =
        |line: &String| line.replace('~', " ").split_whitespace().collect::<Vec<_>>().join(" ");
    let mut lines: Vec<String> = exact(lines).iter().map(words).collect();
    lines.sort();
    lines
}

/// A fraction and the blanks beside it make room for each other.
fn without_fractions(line: &str) -> String {
    let mut masked = String::new();
    let mut rest = line;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, behind) = rest.split_at(end);
        let whole = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        if number.split_once('.').is_some_and(|(whole_part, part)| whole(whole_part) && whole(part))
        {
            let before = masked.trim_end().len();
            let after = behind.trim_start().len();
            let width = masked.len() - before + number.len() + behind.len() - after;
            masked.truncate(before);
            masked.push_str(&if after == 0 { "~".to_owned() } else { "~".repeat(width) });
            rest = behind.trim_start();
            continue;
        }
        masked.push_str(number);
        let next = behind.chars().next().map_or(0, char::len_utf8);
        masked.push_str(&behind[..next]);
        rest = &behind[next..];
    }
    masked
}

/// Only the words that name something, for a command's own answers.
fn keys(lines: Vec<String>) -> Vec<String> {
    let stands = ["brokerVersionDesc", "bootTimestamp", "flushDiskType", "msgPutTotalTodayNow"];
    let key = |line: &String| match line.split_once(": ") {
        Some((key, _)) if !stands.iter().any(|name| key.trim_end().ends_with(name)) => {
            key.to_owned()
        }
        _ => line.clone(),
    };
    let mut keys: Vec<String> = lines.iter().map(key).collect();
    keys.sort();
    keys
}

/// JSON whose keys are numbers is none: ours is.
fn json(lines: Vec<String>) -> Vec<String> {
    vec![lines.concat().replace(|c: char| c.is_whitespace() || c == '"', "")]
}

/// The id of a message that the command itself sent.
fn sent(lines: Vec<String>) -> Vec<String> {
    let id = |word: &str| word.len() >= 32 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    let mask = |line: &String| match line.rsplit_once(' ') {
        Some((line, last)) if id(last) => format!("{line} ID"),
        _ => line.clone(),
    };
    lines.iter().map(mask).collect()
}

/// mqadmin writes the body to a file and prints its path, ours prints it.
fn message(lines: Vec<String>) -> Vec<String> {
    let shown = |line: &String| {
        let Some((label, properties)) = line.split_once('{').filter(|_| line.starts_with("Prop"))
        else {
            return line.clone();
        };
        format!("{label}{}", own_properties(properties.trim_end_matches('}')))
    };
    lines.iter().filter(|line| !line.starts_with("Message Body")).map(shown).collect()
}

/// Where a message went that the command itself sent again.
fn sent_again(lines: Vec<String>) -> Vec<String> {
    // mqadmin says all in one line.
    let lines = lines.concat().replace("prepare resend", "\nprepare resend");
    let place = ["offsetMsgId=", "queueId=", "queueOffset="];
    let own = |word: &str| {
        place
            .iter()
            .find(|name| word.trim_start_matches('[').starts_with(**name))
            .map(|name| (*name).to_owned())
    };
    let mask = |line: &str| {
        line.split(", ")
            .map(|word| own(word).unwrap_or_else(|| word.to_owned()))
            .collect::<Vec<_>>()
    };
    lines.lines().map(|line| mask(line).join(", ")).collect()
}

/// How long a listener took is different each time.
fn untimed(lines: Vec<String>) -> Vec<String> {
    let before = |line: &String| line.split(", spentTimeMills=").next().unwrap().to_owned();
    lines.iter().map(before).collect()
}

/// Messages on one line each, with their properties in any order.
fn printed(lines: Vec<String>) -> Vec<String> {
    let shown = |line: &String| {
        let Some((before, rest)) = line.split_once("properties={") else { return line.clone() };
        let (pairs, behind) = rest.split_once('}').unwrap();
        format!("{before}{}{behind}", own_properties(pairs))
    };
    let mut lines: Vec<String> = lines.iter().map(shown).collect();
    lines.sort();
    lines
}

/// mqadmin's client adds two properties to what it pulls.
fn own_properties(pairs: &str) -> String {
    let mut pairs: Vec<&str> = pairs.split(", ").collect();
    pairs.retain(|pair| !pair.starts_with("MIN_OFFSET=") && !pair.starts_with("MAX_OFFSET="));
    pairs.sort_unstable();
    pairs.join(" ")
}

/// mqadmin writes what `-i` shows into a file for each member.
fn without_files(lines: Vec<String>) -> Vec<String> {
    let path = |word: &&str| !word.contains('/') && *word != "#ConsumerRunningInfoFile";
    let words = |line: &String| line.split_whitespace().filter(path).collect::<Vec<_>>().join(" ");
    lines.iter().map(words).collect()
}

/// Java writes moments without separators.
fn moments(lines: Vec<String>) -> Vec<String> {
    let mask = |line: &String| {
        let fields = line.split(", ").map(|field| match field.split_once("Timestamp=") {
            Some((name, _)) => format!("{name}Timestamp"),
            None => field.to_owned(),
        });
        fields.collect::<Vec<_>>().join(", ")
    };
    squeezed(lines.iter().map(mask).collect())
}

/// Our followers do not measure when they read and wrote last; mqadmin takes that for 1970.
fn unmeasured(lines: Vec<String>) -> Vec<String> {
    let told =
        |line: &String| !line.starts_with("#LastReadTime") && !line.starts_with("#LastWriteTime");
    exact(lines.into_iter().filter(told).collect())
}

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
    let (_client, _consumer, _producer, ids) = clients(tools).await;
    what_is_there(tools);
    topics(tools);
    messages(tools, &ids);
    groups(tools);
    settings(tools);
    permissions(tools);
    a_java_consumer(tools, &ids[0]);
    tools.same(&["deleteTopic", "-c", CLUSTER, "-t", TOPIC], exact);
    assert!(tools.differences.is_empty(), "{}", tools.differences.concat());
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
