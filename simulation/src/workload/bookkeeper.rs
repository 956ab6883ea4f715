//! A client that reports to a broker group how far a consumer group has come, always a little further, and
//! reads it back.
//!
//! It asks any member, whoever leads.
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
    let mut progress = KeptProgress::default();
    while !create_group(&client, &dice.pick(&with.members)).await {
        sleep(Duration::from_millis(200)).await;
    }
    loop {
        sleep(Duration::from_millis(dice.between(50, 400))).await;
        let member = dice.pick(&with.members);
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
