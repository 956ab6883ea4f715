//! No command that only reads hangs while a node with a leader is dead or paused: it answers, or says
//! what is missing, after a time that does not grow with the brokers that are silent.
//!
//! Three nodes with three groups. From the strike on, every such command of `admin` is run, the first
//! ones while the groups elect. What is held against a command is what it needed before the strike and
//! a constant, so that a machine that is busy does not look like a hang. With `RAFTMQ_MQADMIN=1`, stock
//! mqadmin 5.3.3 is run as well and its times are printed: how long it waits for whom is its own.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "drives real processes")]

mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use raftmq::client::{
    Client, ClientOptions, ConsumeFrom, ConsumeResult, ConsumerOptions, Message, Producer,
    ProducerOptions, PushConsumer, ReceivedMessage,
};
use support::admin::{self, Answer};
use support::nodes::{GROUPS, Nodes};
use support::official::{self, say};
use support::poll;
use support::process::Process;

const TOPIC: &str = "ReadTopic";
const PRODUCERS: &str = "ReadProducers";
/// A command that asks about each of them would wait for each if it learnt nothing.
const CONSUMERS: usize = 5;
const LIMIT: Duration = Duration::from_secs(60);
/// Longer than a command may wait in vain (3 s and a little), shorter than two waits of RocketMQ's 5 s.
const HANGS: Duration = Duration::from_secs(8);
/// A command may need so many times what it needed before: the machine is busier after a strike.
const SLOWER: u32 = 5;
/// Commands that are run one after the other, beside others.
const EACH: usize = 8;
/// What mqadmin is given: it may wait for every silent broker in turn.
const MQADMIN_LIMIT: Duration = Duration::from_secs(600);

/// One command's times, in the order of the runs.
struct Row {
    words: Vec<String>,
    took: Vec<Duration>,
}

struct Clients {
    producer: Producer,
    consumers: Vec<PushConsumer>,
    // They end with the last of their clones.
    _clients: Vec<Client>,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_command_hangs_while_a_node_is_dead_or_paused() {
    let mut nodes = Nodes::start_with("");
    let name_servers = nodes.name_servers();
    nodes.create_topic(TOPIC, "2");
    let clients = clients(&nodes).await;
    let id = clients.producer.send(&Message::new(TOPIC, "found").with_key("key")).await;
    let id = id.unwrap().message_id;
    await_groups(&nodes);
    let mut mqadmin = mqadmin(&nodes);
    let victim = nodes.leader_addresses()[0].clone();
    let commands = commands(&name_servers, &victim, &id);
    let mut ours: Vec<Row> =
        commands.into_iter().map(|words| Row { words, took: vec![] }).collect();
    let mut theirs: Vec<Row> = mqadmin.iter().flat_map(|_| copy(&ours)).collect();

    run(&name_servers, &mut ours, |_| {});
    run_mqadmin(mqadmin.as_mut(), &mut theirs);
    nodes.process_mut(0).kill();
    run(&name_servers, &mut ours, not_hanging);
    run_mqadmin(mqadmin.as_mut(), &mut theirs);
    nodes.restart(0);
    nodes.await_spread();
    nodes.process_mut(0).pause();
    run(&name_servers, &mut ours, not_hanging);
    run_mqadmin(mqadmin.as_mut(), &mut theirs);
    nodes.process_mut(0).resume();

    print("admin", &ours);
    print("mqadmin 5.3.3", &theirs);
    for consumer in clients.consumers {
        consumer.shutdown().await;
    }
}

/// A producer, and consumers in groups of their own, all at work.
async fn clients(nodes: &Nodes) -> Clients {
    let start = |name: String| async {
        let options = ClientOptions::new(&nodes.name_servers()).with_instance_name(name);
        Client::start(options).await.unwrap()
    };
    let mut all = vec![start("producer".to_owned()).await];
    let producer = Producer::start(&all[0], ProducerOptions::new(PRODUCERS)).unwrap();
    let mut consumers = Vec::new();
    for number in 0..CONSUMERS {
        let client = start(format!("consumer{number}")).await;
        let mut options = ConsumerOptions::new(group(number)).subscribe(TOPIC, "*");
        options.consume_from = ConsumeFrom::First;
        let listener = |_: Arc<[ReceivedMessage]>| async { ConsumeResult::Success };
        consumers.push(PushConsumer::start(&client, options, listener).await.unwrap());
        all.push(client);
    }
    Clients { producer, consumers, _clients: all }
}

fn group(number: usize) -> String {
    format!("ReadGroup{number}")
}

/// Every group is known, with a member.
fn await_groups(nodes: &Nodes) {
    for number in 0..CONSUMERS {
        poll::until("a group has a member", LIMIT, || {
            let members = ["consumerConnection".to_owned(), "-g".to_owned(), group(number)];
            ours(&nodes.name_servers(), &members).is_ok().then_some(())
        });
    }
}

/// The commands that only read; `victim` is a broker of the node that is struck.
fn commands(name_servers: &str, victim: &str, id: &str) -> Vec<Vec<String>> {
    let lines = format!(
        "topicRoute -t {TOPIC}\n\
         topicStatus -t {TOPIC}\n\
         consumerProgress -g ReadGroup0\n\
         clusterList\n\
         clusterList -m\n\
         topicList\n\
         topicList -c\n\
         topicRoute -l -t {TOPIC}\n\
         topicClusterList -t {TOPIC}\n\
         statsAll\n\
         consumerProgress\n\
         consumerConnection -g ReadGroup0\n\
         consumerStatus -g ReadGroup0\n\
         producerConnection -g {PRODUCERS} -t {TOPIC}\n\
         brokerConsumeStats -b {victim}\n\
         brokerStatus -b {victim}\n\
         brokerStatus -c RaftCluster\n\
         getBrokerConfig -b {victim}\n\
         getBrokerConfig -c RaftCluster\n\
         haStatus -b {victim}\n\
         haStatus -c RaftCluster\n\
         getNamesrvConfig\n\
         getControllerMetaData -a {name_servers}\n\
         getSyncStateSet -c RaftCluster -a {name_servers}\n\
         getBrokerEpoch -c RaftCluster\n\
         getConsumerConfig -g ReadGroup0\n\
         producer -b {victim}\n\
         queryCq -t {TOPIC} -q 0 -i 0 -b {victim}\n\
         updateOrderConf -t {TOPIC} -m get\n\
         allocateMQ -t {TOPIC} -i one,two\n\
         consumeMessage -t {TOPIC}\n\
         queryMsgById -t {TOPIC} -i {id}\n\
         queryMsgByUniqueKey -t {TOPIC} -i {id}\n\
         queryMsgByKey -t {TOPIC} -k key\n\
         queryMsgByOffset -t {TOPIC} -b {group} -i 0 -o 0\n\
         printMsg -t {TOPIC}\n\
         printMsgByQueue -t {TOPIC} -a {group} -i 0 -p true\n\
         raftStatus\n\
         doctor",
        group = GROUPS[0],
    );
    lines.lines().map(|line| line.split_whitespace().map(str::to_owned).collect()).collect()
}

/// Runs a command of ours: what it printed, or what it said is missing.
fn ours(name_servers: &str, words: &[String]) -> Result<String, String> {
    let Answer { code, printed, problem } = admin::run_at(name_servers, words);
    if code == 0 { Ok(printed) } else { Err(problem) }
}

/// Runs all, some at a time: most of what they do is wait.
fn run(name_servers: &str, rows: &mut [Row], check: fn(&Row)) {
    std::thread::scope(|scope| {
        for part in rows.chunks_mut(EACH) {
            scope.spawn(|| part.iter_mut().for_each(|row| run_one(name_servers, row, check)));
        }
    });
}

/// It answers, or says why it cannot.
fn run_one(name_servers: &str, row: &mut Row, check: fn(&Row)) {
    let started = Instant::now();
    let answer = ours(name_servers, &row.words);
    row.took.push(started.elapsed());
    let said = answer.unwrap_or_else(|problem| problem);
    assert!(!said.trim().is_empty(), "{:?} says nothing", row.words);
    check(row);
}

fn not_hanging(row: &Row) {
    let (before, took) = (row.took[0], *row.took.last().unwrap());
    let bound = HANGS + before * SLOWER;
    assert!(took < bound, "{:?} took {took:?}, {before:?} before the strike", row.words);
}

fn mqadmin(nodes: &Nodes) -> Option<Process> {
    if std::env::var("RAFTMQ_MQADMIN").is_err() {
        return None;
    }
    let home = official::prepared_java()?;
    Some(official::mqadmin(&home, nodes.directory(), &nodes.name_servers()))
}

/// What mqadmin has too.
fn copy(rows: &[Row]) -> Vec<Row> {
    let own = |row: &&Row| !["raftStatus", "doctor"].contains(&row.words[0].as_str());
    rows.iter().filter(own).map(|row| Row { words: row.words.clone(), took: vec![] }).collect()
}

fn run_mqadmin(process: Option<&mut Process>, rows: &mut [Row]) {
    let Some(process) = process else { return };
    for row in rows {
        let started = Instant::now();
        process.say(&row.words.join("\t"));
        process.await_line("END", MQADMIN_LIMIT);
        row.took.push(started.elapsed());
    }
}

fn print(tool: &str, rows: &[Row]) {
    if rows.is_empty() {
        return;
    }
    say(&format!("| {tool}, ms | before | node killed | node paused |\n|---|---|---|---|"));
    for row in rows {
        let took = row.took.iter().map(|took| took.as_millis().to_string());
        say(&format!("| {} | {} |", row.words.join(" "), took.collect::<Vec<_>>().join(" | ")));
    }
    let longest = rows.iter().flat_map(|row| &row.took[1..]).max();
    say(&format!("{tool}: the longest took {longest:?}"));
}
