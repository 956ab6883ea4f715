//! A client that reports to a broker group how far a consumer group has come, always a little further, and
//! reads it back.
//!
//! Now and then it sets the group back, as an operator would. It asks any member, whoever leads.
//!
//! Invariant: it is the only one to report for its group, so that what it reads is known within bounds.

use std::sync::Arc;
use std::time::Duration;

use raftmq::protocol::code::{request, response};
use raftmq::remoting::{ClientOptions, RemotingClient, RemotingCommand};
use tokio::time::sleep;

use super::{TOPIC, part};
use crate::dice::Dice;
use crate::invariants::Findings;
use crate::invariants::kept_progress::KeptProgress;
use crate::parameters::Parameters;
use crate::trace::Trace;

const GROUP: &str = "ledger";
/// A pull that says what it wants.
const WITH_SUBSCRIPTION: i64 = 4;
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(3);

/// What the bookkeeper works with.
pub struct KeepBooks {
    /// The run's parameters.
    pub parameters: Arc<Parameters>,
    /// The group that keeps its reports.
    pub group: usize,
    /// Where the members are.
    pub members: Vec<String>,
    /// The run's events.
    pub trace: Trace,
    /// Where progress that went back is reported.
    pub findings: Findings,
}

/// Reports and reads for ever.
pub async fn keep_books(with: KeepBooks) {
    let client = RemotingClient::new(ClientOptions::default(), None);
    let mut dice = Dice::of(with.parameters.seed, &part("bookkeeper", with.group));
    let mut resets = Dice::of(with.parameters.seed, &part("resets", with.group));
    let mut progress = KeptProgress::default();
    while !create_group(&client, &dice.pick(&with.members)).await {
        sleep(Duration::from_millis(200)).await;
    }
    loop {
        sleep(Duration::from_millis(dice.between(50, 400))).await;
        let member = dice.pick(&with.members);
        if with.parameters.resets {
            reset_or_pull(&with, &client, &mut resets, &mut progress).await;
        }
        if dice.one_in(2) {
            let next = progress.report();
            let command = ask(request::UPDATE_CONSUMER_OFFSET, &[("commitOffset", next)]);
            let answer = client.invoke(&member, command, PATIENCE).await;
            if answer.is_ok_and(|answer| answer.code == response::SUCCESS) {
                with.trace.note(format_args!("bookkeeper {}: {next} is kept", with.group));
                progress.acknowledged(next);
            }
        } else {
            let command = ask(request::QUERY_CONSUMER_OFFSET, &[]);
            let Ok(answer) = client.invoke(&member, command, PATIENCE).await else { continue };
            let offset = answer.ext_fields.get("offset").and_then(|text| text.parse().ok());
            match (answer.code, offset) {
                (response::SUCCESS, Some(offset)) => {
                    with.trace.note(format_args!("bookkeeper {}: {offset} is read", with.group));
                    progress.read(offset, &with.findings);
                }
                (response::QUERY_NOT_FOUND, _) => progress.read(0, &with.findings),
                _ => {}
            }
        }
    }
}

/// Now and then sets its group back, and then has it pull from there after a while.
async fn reset_or_pull(
    with: &KeepBooks,
    client: &RemotingClient,
    dice: &mut Dice,
    progress: &mut KeptProgress,
) {
    let member = dice.pick(&with.members);
    match (dice.below(12), progress.stands_at()) {
        (0, _) => {
            let wanted = i64::try_from(dice.below(1 << 20)).unwrap_or(0);
            let Some(to) = progress.asks_reset(wanted) else { return };
            let mut command = ask(request::INVOKE_BROKER_TO_RESET_OFFSET, &[("offset", to)]);
            command.ext_fields.insert("group", GROUP);
            command.ext_fields.insert("timestamp", 0);
            command.ext_fields.insert("isForce", true);
            let answer = client.invoke(&member, command, PATIENCE).await;
            // An offset that the queue does not have is refused.
            if answer.is_ok_and(|answer| answer.code == response::SUCCESS) {
                with.trace.note(format_args!("bookkeeper {}: reset to {to}", with.group));
                progress.was_reset(to);
            }
        }
        (1 | 2, Some(from)) => {
            progress.pulls(from);
            let mut command = ask(
                request::PULL_MESSAGE,
                &[("queueOffset", from), ("maxMsgNums", 1), ("sysFlag", WITH_SUBSCRIPTION)],
            );
            command.ext_fields.insert("commitOffset", 0);
            command.ext_fields.insert("suspendTimeoutMillis", 0);
            command.ext_fields.insert("subscription", "*");
            command.ext_fields.insert("subVersion", 0);
            let answer = client.invoke(&member, command, PATIENCE).await;
            let code = answer.map(|answer| answer.code);
            with.trace.note(format_args!("bookkeeper {}: pulls {from}: {code:?}", with.group));
        }
        _ => {}
    }
}

fn ask(code: i32, more: &[(&str, i64)]) -> RemotingCommand {
    let mut command = RemotingCommand::request(code);
    command.ext_fields.insert("consumerGroup", GROUP);
    command.ext_fields.insert("topic", TOPIC);
    command.ext_fields.insert("queueId", 0);
    more.iter().for_each(|(name, value)| command.ext_fields.insert(name, *value));
    command
}

async fn create_group(client: &RemotingClient, member: &str) -> bool {
    let mut command = RemotingCommand::request(request::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP);
    command.body = format!("{{\"groupName\":\"{GROUP}\"}}").into();
    let answer = client.invoke(member, command, PATIENCE).await;
    answer.is_ok_and(|answer| answer.code == response::SUCCESS)
}
