//! Mending single entries of a log in use, and looking for those that need it.
//!
//! Before a start, an entry that no peer will ever give ends the mending: what becomes of the log then is for
//! the caller to say. A running member waits: retention takes the entry, or raft does.
//!
//! Invariant: neither asks the owner of the raft node for anything. What it needs of a damaged entry
//! waits: a follower for its copy, a client for its message.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use raft_log::{DamagedEntry, Disk, LogIndex, LogReader, MendError, Mended, Position};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

use super::ask::{AskError, fetch_snapshot, mend_one};
use crate::replication::complaint::Complaint;
use crate::replication::options::ScrubPace;
use crate::replication::peers::dial::Backoff;
use crate::replication::peers::{Identity, PeerTable};

/// Read at a time by a scrub, if an entry is not larger: about a millisecond of the disk's time.
const STEP_BYTES: u64 = 256 << 10;

/// Mends what is damaged in a log.
pub(in crate::replication) struct Mender<D: Disk> {
    pub identity: Arc<Identity>,
    pub peers: PeerTable,
    pub reader: LogReader<D>,
}

/// Entries that were given and wait for others with which they share a page, and who gave them.
type Waiting = BTreeMap<Position, (DamagedEntry, u64)>;

/// What a round of asking came to.
#[derive(Default)]
struct Round {
    /// Why entries are still damaged.
    problems: Vec<String>,
    /// No peer has this entry any more.
    gone: Option<DamagedEntry>,
    /// The group has committed another entry in the place of this one.
    given_up: Option<DamagedEntry>,
}

/// Why a damaged entry stays damaged, whoever is asked.
pub(super) enum Hopeless {
    /// No peer has it any more.
    Gone(DamagedEntry),
    /// The group gave it up, and all behind it.
    GivenUp(DamagedEntry),
}

impl Round {
    fn note_given_up(&mut self, entry: &DamagedEntry) {
        if self.given_up.as_ref().is_none_or(|known| entry.index < known.index) {
            self.given_up = Some(entry.clone());
        }
    }

    /// The first that there is no hope for: what is behind one that was given up goes with it.
    fn hopeless(self) -> Option<Hopeless> {
        match (self.gone, self.given_up) {
            (Some(gone), Some(given_up)) if gone.index < given_up.index => {
                Some(Hopeless::Gone(gone))
            }
            (_, Some(given_up)) => Some(Hopeless::GivenUp(given_up)),
            (gone, None) => gone.map(Hopeless::Gone),
        }
    }
}

impl<D: Disk> Mender<D> {
    /// Mends whatever `hurt` tells of, until dropped.
    pub async fn run(self, hurt: Arc<Notify>) {
        loop {
            hurt.notified().await;
            self.mend(false).await;
        }
    }

    /// Mends until nothing is damaged. Gives up, if told so, at an entry that there is no hope for.
    pub(super) async fn mend(&self, give_up: bool) -> Option<Hopeless> {
        let mut backoff = Backoff::new(self.identity.instance);
        let mut complaint = Complaint::default();
        let mut waiting = Waiting::default();
        loop {
            let round = self.round(&mut waiting).await;
            if round.problems.is_empty() {
                return None;
            }
            let text = round.problems.join("; ");
            if give_up && let Some(hopeless) = round.hopeless() {
                return Some(hopeless);
            }
            if complaint.is_due(text.clone()) {
                tracing::warn!(
                    group = %self.identity.group, reason = %text,
                    "no peer gives what is damaged in the log, trying on"
                );
            }
            sleep(backoff.next()).await;
        }
    }

    /// Has the snapshot at the log's start renewed if it is lost. Why it is not.
    async fn renew_snapshot(&self) -> Vec<String> {
        if self.reader.lost_snapshot().is_none() {
            return Vec::new();
        }
        // The log may begin elsewhere by now.
        let problem = self.reader.check_snapshot().await.err();
        let Some(position) = self.reader.lost_snapshot() else { return Vec::new() };
        let mut problems: Vec<String> = problem.iter().map(ToString::to_string).collect();
        for peer in self.peers.values() {
            let renewed = match fetch_snapshot(&self.identity, peer, position).await {
                Ok(encoded) => self.reader.renew_snapshot(encoded).await.map_err(AskError::from),
                Err(problem) => Err(problem),
            };
            match renewed {
                Ok(()) => {
                    tracing::info!(
                        group = %self.identity.group, %position, peer = peer.id,
                        "the snapshot at the log's start is renewed"
                    );
                    return Vec::new();
                }
                Err(problem) => {
                    let peer = peer.id;
                    problems.push(format!("snapshot at {position}, peer {peer}: {problem}"));
                }
            }
        }
        problems
    }

    /// Asks for every damaged entry once, also for those that come to light meanwhile: what shares a page
    /// with an entry is known to be lost when that one is written.
    async fn round(&self, waiting: &mut Waiting) -> Round {
        let mut round = Round { problems: self.renew_snapshot().await, ..Round::default() };
        let mut asked = BTreeSet::new();
        loop {
            let mut damaged = self.reader.missing();
            if damaged.is_empty() && asked.is_empty() {
                // All were given, and some are still not whole: they were hit again.
                damaged = self.reader.damaged();
            }
            damaged.retain(|entry| asked.insert(entry.index));
            if damaged.is_empty() {
                break;
            }
            for entry in damaged {
                self.ask_for(entry, waiting, &mut round).await;
            }
        }
        let missing = places(self.reader.missing());
        let damaged = places(self.reader.damaged());
        for (_, entry) in damaged.iter().filter(|(position, _)| !missing.contains_key(position)) {
            let problem = "it waits for the entries with which it shares a page";
            round.problems.push(format!("entry {}: {problem}", entry.index));
        }
        for (_, (entry, peer)) in
            waiting.extract_if(.., |position, _| !damaged.contains_key(position))
        {
            self.tell_mended(&entry, peer);
        }
        round
    }

    /// Asks one peer after the other for an entry, until one has given it.
    async fn ask_for(&self, damaged: DamagedEntry, waiting: &mut Waiting, round: &mut Round) {
        let mut compacted = 0;
        let mut problems = Vec::new();
        for peer in self.peers.values() {
            match mend_one(&self.identity, peer, &self.reader, damaged.index).await {
                Ok(Mended::Whole) => return self.tell_mended(&damaged, peer.id),
                Ok(Mended::Waits) => {
                    waiting.insert(damaged.position, (damaged, peer.id));
                    return;
                }
                // Retention took it meanwhile.
                Err(AskError::Mend(MendError::Log(_))) if !self.is_damaged(&damaged) => return,
                Err(problem) => {
                    compacted += usize::from(matches!(problem, AskError::Compacted(_)));
                    if let AskError::Mend(MendError::GivenUp(_)) = problem {
                        round.note_given_up(&damaged);
                    }
                    let (peer, index) = (peer.id, damaged.index);
                    problems.push(format!("entry {index}, peer {peer}: {problem}"));
                }
            }
        }
        if compacted == self.peers.len() {
            problems.push(format!("entry {}: no peer has it any more", damaged.index));
            round.gone = Some(damaged);
        }
        round.problems.extend(problems);
    }

    fn tell_mended(&self, entry: &DamagedEntry, peer: u64) {
        tracing::info!(
            group = %self.identity.group, file = %entry.file.display(), position = %entry.position,
            entries = 1, peer, "damage in the log repaired"
        );
    }

    fn is_damaged(&self, entry: &DamagedEntry) -> bool {
        self.reader.damaged().contains(entry)
    }
}

fn places(entries: Vec<DamagedEntry>) -> BTreeMap<Position, DamagedEntry> {
    entries.into_iter().map(|entry| (entry.position, entry)).collect()
}

/// Reads all full segments, and the snapshot before them, again and again, slowly, until dropped.
pub(in crate::replication) async fn scrub<D: Disk>(reader: LogReader<D>, pace: ScrubPace) {
    loop {
        sleep(pace.pause).await;
        let last = reader.sealed_to();
        let mut next = reader.first_index();
        while next <= last {
            let began = Instant::now();
            let step = match reader.scrub(next, last, STEP_BYTES).await {
                Ok(step) => step,
                Err(error) => {
                    tracing::warn!(%error, from = %next, "cannot look for damage in the log");
                    break;
                }
            };
            next = step.next;
            let due = Duration::from_secs_f64(step.bytes as f64 / pace.bytes_per_second as f64);
            sleep(due.saturating_sub(began.elapsed())).await;
        }
        if let Err(error) = reader.check_snapshot().await {
            tracing::warn!(%error, "cannot look at the snapshot at the log's start");
        }
    }
}

/// Checks what raft will read at a start: everything behind `applied`.
pub(in crate::replication) async fn check_unapplied<D: Disk>(
    reader: &LogReader<D>,
    applied: LogIndex,
) -> Result<(), raft_log::LogError> {
    let last = reader.last_index();
    // A state that does not fit the log is made again from the log's start.
    let known = applied >= LogIndex(reader.first_index().0 - 1) && applied <= last;
    let mut next = if known { LogIndex(applied.0 + 1) } else { reader.first_index() };
    while next <= last {
        next = reader.scrub(next, last, STEP_BYTES).await?.next;
    }
    Ok(())
}
