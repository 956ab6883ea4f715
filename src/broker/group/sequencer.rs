//! The leader's side: turns proposals into the payload of one entry.
//!
//! Invariant: offsets it assigns continue the applied state and its own entries in flight, without a
//! gap; store timestamps never go backwards, whatever the clock does. The layout is computed before
//! a byte is written, so each record carries the position at which it will be, and each body is
//! copied once.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::BytesMut;
use prost::Message as _;
use raft_log::{Position, Term};

use super::overlay::Overlay;
use super::proposal::{GroupPending, MessagesProposal, Proposal, SendOutcome, Stored};
use super::shared::Shared;
use crate::protocol::topic::TopicConfig;
use crate::replication::machine::{Refusal, Sequencer, Slot};
use crate::state::{Command, CommandBatch, Kind, payload};
use crate::store::hash::FastMap;

/// Bytes that the store timestamp of a batch takes at most, and the length of one more command.
pub(super) const BATCH_OVERHEAD_BYTES: usize = 16;

/// See the module.
pub struct GroupSequencer {
    pub(super) shared: Arc<Shared>,
    pub(super) overlay: Overlay,
    last_store_timestamp_ms: i64,
    /// Number of each queue in the entry under construction, in order of appearance.
    ordinals: FastMap<u64, u32>,
}

/// The entry under construction.
pub(super) struct Plan {
    commands: Vec<Command>,
    command_bytes: usize,
    sends: Vec<PlannedSend>,
    records_bytes: usize,
    record_count: usize,
    pub(super) pending: GroupPending,
}

struct PlannedSend {
    proposal: MessagesProposal,
    queue_id: i32,
    first_offset: i64,
    /// Sends are laid out queue by queue, so that one pull is one stretch of the log.
    ordinal: u32,
}

/// What became of the proposal at the front.
// Returned once per proposal and taken apart at once: boxing would cost an allocation each.
#[allow(clippy::large_enum_variant)]
pub(super) enum Taken {
    /// It is in the plan, or was refused.
    Yes,
    /// It belongs to the next entry.
    NextEntry(Proposal),
}

impl GroupSequencer {
    pub(super) fn new(shared: Arc<Shared>) -> GroupSequencer {
        GroupSequencer {
            shared,
            overlay: Overlay::default(),
            last_store_timestamp_ms: 0,
            ordinals: FastMap::default(),
        }
    }

    fn take(&mut self, plan: &mut Plan, proposal: Proposal, slot: &Slot<'_>) -> Taken {
        match proposal {
            Proposal::Messages(messages) => self.take_messages(plan, messages, slot),
            Proposal::Delivery(delivery) => self.take_delivery(plan, delivery, slot),
            Proposal::Command { mut command, reply } => {
                self.stamp(&mut command);
                let bytes = command.encoded_len() + BATCH_OVERHEAD_BYTES;
                // Commands precede the records of their entry; messages sent before a topic's
                // deletion must not come behind it.
                let deletes = matches!(command.kind, Some(Kind::DeleteTopic(_)));
                if plan.exceeds(bytes, slot.payload_bytes_limit, true) {
                    Proposal::Command { command, reply }.refused(Refusal::TooLarge);
                    return Taken::Yes;
                }
                if plan.exceeds(bytes, slot.payload_bytes_target, false)
                    || (deletes && !plan.sends.is_empty())
                {
                    return Taken::NextEntry(Proposal::Command { command, reply });
                }
                self.overlay.command(&command, &self.shared.state.read());
                plan.command(command);
                plan.pending.commands.push(reply);
                Taken::Yes
            }
        }
    }

    /// A lease counts from when its entry is written, not from when it was asked for.
    fn stamp(&self, command: &mut Command) {
        if let Some(Kind::LockQueues(lock)) = &mut command.kind {
            lock.lease_time_ms = self.shared.lease_clock.now_ms().unwrap_or(0);
        }
    }

    fn take_messages(
        &mut self,
        plan: &mut Plan,
        messages: MessagesProposal,
        slot: &Slot<'_>,
    ) -> Taken {
        let Some(records_bytes) = messages.records_bytes() else {
            (messages.reply)(SendOutcome::Refused(Refusal::TooLarge));
            return Taken::Yes;
        };
        let topic = self.known_topic(&messages.topic);
        let own = |config: &Arc<TopicConfig>| *config.topic_name == *messages.topic;
        if !self.overlay.exists(topic) && !messages.create_topics.iter().any(own) {
            (messages.reply)(SendOutcome::TopicNotFound);
            return Taken::Yes;
        }
        let mut creates = Vec::new();
        for config in &messages.create_topics {
            let created = self.known_topic(&config.topic_name);
            if !self.overlay.exists(created) {
                creates.push(Command::create_topic_if_absent(config));
            }
        }
        let create_bytes: usize =
            creates.iter().map(|create| create.encoded_len() + BATCH_OVERHEAD_BYTES).sum();
        let bytes = records_bytes + create_bytes;
        if plan.exceeds(bytes, slot.payload_bytes_limit, true) {
            (messages.reply)(SendOutcome::Refused(Refusal::TooLarge));
            return Taken::Yes;
        }
        if plan.exceeds(bytes, slot.payload_bytes_target, false) {
            return Taken::NextEntry(Proposal::Messages(messages));
        }
        for create in creates {
            self.overlay.command(&create, &self.shared.state.read());
            plan.command(create);
        }
        self.place(plan, topic, messages, records_bytes);
        Taken::Yes
    }

    /// Number in the overlay of a topic, whether it exists or not.
    pub(super) fn known_topic(&mut self, topic: &str) -> u32 {
        let shared = &self.shared;
        self.overlay.topic(topic, || {
            shared.topics.read().get(topic).map(|topic| topic.config.write_queue_nums)
        })
    }

    /// When the entry under construction will have been stored.
    pub(super) fn store_timestamp_ms(&self, slot: &Slot<'_>) -> i64 {
        self.last_store_timestamp_ms.max(slot.now_ms)
    }

    /// Plans messages for a topic that exists, at the end of their queue.
    pub(super) fn place(
        &mut self,
        plan: &mut Plan,
        topic: u32,
        messages: MessagesProposal,
        records_bytes: usize,
    ) {
        let queue_id = self.overlay.queue_id(topic, messages.queue_id);
        let count = messages.messages.len();
        let first_offset = self.overlay.assign(topic, queue_id, count, &|topic, queue_id| {
            let state = self.shared.state.read();
            state.topics().get(topic).map_or(0, |topic| topic.queues.next(queue_id))
        });
        let key = u64::from(topic) << 32 | u64::from(queue_id.cast_unsigned());
        let next = u32::try_from(self.ordinals.len()).expect("queues of one entry are few");
        let ordinal = *self.ordinals.entry(key).or_insert(next);
        plan.records_bytes += records_bytes;
        plan.record_count += count;
        plan.sends.push(PlannedSend { proposal: messages, queue_id, first_offset, ordinal });
    }
}

impl Sequencer for GroupSequencer {
    type Proposal = Proposal;
    type Pending = GroupPending;

    fn weight(proposal: &Proposal) -> usize {
        proposal.weight()
    }

    fn begin_term(&mut self, _term: Term) {
        #[cfg(madsim)]
        if crate::mistake::made(crate::mistake::Mistake::KeepsOldOffsets) {
            return;
        }
        self.overlay.clear();
        let state = self.shared.state.read();
        self.last_store_timestamp_ms = state.last_store_timestamp_ms();
        self.shared.lease_clock.begin(state.locks().lease_time_ms());
    }

    fn end_term(&mut self) {
        self.shared.lease_clock.end();
        #[cfg(madsim)]
        if crate::mistake::made(crate::mistake::Mistake::KeepsOldOffsets) {
            return;
        }
        self.overlay.clear();
    }

    fn sequence(
        &mut self,
        queue: &mut VecDeque<Proposal>,
        slot: &Slot<'_>,
        payload: &mut BytesMut,
    ) -> Option<GroupPending> {
        let mut plan = Plan::new(queue.len());
        self.ordinals.clear();
        while let Some(proposal) = queue.pop_front() {
            if let Taken::NextEntry(proposal) = self.take(&mut plan, proposal, slot) {
                queue.push_front(proposal);
                break;
            }
        }
        if plan.sends.is_empty() && plan.commands.is_empty() {
            return None;
        }
        self.last_store_timestamp_ms = self.store_timestamp_ms(slot);
        #[cfg(madsim)]
        if crate::mistake::made(crate::mistake::Mistake::TimeGoesBack) {
            self.last_store_timestamp_ms = slot.now_ms;
        }
        Some(plan.write(slot, self.last_store_timestamp_ms, payload))
    }

    fn refuse(proposal: Proposal, refusal: Refusal) {
        proposal.refused(refusal);
    }

    fn abandon(pending: GroupPending, refusal: Refusal) {
        pending.refused(&refusal);
    }
}

impl Plan {
    fn new(proposals: usize) -> Plan {
        Plan {
            commands: Vec::new(),
            command_bytes: BATCH_OVERHEAD_BYTES,
            sends: Vec::with_capacity(proposals),
            records_bytes: 0,
            record_count: 0,
            pending: GroupPending::default(),
        }
    }

    /// Whether `bytes` more, alone or with what is planned, would exceed a bound.
    pub(super) fn exceeds(&self, bytes: usize, bound: usize, alone: bool) -> bool {
        let empty = self.sends.is_empty() && self.commands.is_empty();
        let planned = match (alone, empty) {
            (true, _) => BATCH_OVERHEAD_BYTES,
            // The first of an entry may exceed the target.
            (false, true) => return false,
            (false, false) => self.command_bytes + self.records_bytes,
        };
        payload::PREFIX_BYTES + planned + bytes > bound
    }

    pub(super) fn command(&mut self, command: Command) {
        self.command_bytes += command.encoded_len() + BATCH_OVERHEAD_BYTES;
        self.commands.push(command);
    }

    fn write(
        mut self,
        slot: &Slot<'_>,
        store_timestamp_ms: i64,
        payload: &mut BytesMut,
    ) -> GroupPending {
        // Stable: inside a queue the order of arrival stays.
        self.sends.sort_by_key(|send| send.ordinal);
        let batch = CommandBatch { commands: self.commands, store_timestamp_ms };
        let records_start = payload::PREFIX_BYTES + batch.encoded_len();
        let total = records_start + self.records_bytes;
        let base = (slot.place)(total);
        assert!(payload.is_empty(), "an entry's payload begins empty");
        payload.reserve(total);
        payload::begin(&batch, self.record_count, payload);
        self.pending.sends.reserve(self.sends.len());
        for send in self.sends {
            let stored = send.encode(base, store_timestamp_ms, payload);
            self.pending.sends.push((send.proposal.reply, stored));
        }
        assert_eq!(payload.len(), total, "a payload has the length for which it was placed");
        self.pending
    }
}

impl PlannedSend {
    fn encode(&self, base: Position, store_timestamp_ms: i64, payload: &mut BytesMut) -> Stored {
        let mut stored = Stored {
            queue_id: self.queue_id,
            first_queue_offset: self.first_offset,
            first_position: Position(base.0 + payload.len() as u64),
            more_positions: Vec::new(),
            store_timestamp_ms,
        };
        for (i, message) in self.proposal.messages.iter().enumerate() {
            let position = Position(base.0 + payload.len() as u64);
            if i > 0 {
                stored.more_positions.push(position);
            }
            let mut parts = message.parts(&self.proposal.topic);
            parts.queue_id = self.queue_id;
            parts.queue_offset = self.first_offset + i as i64;
            parts.physical_offset = position.0.cast_signed();
            parts.store_timestamp_ms = store_timestamp_ms;
            parts.encode(payload);
        }
        stored
    }
}
