//! The task that owns the `RawNode`, and the only one that touches it.
//!
//! One turn of its loop takes everything that arrived, in bounded batches, lets raft think, writes,
//! and only then looks at waiting proposals, so that a proposal is sequenced when every earlier entry
//! lies in the log and its index and position are exact.
//!
//! Invariants: leaders send entries before they are stored here, everybody else speaks only of what
//! is durable; an entry's pending is answered by the machine when the entry is applied, or abandoned
//! as unknown, exactly once.

mod claims;
mod committed;
mod hint;
mod lead;
mod news;
mod pace;
mod persist;
mod reads;
mod ready;
mod standing;
mod status;
mod transfer;

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use raft::eraftpb::{HardState, MessageType};
use raft::{RawNode, SnapshotStatus, StateRole, raw_node::is_local_msg};
use raft_log::{Disk, Log, LogIndex, LogReader};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Duration, Instant};

use super::applier::Applier;
use super::fatal::{MemberError, end_member};
use super::figures::ReplicaFigures;
use super::handle::Command;
use super::heard;
use super::machine::{Refusal, Sequencer};
use super::options::ReplicaOptions;
use super::peers::{PeerEvent, Peers};
use super::queue::{Gate, ProposalQueue};
use super::wire::Parcel;
use crate::alarm::Alarm;
use committed::Deferred;
use hint::Hint;
use lead::Leading;
use news::CommitNews;
use pace::Pace;
use persist::Persist;
use reads::Reads;
use standing::{Memory, Saying};
use status::StatusPublisher;
use transfer::Transfer;

/// Events taken in one turn before ticks, proposals and the disk get theirs.
const EVENTS_PER_TURN: usize = 128;
/// How often something written without need of a sync is synced all the same.
const BACKGROUND_SYNC: Duration = Duration::from_millis(500);
/// An orderly stop waits this long for what is in flight and for another leader, and for a handover that
/// began in this time to its end.
const STOP_PATIENCE: Duration = Duration::from_millis(1500);

/// An entry that this member proposed.
struct InFlight<P> {
    index: u64,
    term: u64,
    since: Instant,
    /// Who waits.
    pending: P,
}

/// An orderly stop under way.
struct Stopping {
    replies: Vec<oneshot::Sender<()>>,
    deadline: Instant,
}

/// Everything that the task needs; see [`Owner::run`].
pub(super) struct Owner<D: Disk, S: Sequencer> {
    pub(super) options: ReplicaOptions,
    pub(super) raft: RawNode<Log<D>>,
    reader: LogReader<D>,
    pub(super) peers: Peers,
    events: mpsc::Receiver<PeerEvent>,
    commands: mpsc::Receiver<Command>,
    wake: Arc<Notify>,
    pub(super) sequencer: S,
    pub(super) queue: Arc<ProposalQueue<S::Proposal>>,
    /// Taken from the queue, not yet sequenced, each with its weight.
    waiting: VecDeque<S::Proposal>,
    weights: VecDeque<usize>,
    waiting_bytes: usize,
    /// In flight, in order of their entries.
    pendings: VecDeque<InFlight<S::Pending>>,
    /// What was refused since leadership ended is held until a leader is known or this passes.
    hold_until: Instant,
    leading: Option<Leading>,
    gate: Gate,
    persist: Persist,
    /// As last handed to the log.
    hard_state: HardState,
    /// The term that is durable.
    durable_term: u64,
    applier: Applier<S::Pending>,
    /// How far the applier had come when it was last asked.
    applied: LogIndex,
    deferred: Deferred,
    applying: JoinHandle<()>,
    reads: Reads,
    transfer: Option<Transfer>,
    hint: Option<Hint>,
    /// A majority was reachable since the start.
    assembled: bool,
    unreachable: BTreeSet<u64>,
    next_tick: Instant,
    alarm: Alarm,
    next_background_sync: Instant,
    status: StatusPublisher,
    stopping: Option<Stopping>,
    news: CommitNews,
    memory: Memory,
    /// The group's history and this member's differ where they must not.
    contradicted: Option<MemberError>,
    pace: Pace,
    figures: Arc<ReplicaFigures>,
    /// When the sync under way began that makes something durable.
    sync_began: Option<Instant>,
}

/// What [`Owner::new`] is given.
pub(super) struct OwnerParts<D: Disk, S: Sequencer> {
    pub options: ReplicaOptions,
    pub raft: RawNode<Log<D>>,
    pub peers: Peers,
    pub events: mpsc::Receiver<PeerEvent>,
    pub commands: mpsc::Receiver<Command>,
    pub wake: Arc<Notify>,
    pub sequencer: S,
    pub queue: Arc<ProposalQueue<S::Proposal>>,
    pub applier: Applier<S::Pending>,
    pub applying: JoinHandle<()>,
    pub status: tokio::sync::watch::Sender<super::handle::ReplicaStatus>,
    pub figures: Arc<ReplicaFigures>,
}

impl<D: Disk, S: Sequencer> Owner<D, S> {
    pub fn new(parts: OwnerParts<D, S>) -> Self {
        let now = Instant::now();
        let hard_state = parts.raft.raft.hard_state();
        let durable_term = hard_state.term;
        Owner {
            next_tick: now + Duration::from_millis(parts.options.tick_ms),
            alarm: Alarm::new(),
            next_background_sync: now + BACKGROUND_SYNC,
            status: StatusPublisher::new(parts.status, parts.options.member),
            pace: Pace::new(parts.options.slow_sync_ms),
            options: parts.options,
            memory: Memory::new(parts.raft.store(), now),
            reader: parts.raft.store().reader(),
            raft: parts.raft,
            peers: parts.peers,
            events: parts.events,
            commands: parts.commands,
            wake: parts.wake,
            sequencer: parts.sequencer,
            queue: parts.queue,
            waiting: VecDeque::new(),
            weights: VecDeque::new(),
            waiting_bytes: 0,
            pendings: VecDeque::new(),
            hold_until: now,
            leading: None,
            gate: Gate::Following { leader: None },
            persist: Persist::default(),
            hard_state,
            durable_term,
            applied: parts.applier.applied(),
            applier: parts.applier,
            deferred: Deferred::default(),
            applying: parts.applying,
            reads: Reads::default(),
            transfer: None,
            hint: None,
            assembled: false,
            unreachable: BTreeSet::new(),
            stopping: None,
            news: CommitNews::default(),
            contradicted: None,
            figures: parts.figures,
            sync_began: None,
        }
    }

    /// Runs until the member is stopped or cannot go on.
    pub async fn run(mut self) {
        if let Err(error) = self.work().await {
            end_member(&self.options.group, self.options.member, &error, &self.options.on_fatal);
            self.close();
            return;
        }
        self.close();
        if let Err(error) = self.last_sync().await {
            end_member(&self.options.group, self.options.member, &error, &self.options.on_fatal);
        }
        tracing::info!(
            group = %self.options.group, member = self.options.member, "member stopped"
        );
        let replies = self.stopping.take().map(|stopping| stopping.replies);
        let Owner { applying, applier, raft, .. } = self;
        // The applier ends with its queue, and the log's files are released before anybody is told.
        drop(applier);
        let _ = applying.await;
        drop(raft);
        for reply in replies.into_iter().flatten() {
            let _ = reply.send(());
        }
    }

    async fn work(&mut self) -> Result<(), MemberError> {
        self.take_up_standing().await?;
        if self.options.peers.is_empty() {
            // Alone in its group: nobody to wait for. Raft reads what it thinks unapplied to stand.
            self.ready().await?;
            self.campaign();
        }
        loop {
            let more = self.turn().await?;
            if self.may_stop() {
                return Ok(());
            }
            self.wait(more).await?;
        }
    }

    /// One turn; `true` when there is more to do at once.
    async fn turn(&mut self) -> Result<bool, MemberError> {
        self.judge_standing().await?;
        let full = self.take_events();
        self.judge_claims()?;
        if let Some(contradiction) = self.contradicted.take() {
            return Err(contradiction);
        }
        self.take_commands();
        self.tick_if_due()?;
        self.stand_if_hinted();
        self.applied()?;
        self.ask_reads();
        self.ready().await?;
        let more = self.propose().await?;
        self.sync();
        self.settle_waiting();
        self.advance_stop();
        self.tell_commit();
        self.wake_for_applied();
        if self.status.is_due(&self.raft, self.leading, &self.peers, self.memory.is_lost()) {
            self.publish_status();
        }
        Ok(full || more || self.raft.has_ready())
    }

    /// Waits for the next thing to happen, not at all when `more` is to be done.
    async fn wait(&mut self, more: bool) -> Result<(), MemberError> {
        let mut timer = self.next_tick;
        if let Some(hint) = &self.hint {
            timer = timer.min(hint.at());
        }
        if let Some(due) = self.news.due() {
            timer = timer.min(due);
        }
        tokio::select! {
            biased;
            released = self.persist.finished() => {
                self.synced(released?);
            }
            event = self.events.recv() => match event {
                Some(event) => self.take_event(event),
                None => unreachable!("the transport lives as long as the owner"),
            },
            command = self.commands.recv(), if self.stopping.is_none() => self.take_command(command),
            () = self.wake.notified() => {}
            () = self.alarm.at(timer) => {}
            () = std::future::ready(()), if more => {}
        }
        if more {
            // Connections and the applier share this thread pool.
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    fn take_events(&mut self) -> bool {
        for _ in 0..EVENTS_PER_TURN {
            if self.memory.has_news() {
                return true;
            }
            match self.events.try_recv() {
                Ok(event) => self.take_event(event),
                Err(_) => return false,
            }
        }
        true
    }

    fn take_event(&mut self, event: PeerEvent) {
        match event {
            PeerEvent::Parcel(Parcel::Raft(message)) => self.step(message),
            PeerEvent::Parcel(Parcel::Standing { from, report, .. }) => {
                self.take_report(from, report);
            }
            PeerEvent::Closed(peer) => self.peer_closed(peer),
            PeerEvent::Reachable { peer } => self.reachable(peer),
            PeerEvent::SnapshotSent { to, delivered } => {
                let status =
                    if delivered { SnapshotStatus::Finish } else { SnapshotStatus::Failure };
                self.raft.report_snapshot(to, status);
            }
        }
        self.observe_role();
    }

    fn step(&mut self, mut message: raft::eraftpb::Message) {
        let kind = message.get_msg_type();
        // Proposals and reads are made by their own member's owner: one that arrives is not ours to
        // answer.
        if is_local_msg(kind) || matches!(kind, MessageType::MsgPropose | MessageType::MsgReadIndex)
        {
            return;
        }
        if !self.memory.is_whole() && !self.admit(&mut message) {
            return;
        }
        if kind == MessageType::MsgHeartbeat && self.misses_entries(&message) {
            return;
        }
        if kind == MessageType::MsgAppend
            && let Some(contradiction) = self.contradiction(&message)
        {
            self.contradicted = Some(contradiction);
            return;
        }
        let sent_before = self.raft.raft.msgs.len();
        if let Err(error) = self.raft.step(message) {
            tracing::debug!(group = %self.options.group, reason = %error, "message not taken");
        }
        let asks_vote =
            matches!(kind, MessageType::MsgRequestVote | MessageType::MsgRequestPreVote);
        let granted = asks_vote
            && self
                .raft
                .raft
                .msgs
                .get(sent_before..)
                .is_some_and(|sent| sent.iter().any(|answer| !answer.reject));
        if granted && let Some(hint) = &mut self.hint {
            hint.postpone(Instant::now());
        }
    }

    /// What a leader says of an entry that is committed here, if it is not the same entry. Raft takes for
    /// granted that this cannot be, and would answer as if the logs were equal.
    fn contradiction(&self, append: &raft::eraftpb::Message) -> Option<MemberError> {
        let raft = &self.raft.raft;
        if append.term < raft.term || append.index > raft.raft_log.committed {
            return None;
        }
        // What was compacted cannot be compared any more.
        let own_term = raft.raft_log.term(append.index).ok()?;
        let (index, leader_term) = (append.index, append.log_term);
        (own_term != leader_term && own_term != 0).then_some(MemberError::Contradicted {
            index,
            own_term,
            leader: append.from,
            leader_term,
        })
    }

    /// At most one tick a turn, and the next one a whole tick later: after a pause the messages that
    /// waited are read first, and the time that was slept through does not count as silence.
    fn tick_if_due(&mut self) -> Result<(), MemberError> {
        let now = Instant::now();
        if now < self.next_tick {
            return Ok(());
        }
        let tick_ms = self.options.tick_ms;
        #[cfg(madsim)]
        let tick_ms = crate::buggify::tick_ms(tick_ms);
        self.next_tick = now + Duration::from_millis(tick_ms);
        if self.memory.is_whole() {
            self.raft.tick();
        }
        self.pursue_standing();
        self.tell_claim(now);
        self.judge_pace(now);
        self.observe_role();
        self.expire_transfer();
        self.status.tick();
        self.raft.store().look_for_space()?;
        if self.applying.is_finished() && self.stopping.is_none() {
            // It said why; nothing that commits now would ever be answered.
            self.start_stop(None);
        }
        Ok(())
    }

    /// Tells the followers what is committed when no entry did within a moment.
    fn tell_commit(&mut self) {
        let committed = self.raft.raft.raft_log.committed;
        let leads = self.leading.is_some();
        if self.news.is_overdue(leads.then_some(committed), Instant::now()) {
            self.raft.ping();
        }
    }

    fn campaign(&mut self) {
        if let Err(error) = self.raft.campaign() {
            tracing::debug!(group = %self.options.group, reason = %error, "cannot stand now");
        }
        self.observe_role();
    }

    /// The connection on which the peer spoke to us is gone.
    fn peer_closed(&mut self, peer: u64) {
        let raft = &mut self.raft.raft;
        if raft.leader_id != peer || raft.state != StateRole::Follower {
            return;
        }
        tracing::info!(
            group = %self.options.group, leader = peer, term = raft.term,
            "the leader's connection closed, standing for election soon"
        );
        // Without a leader there is no lease, so that a pre-vote of the others is granted.
        let term = raft.term;
        raft.become_follower(term, raft::INVALID_ID);
        self.hint = Some(Hint::leader_gone(Instant::now(), self.rank_without(peer)));
    }

    fn reachable(&mut self, peer: u64) {
        let connected = self.peers.table().values().filter(|peer| peer.connected()).count();
        let members = self.peers.table().len() + 1;
        let assembled = (connected + 1) * 2 > members;
        if assembled && !self.assembled && self.raft.raft.leader_id == raft::INVALID_ID {
            self.hint = Some(Hint::group_assembled(Instant::now(), self.rank_without(0)));
        }
        self.assembled |= assembled;
        if self.peers.table().get(&peer).is_some_and(|peer| !peer.connected()) {
            self.unreachable.insert(peer);
        } else {
            self.hear_claim(peer);
            let saying = if self.memory.asks() { Saying::Question } else { Saying::News };
            self.report_to(peer, saying);
        }
    }

    /// This member's place among those that may lead when `gone` does not.
    fn rank_without(&self, gone: u64) -> u32 {
        let own = self.options.member;
        let before = self.peers.table().keys().filter(|&&id| id < own && id != gone).count();
        u32::try_from(before).unwrap_or(u32::MAX)
    }

    fn stand_if_hinted(&mut self) {
        let Some(hint) = &mut self.hint else { return };
        let raft = &self.raft.raft;
        if raft.leader_id != raft::INVALID_ID || raft.state == StateRole::Leader {
            self.hint = None;
            return;
        }
        let now = Instant::now();
        if !self.memory.is_whole() {
            hint.postpone(now);
            return;
        }
        if !hint.due(now) {
            return;
        }
        if hint.exhausted() {
            self.hint = None;
        }
        // A candidate's vote requests are under way: asking again would void them.
        if raft.state != StateRole::Candidate {
            self.campaign();
        }
    }

    /// What the applier has done since last asked.
    fn applied(&mut self) -> Result<(), MemberError> {
        self.applier.push();
        self.hand_deferred()?;
        let applied = self.applier.applied();
        if applied > self.applied {
            self.applied = applied;
            self.reads.applied(applied);
            self.begin_serving();
        }
        if let Some(position) = self.applier.take_compaction() {
            let before = self.raft.store().first_position();
            let first = self.raft.mut_store().compact_to(position)?;
            if first > before {
                tracing::info!(
                    group = %self.options.group, from = before.0, to = first.0, "log compacted"
                );
            }
        }
        Ok(())
    }

    fn wake_for_applied(&self) {
        let serving_at = self
            .leading
            .as_ref()
            .filter(|leading| !leading.serving)
            .map(|leading| LogIndex(leading.first_index));
        let mut wanted = [serving_at, self.reads.next_index()].into_iter().flatten().min();
        let throttled = self.applier.backlog_bytes() > self.options.unapplied_bytes_max;
        if throttled || !self.deferred.is_empty() || self.stopping.is_some() {
            wanted = Some(LogIndex(self.applier.applied().0 + 1));
        }
        self.applier.wake_at(wanted);
    }

    fn take_commands(&mut self) {
        while let Ok(command) = self.commands.try_recv() {
            self.take_command(Some(command));
        }
    }

    fn take_command(&mut self, command: Option<Command>) {
        match command {
            Some(Command::ReadIndex(reply)) if self.leading.is_some() => self.reads.push(reply),
            Some(Command::ReadIndex(reply)) => {
                let _ = reply.send(Err(self.not_leader()));
            }
            Some(Command::TransferLeader { to, reply }) => self.start_transfer(to, Some(reply)),
            Some(Command::Shutdown(reply)) => self.start_stop(Some(reply)),
            None => self.start_stop(None),
        }
    }

    fn not_leader(&self) -> Refusal {
        Refusal::NotLeader { leader: self.known_leader() }
    }

    /// Another member that leads, as far as raft knows.
    fn known_leader(&self) -> Option<u64> {
        let leader = self.raft.raft.leader_id;
        (leader != raft::INVALID_ID && leader != self.options.member).then_some(leader)
    }

    fn start_stop(&mut self, reply: Option<oneshot::Sender<()>>) {
        let stopping = self.stopping.get_or_insert_with(|| Stopping {
            replies: Vec::new(),
            deadline: Instant::now() + STOP_PATIENCE,
        });
        stopping.replies.extend(reply);
        self.queue.set_gate(Gate::Stopped);
    }

    /// A leader that stops finishes what it has taken, then lets another lead.
    fn advance_stop(&mut self) {
        let in_time = self.stopping.as_ref().is_some_and(|stop| Instant::now() < stop.deadline);
        if !in_time || self.leading.is_none() || self.transfer.is_some() {
            return;
        }
        let idle = self.waiting.is_empty() && self.pendings.is_empty();
        if idle && self.peers.table().values().any(|peer| peer.connected()) {
            self.start_transfer(None, None);
        }
    }

    fn may_stop(&self) -> bool {
        let Some(stopping) = &self.stopping else { return false };
        let alone = !self.peers.table().values().any(|peer| peer.connected());
        let idle = self.waiting.is_empty() && self.pendings.is_empty();
        // The successor may need this member's vote: it stays until somebody leads.
        let dispensable = alone || self.known_leader().is_some();
        let waited = Instant::now() >= stopping.deadline && self.transfer.is_none();
        let gave_up = waited || self.applying.is_finished();
        (idle && dispensable) || gave_up
    }

    /// Tells everybody who waits that nothing more will come.
    fn close(&mut self) {
        self.queue.set_gate(Gate::Stopped);
        self.end_leading();
        self.refuse_waiting(&Refusal::ShuttingDown);
        self.reads.fail(&Refusal::ShuttingDown);
        if let Some(transfer) = self.transfer.take() {
            transfer.fail(Refusal::ShuttingDown);
        }
        self.peers.stop();
    }

    /// Makes everything durable that was written, the commit index included.
    async fn last_sync(&mut self) -> Result<(), MemberError> {
        if self.persist.is_syncing() {
            self.persist.finished().await?;
        }
        let hard_state = self.raft.raft.hard_state();
        let log = self.raft.mut_store();
        log.set_hard_state(hard_state);
        log.begin_sync().await?;
        log.answer_unsynced(false)?;
        let stored = log.heard_file().store(&heard::all(self.peers.table()));
        Ok(stored.await?)
    }
}
