//! A client that consumes in order, as far as its locks are concerned: it locks queues, asks for them again,
//! lets some go, and leaves or dies, and comes back as another one.
//!
//! Invariant: it goes by no lock that it has said it lets go, and when it does not know what became of a
//! request to let go it goes on as another client: that request may still arrive.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use raftmq::protocol::body::{LockBatchRequest, LockBatchResponse};
use raftmq::protocol::code::{request, response};
use raftmq::protocol::fastjson::JsonBody as _;
use raftmq::protocol::heartbeat::{ConsumerData, HeartbeatData, SubscriptionData};
use raftmq::protocol::queue::MessageQueue;
use raftmq::remoting::{ClientOptions, RemotingClient, RemotingCommand};
use tokio::time::sleep;

use super::{TOPIC, part};
use crate::cluster::{client_address, group_name};
use crate::dice::Dice;
use crate::history::Queue;
use crate::invariants::Findings;
use crate::invariants::one_holder::OneHolder;
use crate::parameters::Parameters;
use crate::trace::Trace;

const GROUP: &str = "in-order";
/// How long an answer may take; less than brokers think.
const PATIENCE: Duration = Duration::from_millis(2_500);

/// What a locker works with.
pub struct Lock {
    /// Which of its group's lockers it is.
    pub number: usize,
    /// The group whose queues it locks.
    pub group: usize,
    /// The run's parameters.
    pub parameters: Arc<Parameters>,
    /// The run's events.
    pub trace: Trace,
    /// Who holds what.
    pub holders: OneHolder,
    /// Where two holders are reported.
    pub findings: Findings,
}

/// One life of a locker.
struct Client<'a> {
    with: &'a Lock,
    id: String,
    remoting: RemotingClient,
}

/// Locks and lets go for ever.
pub async fn lock_queues(with: Lock) {
    let name = format!("locker {}", with.number);
    let mut dice = Dice::of(with.parameters.seed, &part(&name, with.group));
    for life in 0.. {
        let remoting = RemotingClient::new(ClientOptions::default(), None);
        let client = Client { with: &with, id: format!("{name}.{life}"), remoting };
        client.live(&mut dice).await;
        client.lets_go(client.queues());
        if dice.one_in(2) {
            client.leave().await;
        }
        client.remoting.shutdown();
        with.trace.note(format_args!("{} of {} is gone", client.id, group_name(with.group)));
        sleep(Duration::from_millis(dice.between(100, 3_000))).await;
    }
}

impl Client<'_> {
    async fn live(&self, dice: &mut Dice) {
        self.heartbeat().await;
        for _ in 0..dice.between(2, 40) {
            sleep(Duration::from_millis(dice.between(50, 2_000))).await;
            let member = self.address(dice.below(self.with.parameters.members));
            let queues: BTreeSet<Queue> = self.queues().filter(|_| dice.one_in(2)).collect();
            match dice.below(8) {
                0 => self.heartbeat().await,
                1 if !self.unlock(&member, &queues).await => return,
                1 => {}
                _ => self.lock(&member, &queues).await,
            }
        }
    }

    async fn lock(&self, member: &str, queues: &BTreeSet<Queue>) {
        let asked = self.ask(member, request::LOCK_BATCH_MQ, self.batch(queues));
        let Some(answer) = asked.await else { return };
        let Ok(LockBatchResponse { locked }) = LockBatchResponse::decode(&answer.body) else {
            return;
        };
        let (trace, group) = (&self.with.trace, self.with.group);
        let held = locked.iter().map(|queue| Queue { group, id: queue.queue_id }).collect();
        trace.note(format_args!("{} holds {locked:?}", self.id));
        let Lock { holders, findings, .. } = self.with;
        holders.told(&self.id, (queues, &held), trace.elapsed(), findings);
    }

    /// Whether it is known that they are let go.
    async fn unlock(&self, member: &str, queues: &BTreeSet<Queue>) -> bool {
        self.lets_go(queues.iter().copied());
        self.ask(member, request::UNLOCK_BATCH_MQ, self.batch(queues)).await.is_some()
    }

    fn lets_go(&self, queues: impl IntoIterator<Item = Queue>) {
        self.with.holders.lets_go(&self.id, queues);
    }

    /// Unregisters with all members.
    async fn leave(&self) {
        for member in 0..self.with.parameters.members {
            let mut command = RemotingCommand::request(request::UNREGISTER_CLIENT);
            command.ext_fields.insert("clientID", &self.id);
            command.ext_fields.insert("consumerGroup", GROUP);
            self.remoting.invoke_oneway(&self.address(member), command);
        }
        // Otherwise the connections would be closed before.
        sleep(PATIENCE).await;
    }

    /// Without it a leader takes a holder that it has not seen for long for gone.
    async fn heartbeat(&self) {
        let consumer = ConsumerData {
            group_name: GROUP.to_owned(),
            subscription_data_set: vec![SubscriptionData {
                topic: TOPIC.to_owned(),
                sub_string: "*".to_owned(),
                ..SubscriptionData::default()
            }],
            ..ConsumerData::default()
        };
        let heartbeat = HeartbeatData {
            client_id: self.id.clone(),
            consumer_data_set: vec![consumer],
            ..HeartbeatData::default()
        };
        for member in 0..self.with.parameters.members {
            let mut command = RemotingCommand::request(request::HEART_BEAT);
            command.body = heartbeat.encode();
            self.remoting.invoke_oneway(&self.address(member), command);
        }
    }

    async fn ask(&self, member: &str, code: i32, body: bytes::Bytes) -> Option<RemotingCommand> {
        let mut command = RemotingCommand::request(code);
        command.body = body;
        let answer = self.remoting.invoke(member, command, PATIENCE).await.ok()?;
        (answer.code == response::SUCCESS).then_some(answer)
    }

    fn batch(&self, queues: &BTreeSet<Queue>) -> bytes::Bytes {
        let queue = |queue: &Queue| MessageQueue {
            broker_name: group_name(queue.group).to_owned(),
            queue_id: queue.id,
            topic: TOPIC.to_owned(),
        };
        let request = LockBatchRequest {
            client_id: self.id.clone(),
            consumer_group: GROUP.to_owned(),
            mq_set: queues.iter().map(queue).collect(),
            only_this_broker: false,
        };
        request.encode()
    }

    fn queues(&self) -> impl Iterator<Item = Queue> + use<> {
        let group = self.with.group;
        (0..self.with.parameters.queues).map(move |id| Queue { group, id })
    }

    fn address(&self, member: usize) -> String {
        client_address(self.with.group, member)
    }
}
