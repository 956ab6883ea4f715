//! An operator who sets groups back that consume at the same time.
//!
//! Invariant: it asks for one thing after the other, so that of each queue the last reset is known, or that
//! nobody knows it.

use std::sync::Arc;
use std::time::Duration;

use raftmq::protocol::code::{request, response};
use raftmq::remoting::{ClientOptions, RemotingClient, RemotingCommand};
use tokio::time::sleep;

use super::{IN_ORDER_GROUP, POLLED_GROUP, TOPIC, part};
use crate::cluster::client_address;
use crate::dice::Dice;
use crate::history::{History, Queue};
use crate::invariants::no_gap::NoGap;
use crate::parameters::Parameters;
use crate::trace::Trace;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(3);

/// What the operator works with.
pub struct SetBack {
    /// The run's parameters.
    pub parameters: Arc<Parameters>,
    /// The broker group.
    pub group: usize,
    /// The run's events.
    pub trace: Trace,
    /// Whether there is an end to it.
    pub history: History,
    /// How far groups have come.
    pub no_gap: NoGap,
}

/// Sets groups back now and then, until all is to come to rest.
pub async fn set_back(with: SetBack) {
    let Parameters { seed, in_order, polled, queues, members, .. } = *with.parameters;
    let groups = [(IN_ORDER_GROUP, in_order), (POLLED_GROUP, polled)];
    let groups = groups.into_iter().filter(|(_, consumers)| *consumers > 0);
    let groups: Vec<&'static str> = groups.map(|(name, _)| name).collect();
    let client = RemotingClient::new(ClientOptions::default(), None);
    let mut dice = Dice::of(seed, &part("set back", with.group));
    loop {
        sleep(Duration::from_millis(dice.between(1_000, 8_000))).await;
        if with.history.is_calm() {
            return;
        }
        let name = dice.pick(&groups);
        let id = i32::try_from(dice.below(queues.unsigned_abs() as usize)).unwrap_or(0);
        let queue = Queue { group: with.group, id };
        let reached = with.no_gap.next(name, queue);
        let to = i64::try_from(dice.between(0, reached.unsigned_abs())).unwrap_or(0);
        let member = client_address(with.group, dice.below(members));
        let mut command = RemotingCommand::request(request::INVOKE_BROKER_TO_RESET_OFFSET);
        command.ext_fields.insert("topic", TOPIC);
        command.ext_fields.insert("group", name);
        command.ext_fields.insert("queueId", id);
        command.ext_fields.insert("offset", to);
        command.ext_fields.insert("timestamp", 0);
        command.ext_fields.insert("isForce", true);
        with.no_gap.asks_reset(name, queue);
        let answer = client.invoke(&member, command, PATIENCE).await;
        if answer.is_ok_and(|answer| answer.code == response::SUCCESS) {
            with.trace.note(format_args!("{name} is set back to {to} in {queue}"));
            with.no_gap.was_reset(name, queue, to);
        } else {
            with.no_gap.may_be_reset(name, queue);
        }
    }
}
