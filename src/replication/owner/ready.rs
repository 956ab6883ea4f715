//! From raft's ready to disk, network and applier, in the order that safety requires.
//!
//! A leader's messages go out before its own disk is asked: the followers' disks then work beside it.
//!
//! Invariant: entries are readable in the log before raft is told to go on; a ready is reported as
//! persisted only when it and all before it are; a term or a vote is durable before any message that
//! depends on it leaves.

use std::task::Poll;

use raft::eraftpb::{Message, MessageType};
use raft::{Ready, Storage as _};
use raft_log::{BoundarySnapshot, Disk, LogError, LogIndex, Term};
use tokio::time::Instant;

use super::persist::Need;
use super::{BACKGROUND_SYNC, Owner};
use crate::replication::applier::Work;
use crate::replication::fatal::MemberError;
use crate::replication::figures::microseconds;
use crate::replication::machine::Sequencer;
use crate::replication::options::FlushMode;
use crate::replication::wire::Parcel;

impl<D: Disk, S: Sequencer> Owner<D, S> {
    /// Handles whatever raft has ready, until it has nothing.
    pub(super) async fn ready(&mut self) -> Result<(), MemberError> {
        loop {
            self.observe_role();
            self.report_unreachable();
            if !self.raft.has_ready() {
                return Ok(());
            }
            if self.raft.snap().is_some_and(|snapshot| !snapshot.is_empty()) {
                self.install().await?;
            } else {
                self.handle_ready().await?;
            }
        }
    }

    async fn handle_ready(&mut self) -> Result<(), MemberError> {
        let mut ready = self.raft.ready();
        let messages = ready.take_messages();
        let carries_entries = messages.iter().any(|message| !message.entries.is_empty());
        self.send(messages);
        if carries_entries {
            // Now, so that entries are on the wire while they are prepared for the disk here.
            let_others_run().await;
        }
        self.keep_claim(&ready).await?;
        let need = self.write(&mut ready)?;
        let committed = ready.take_committed_entries();
        if let Some(last) = committed.last() {
            self.handed(LogIndex(last.index));
        }
        self.hand_committed(committed)?;
        for state in ready.take_read_states() {
            self.reads.confirmed(&state.request_ctx, LogIndex(state.index), self.applier.applied());
        }
        let number = ready.number();
        let mut messages = ready.take_persisted_messages();
        self.raft.advance_append_async(ready);
        if need != Need::Nothing || !self.persist.is_clear() {
            self.send_ahead(&mut messages);
            self.persist.push(number, need, messages);
        } else {
            self.send(messages);
            self.raft.on_persist_ready(number);
        }
        Ok(())
    }

    /// Appends the ready's entries, stages its hard state, and says what must happen before it counts.
    fn write(&mut self, ready: &mut Ready) -> Result<Need, LogError> {
        let mut need = Need::Nothing;
        let entries = ready.take_entries();
        if !entries.is_empty() {
            self.raft.mut_store().append(&entries)?;
            self.persist.mark_dirty();
            need = match self.options.flush_mode {
                FlushMode::Sync => Need::Durable,
                FlushMode::Async => Need::Written,
            };
            #[cfg(madsim)]
            if crate::mistake::made(crate::mistake::Mistake::ReportsBeforeSync) {
                need = Need::Nothing;
            }
        }
        if let Some(hard_state) = ready.hs() {
            // A commit index alone is not worth a write: it is learned again after a restart.
            let promised =
                hard_state.term != self.hard_state.term || hard_state.vote != self.hard_state.vote;
            if promised {
                self.hard_state = hard_state.clone();
                self.raft.mut_store().set_hard_state(hard_state.clone());
                self.persist.mark_dirty();
                need = Need::Durable;
                #[cfg(madsim)]
                if crate::mistake::made(crate::mistake::Mistake::VotesBeforeSync) {
                    need = Need::Nothing;
                }
            }
        }
        Ok(need)
    }

    /// Answers to heartbeats promise nothing that is not durable yet, as long as their term is: a
    /// slow disk must not make the leader believe that it lost its quorum.
    fn send_ahead(&mut self, messages: &mut Vec<Message>) {
        let durable_term = self.durable_term;
        let may_leave = |message: &mut Message| {
            message.get_msg_type() == MessageType::MsgHeartbeatResponse
                && message.term == durable_term
        };
        let ahead: Vec<Message> = messages.extract_if(.., may_leave).collect();
        self.send(ahead);
    }

    /// Starts a write or a sync when something waits for it, or when enough time passed since the last.
    pub(super) fn sync(&mut self) {
        let now = Instant::now();
        let overdue = now >= self.next_background_sync
            && !self.persist.is_syncing()
            && (self.persist.is_dirty() || self.raft.store().wants_sync_at_rest());
        let wanted = if overdue { Need::Durable } else { self.persist.wanted() };
        match wanted {
            Need::Nothing => {}
            Need::Written => {
                let written = self.raft.mut_store().begin_write();
                self.persist.begin(Box::pin(written), wanted, self.durable_term);
            }
            Need::Durable => {
                self.next_background_sync = now + BACKGROUND_SYNC;
                self.pace_sync(now);
                self.sync_began = Some(now);
                self.memory.claims.sync_began(self.raft.store().claim());
                let synced = self.raft.mut_store().begin_sync();
                self.persist.begin(Box::pin(synced), wanted, self.hard_state.term);
            }
        }
    }

    /// A sync finished.
    pub(super) fn synced(&mut self, released: super::persist::Released) {
        self.durable_term = self.durable_term.max(released.term);
        if let Some(began) = self.sync_began.take() {
            let now = Instant::now();
            self.memory.claims.synced();
            self.figures.sync_us.observe(microseconds(now - began));
            if self.pace.measures() {
                self.pace.ended(now);
            }
        }
        self.send(released.messages);
        self.raft.on_persist_ready(released.number);
    }

    pub(super) fn send(&mut self, messages: Vec<Message>) {
        for message in messages {
            let to = message.to;
            self.news.sent(&message);
            if message.get_msg_type() == MessageType::MsgSnapshot {
                self.peers.send_snapshot(message);
            } else if !self.peers.send(Parcel::Raft(message)) {
                self.unreachable.insert(to);
            }
        }
    }

    fn report_unreachable(&mut self) {
        while let Some(peer) = self.unreachable.pop_first() {
            self.raft.report_unreachable(peer);
        }
    }

    /// Replaces the log and the state by a snapshot that the leader sent.
    async fn install(&mut self) -> Result<(), MemberError> {
        // Nothing may be under way for a log that is about to be replaced.
        while self.persist.is_syncing() || self.persist.wanted() != Need::Nothing {
            self.sync();
            let released = self.persist.finished().await?;
            self.synced(released);
        }
        let mut ready = self.raft.ready();
        let snapshot = ready.snapshot().clone();
        let metadata = snapshot.get_metadata();
        let (index, term) = (LogIndex(metadata.index), Term(metadata.term));
        tracing::info!(
            group = %self.options.group, index = index.0, term = term.0,
            bytes = snapshot.get_data().len(), "installing a snapshot"
        );
        self.keep_claim(&ready).await?;
        if let Some(hard_state) = ready.hs() {
            self.hard_state = hard_state.clone();
            self.raft.mut_store().set_hard_state(hard_state.clone());
        }
        let state = BoundarySnapshot::from_raft(&snapshot)?.state;
        self.raft.mut_store().install_snapshot(&snapshot)?;
        let entries = ready.take_entries();
        if !entries.is_empty() {
            self.raft.mut_store().append(&entries)?;
        }
        self.raft.mut_store().begin_sync().await?;
        self.durable_term = self.hard_state.term;
        let log = self.raft.store();
        assert_eq!(log.first_index(), Ok(index.0 + 1), "the log begins after the snapshot");
        let log_start = log.first_position();
        let snapshot = state;
        self.deferred.clear();
        self.applier.hand(Work::Restore { index, term, log_start, snapshot });
        let number = ready.number();
        let messages = ready.take_persisted_messages();
        self.raft.advance_append_async(ready);
        self.send(messages);
        self.raft.on_persist_ready(number);
        self.handed(index);
        Ok(())
    }

    /// Raft is told that what was handed to the applier is applied. Before it stands for election it
    /// reads all that is not, in search of changes of membership, of which a log here has none: that
    /// could be more than memory holds, and behind an installed snapshot it is not there to be read.
    fn handed(&mut self, index: LogIndex) {
        self.raft.advance_apply_to(index.0);
    }
}

/// Lets the tasks that were just woken have their turn. Unlike tokio's own yield it does not wait for
/// the sockets to be asked first.
async fn let_others_run() {
    let mut yielded = false;
    std::future::poll_fn(|context| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
