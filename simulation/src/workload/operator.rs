//! A client that does what operators do: it makes topics, changes and removes them, and moves leadership.
//!
//! Invariant: it asks for one change after the other, so that what a topic must be like in the end is
//! known.

use std::sync::Arc;
use std::time::Duration;

use raftmq::protocol::code::{request, response};
use raftmq::remoting::{ClientOptions, RemotingClient, RemotingCommand};
use tokio::time::sleep;

use super::{TOPIC, part};
use crate::cluster::{self, client_address};
use crate::dice::Dice;
use crate::invariants::kept_topics::KeptTopics;
use crate::parameters::Parameters;
use crate::trace::Trace;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// Topics that come and go; nobody sends to them.
const TOPICS: &[&str] = &["returns", "refunds", "reviews"];
const QUEUES_MAX: u64 = 16;
const READ_AND_WRITE: i64 = 6;

/// Asks a group's member to have another lead, or any that it likes.
pub async fn transfer_leader(group: usize, asked: usize, target: Option<usize>) {
    let client = RemotingClient::new(ClientOptions::default(), None);
    let mut command = RemotingCommand::request(request::TRANSFER_LEADER);
    if let Some(target) = target {
        command.ext_fields.insert("target", target as i64 + 1);
    }
    // It may be refused, or not work.
    let _ = client.invoke(&client_address(group, asked), command, PATIENCE).await;
}

/// What the operator works with.
pub struct Operate {
    /// The group that it looks after.
    pub group: usize,
    /// The run's parameters.
    pub parameters: Arc<Parameters>,
    /// The run's events.
    pub trace: Trace,
    /// What topics must be like.
    pub topics: KeptTopics,
}

/// Makes, changes and removes topics for ever.
pub async fn operate(with: Operate) {
    let client = RemotingClient::new(ClientOptions::default(), None);
    let mut dice = Dice::of(with.parameters.seed, &part("operator", with.group));
    loop {
        sleep(Duration::from_millis(dice.between(200, 4_000))).await;
        let member = client_address(with.group, dice.below(with.parameters.members));
        let topic = dice.pick(TOPICS);
        let queues = (!dice.one_in(4)).then(|| dice.between(1, QUEUES_MAX) as i32);
        with.topics.asked(topic, queues);
        let answer = client.invoke(&member, ask(topic, queues), PATIENCE).await;
        if answer.is_ok_and(|answer| answer.code == response::SUCCESS) {
            with.trace.note(format_args!(
                "operator of {}: {topic} has {queues:?} queues",
                cluster::group_name(with.group)
            ));
            with.topics.acknowledged(topic, queues);
        }
    }
}

/// Makes the messages' topic in a group: with several groups one that is made by its first send would be in
/// one of them only.
pub async fn make_topic(group: usize, members: usize, queues: i32) {
    let client = RemotingClient::new(ClientOptions::default(), None);
    for number in (0..members).cycle() {
        let address = client_address(group, number);
        let asked = client.invoke(&address, ask(TOPIC, Some(queues)), PATIENCE);
        if asked.await.is_ok_and(|answer| answer.code == response::SUCCESS) {
            return;
        }
        sleep(Duration::from_millis(100)).await;
    }
}

fn ask(topic: &str, queues: Option<i32>) -> RemotingCommand {
    let code = match queues {
        Some(_) => request::UPDATE_AND_CREATE_TOPIC,
        None => request::DELETE_TOPIC_IN_BROKER,
    };
    let mut command = RemotingCommand::request(code);
    command.ext_fields.insert("topic", topic);
    if let Some(queues) = queues {
        command.ext_fields.insert("readQueueNums", queues);
        command.ext_fields.insert("writeQueueNums", queues);
        command.ext_fields.insert("perm", READ_AND_WRITE);
    }
    command
}
