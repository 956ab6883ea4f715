//! Delayed messages on their way out of their level.
//!
//! Invariant: one entry holds the messages and moves the level on behind them. It is written only if
//! the level, with all entries in flight, stands exactly where the proposal says, and not before its
//! messages are due; so a proposal whose outcome nobody knows may be repeated, by whoever leads.

use std::sync::Arc;

use prost::Message as _;
use smallvec::SmallVec;

use super::proposal::{CommandOutcome, MessagesProposal, NewMessage, Proposal, records_bytes};
use super::sequencer::{BATCH_OVERHEAD_BYTES, GroupSequencer, Plan, Taken};
use crate::replication::machine::{Refusal, Slot};
use crate::state::Command;

/// Hears how a delivery went; must not block.
pub type DeliveryReply = Box<dyn FnOnce(DeliveryOutcome) + Send>;

/// Messages of one level whose time has come.
pub struct DeliveryProposal {
    /// The level's queue in the schedule topic.
    pub queue_id: i32,
    /// Offset in it at which the level stands.
    pub from: i64,
    /// Offset behind the last message delivered, or given up, with this.
    pub until: i64,
    /// The last of them is due.
    pub due_ms: i64,
    /// The messages.
    pub messages: Vec<DueMessages>,
    /// Hears of it.
    pub reply: DeliveryReply,
}

/// Those of them for one queue of one topic, in the order in which they waited.
pub struct DueMessages {
    /// The topic to which they were sent.
    pub topic: Arc<str>,
    /// Its queue.
    pub queue_id: i32,
    /// At least one.
    pub messages: SmallVec<[NewMessage; 1]>,
}

/// How a delivery went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeliveryOutcome {
    /// Committed, and visible to consumers.
    Delivered {
        /// Messages whose topic is gone, and which went with it.
        discarded: usize,
    },
    /// The level stands elsewhere by now, or the messages are not due. Nothing was written.
    Void,
    /// See the refusal.
    Refused(Refusal),
}

impl DeliveryProposal {
    pub(super) fn weight(&self) -> usize {
        self.messages.iter().flat_map(|due| &due.messages).map(NewMessage::weight).sum()
    }
}

impl GroupSequencer {
    pub(super) fn take_delivery(
        &mut self,
        plan: &mut Plan,
        delivery: DeliveryProposal,
        slot: &Slot<'_>,
    ) -> Taken {
        let DeliveryProposal { queue_id, from, until, due_ms, .. } = delivery;
        if self.level_stands_at(queue_id) != from || self.store_timestamp_ms(slot) < due_ms {
            (delivery.reply)(DeliveryOutcome::Void);
            return Taken::Yes;
        }
        let advance = Command::advance_schedule(queue_id, from, until);
        let mut bytes = advance.encoded_len() + BATCH_OVERHEAD_BYTES;
        let mut discarded = 0;
        // Nothing is planned before everything is known to fit.
        let mut kept = Vec::with_capacity(delivery.messages.len());
        for due in &delivery.messages {
            let topic = self.known_topic(&due.topic);
            let exists = self.overlay.exists(topic);
            let Some(records_bytes) = records_bytes(&due.topic, &due.messages) else {
                (delivery.reply)(DeliveryOutcome::Refused(Refusal::TooLarge));
                return Taken::Yes;
            };
            if exists {
                bytes += records_bytes;
            } else {
                discarded += due.messages.len();
            }
            kept.push(exists.then_some((topic, records_bytes)));
        }
        if plan.exceeds(bytes, slot.payload_bytes_limit, true) {
            (delivery.reply)(DeliveryOutcome::Refused(Refusal::TooLarge));
            return Taken::Yes;
        }
        if plan.exceeds(bytes, slot.payload_bytes_target, false) {
            return Taken::NextEntry(Proposal::Delivery(delivery));
        }
        #[cfg(not(madsim))]
        let moves_on = true;
        #[cfg(madsim)]
        let moves_on = !crate::mistake::made(crate::mistake::Mistake::DeliversBeforeAdvance);
        if moves_on {
            self.overlay.advance_schedule(queue_id, until);
            plan.command(advance);
        }
        for (due, kept) in delivery.messages.into_iter().zip(kept) {
            let Some((topic, records_bytes)) = kept else { continue };
            self.place(plan, topic, due.into(), records_bytes);
        }
        let reply = delivery.reply;
        plan.pending.commands.push(Box::new(move |outcome| {
            reply(match outcome {
                CommandOutcome::Applied { .. } => DeliveryOutcome::Delivered { discarded },
                CommandOutcome::Refused(refusal) => DeliveryOutcome::Refused(refusal),
            });
        }));
        Taken::Yes
    }

    /// Where the level will stand once everything in flight is applied.
    fn level_stands_at(&self, queue_id: i32) -> i64 {
        let in_flight = self.overlay.schedule(queue_id);
        in_flight.unwrap_or_else(|| self.shared.state.read().schedule().next(queue_id))
    }
}

impl From<DueMessages> for MessagesProposal {
    fn from(due: DueMessages) -> MessagesProposal {
        let DueMessages { topic, queue_id, messages } = due;
        // Their sender was answered when they began to wait.
        MessagesProposal {
            topic,
            create_topics: Vec::new(),
            messages,
            queue_id,
            reply: Box::new(drop),
        }
    }
}
