//! Linearizable reads: one round of heartbeats confirms the leader for all reads that gathered.
//!
//! Invariant: a read is answered only after a majority confirmed, later than the read was asked, that
//! this member leads, and after everything committed by then is applied here.

use std::collections::VecDeque;

use raft_log::{Disk, LogIndex};
use tokio::sync::oneshot;

use super::Owner;
use crate::replication::machine::{Refusal, Sequencer};

type Reply = oneshot::Sender<Result<LogIndex, Refusal>>;

/// Reads on their way.
#[derive(Default)]
pub(super) struct Reads {
    /// Not asked yet.
    gathered: Vec<Reply>,
    /// Asked in rounds, oldest first.
    asked: VecDeque<(u64, Vec<Reply>)>,
    /// Confirmed, waiting for their index to be applied; ascending.
    confirmed: VecDeque<(LogIndex, Vec<Reply>)>,
    rounds: u64,
}

impl Reads {
    /// One more.
    pub fn push(&mut self, reply: Reply) {
        self.gathered.push(reply);
    }

    /// Starts a round with all that gathered; its number, for raft.
    fn ask(&mut self) -> Option<Vec<u8>> {
        if self.gathered.is_empty() {
            return None;
        }
        self.rounds += 1;
        self.asked.push_back((self.rounds, std::mem::take(&mut self.gathered)));
        Some(self.rounds.to_be_bytes().to_vec())
    }

    /// A majority confirmed the round; `index` was committed when it began.
    pub fn confirmed(&mut self, context: &[u8], index: LogIndex, applied: LogIndex) {
        let Ok(round) = context.try_into().map(u64::from_be_bytes) else { return };
        // A round confirms those before it.
        while self.asked.front().is_some_and(|(asked, _)| *asked <= round) {
            if let Some((_, replies)) = self.asked.pop_front() {
                self.confirmed.push_back((index, replies));
            }
        }
        self.applied(applied);
    }

    /// Everything up to `applied` is applied.
    pub fn applied(&mut self, applied: LogIndex) {
        while self.confirmed.front().is_some_and(|(index, _)| *index <= applied) {
            let Some((index, replies)) = self.confirmed.pop_front() else { return };
            for reply in replies {
                // The reader may have given up.
                let _ = reply.send(Ok(index));
            }
        }
    }

    /// The next index whose application lets a read go.
    pub fn next_index(&self) -> Option<LogIndex> {
        self.confirmed.front().map(|(index, _)| *index)
    }

    /// Leadership ended: none of them will be confirmed. Those that were are answered in time.
    pub fn fail(&mut self, refusal: &Refusal) {
        let asked = self.asked.drain(..).flat_map(|(_, replies)| replies);
        for reply in asked.chain(self.gathered.drain(..)) {
            let _ = reply.send(Err(refusal.clone()));
        }
    }
}

impl<D: Disk, S: Sequencer> Owner<D, S> {
    /// Asks the group for all reads that gathered. Before this leader serves raft would drop them.
    pub(super) fn ask_reads(&mut self) {
        if self.leading.is_some_and(|leading| leading.serving)
            && let Some(context) = self.reads.ask()
        {
            self.raft.read_index(context);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_read_waits_for_its_round_and_for_its_index() {
        let mut reads = Reads::default();
        let (first, mut first_answer) = oneshot::channel();
        reads.push(first);
        let round = reads.ask().unwrap();
        assert!(reads.ask().is_none());
        let (second, mut second_answer) = oneshot::channel();
        reads.push(second);
        let later = reads.ask().unwrap();
        reads.confirmed(&round, LogIndex(5), LogIndex(4));
        assert!(first_answer.try_recv().is_err(), "not applied yet");
        assert_eq!(reads.next_index(), Some(LogIndex(5)));
        reads.applied(LogIndex(5));
        assert_eq!(first_answer.try_recv().unwrap(), Ok(LogIndex(5)));
        assert!(second_answer.try_recv().is_err(), "its round is not confirmed");
        reads.confirmed(&later, LogIndex(6), LogIndex(6));
        assert_eq!(second_answer.try_recv().unwrap(), Ok(LogIndex(6)));
    }

    #[test]
    fn the_end_of_leadership_fails_what_is_not_confirmed() {
        let mut reads = Reads::default();
        let (asked, mut asked_answer) = oneshot::channel();
        reads.push(asked);
        reads.ask();
        let (gathered, mut gathered_answer) = oneshot::channel();
        reads.push(gathered);
        reads.fail(&Refusal::NotLeader { leader: Some(2) });
        assert!(asked_answer.try_recv().unwrap().is_err());
        assert!(gathered_answer.try_recv().unwrap().is_err());
    }
}
