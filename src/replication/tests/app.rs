//! The smallest application: a list of numbers, each stored with some padding.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::{Buf, BufMut, BytesMut};
use parking_lot::Mutex;
use raft_log::{LogIndex, Position, Term};
use tokio::sync::oneshot;

use crate::replication::machine::{ApplyOutcome, Committed, Machine, Refusal, Sequencer, Slot};

pub type Answer = Result<(LogIndex, Position), Refusal>;

/// A number to append.
#[derive(Debug)]
pub struct Append {
    pub value: u64,
    pub padding_bytes: usize,
    pub reply: oneshot::Sender<Answer>,
}

impl Append {
    pub fn new(value: u64, padding_bytes: usize) -> (Append, oneshot::Receiver<Answer>) {
        let (reply, answer) = oneshot::channel();
        (Append { value, padding_bytes, reply }, answer)
    }
}

/// Everything a test may ask of a member's state; outlives the member.
#[derive(Default)]
pub struct State {
    pub values: Vec<u64>,
    pub applied: u64,
    pub restored: usize,
    /// Ask for compaction up to the segment boundary below this.
    pub compact_to: Option<Position>,
    /// Terms that the sequencer was told of: begun and ended.
    pub begun: Vec<u64>,
    pub ended: usize,
    /// The next restore waits for the other end to be dropped; on a runtime with several threads.
    pub hold_restore: Option<std::sync::mpsc::Receiver<()>>,
}

pub type Shared = Arc<Mutex<State>>;

/// Who waits for one entry, and where it was promised to lie.
pub struct Waiters {
    index: LogIndex,
    payload_position: Position,
    replies: Vec<oneshot::Sender<Answer>>,
}

pub struct AppSequencer(pub Shared);

impl Sequencer for AppSequencer {
    type Proposal = Append;
    type Pending = Waiters;

    fn weight(proposal: &Append) -> usize {
        12 + proposal.padding_bytes
    }

    fn begin_term(&mut self, term: Term) {
        self.0.lock().begun.push(term.0);
    }

    fn end_term(&mut self) {
        self.0.lock().ended += 1;
    }

    fn sequence(
        &mut self,
        queue: &mut VecDeque<Append>,
        slot: &Slot<'_>,
        payload: &mut BytesMut,
    ) -> Option<Waiters> {
        let mut replies = Vec::new();
        while let Some(next) = queue.front() {
            let bytes = AppSequencer::weight(next);
            if !replies.is_empty() && payload.len() + bytes > slot.payload_bytes_target {
                break;
            }
            let next = queue.pop_front()?;
            if bytes > slot.payload_bytes_limit {
                AppSequencer::refuse(next, Refusal::TooLarge);
                continue;
            }
            payload.put_u64(next.value);
            payload.put_u32(u32::try_from(next.padding_bytes).unwrap());
            payload.put_bytes(0xab, next.padding_bytes);
            replies.push(next.reply);
        }
        let payload_position = (slot.place)(payload.len());
        let waiters = Waiters { index: slot.index, payload_position, replies };
        (!waiters.replies.is_empty()).then_some(waiters)
    }

    fn refuse(proposal: Append, refusal: Refusal) {
        let _ = proposal.reply.send(Err(refusal));
    }

    fn abandon(pending: Waiters, refusal: Refusal) {
        for reply in pending.replies {
            let _ = reply.send(Err(refusal.clone()));
        }
    }
}

pub struct AppMachine(pub Shared);

impl Machine for AppMachine {
    type Pending = Waiters;

    fn applied(&self) -> LogIndex {
        LogIndex(self.0.lock().applied)
    }

    fn apply(&mut self, entry: Committed, pending: Option<Waiters>) -> ApplyOutcome {
        let mut state = self.0.lock();
        let mut payload = entry.payload;
        let mut count = 0;
        while payload.has_remaining() {
            state.values.push(payload.get_u64());
            let padding_bytes = payload.get_u32() as usize;
            assert!(payload[..padding_bytes].iter().all(|&byte| byte == 0xab));
            payload.advance(padding_bytes);
            count += 1;
        }
        state.applied = entry.index.0;
        if let Some(waiters) = pending {
            assert_eq!(waiters.index, entry.index, "the index that was promised");
            assert_eq!(waiters.payload_position, entry.payload_position, "and the position");
            assert_eq!(waiters.replies.len(), count);
            for reply in waiters.replies {
                let _ = reply.send(Ok((entry.index, entry.payload_position)));
            }
        }
        ApplyOutcome { compact_to: state.compact_to.take() }
    }

    fn batch_applied(&mut self) {}

    fn snapshot(&mut self) -> Vec<u8> {
        self.0.lock().values.iter().flat_map(|value| value.to_be_bytes()).collect()
    }

    fn restore(
        &mut self,
        index: LogIndex,
        _log_start: Position,
        snapshot: &[u8],
    ) -> Result<(), String> {
        let (values, rest) = snapshot.as_chunks::<8>();
        if !rest.is_empty() {
            return Err("not a list of numbers".to_owned());
        }
        let held = self.0.lock().hold_restore.take();
        if let Some(held) = held {
            let _ = tokio::task::block_in_place(|| held.recv());
        }
        let mut state = self.0.lock();
        state.values = values.iter().map(|bytes| u64::from_be_bytes(*bytes)).collect();
        state.applied = index.0;
        state.restored += 1;
        Ok(())
    }
}
