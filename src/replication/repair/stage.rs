//! Before a member's raft node runs: its log is opened, and mended if it is damaged.
//!
//! Invariant: the log that comes out is whole; until then this member does nothing in the group but
//! give peers what they lost.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use raft::Storage as _;
use raft_log::{
    BoundarySnapshot, Damage, DamagedEntry, DamagedLog, Disk, HeadlessLog, Log, LogError, LogIndex,
    LogOptions, Opened, Patch, Position,
};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::sleep;

use super::ask::{AskError, fetch_snapshot, fill};
use super::mend::{Hopeless, Mender, check_unapplied};
use super::source::LiveLog;
use crate::replication::complaint::Complaint;
use crate::replication::handle::ReplicaStatus;
use crate::replication::options::{Listen, ReplicaOptions, StartError};
use crate::replication::peers::dial::Backoff;
use crate::replication::peers::{Identity, PeerTable, RepairDoor};
use crate::replication::{identity_of, listen, peer_bounds};

/// Opens the log in `dir`. What of it is damaged is fetched from the peers that `options` name, for
/// as long as that takes; the socket that was bound meanwhile is left in `options`.
///
/// # Errors
/// When the log cannot be used, or what is missing exists nowhere any more.
pub async fn open_log<D: Disk>(
    disk: D,
    dir: &Path,
    log_options: LogOptions,
    options: &mut ReplicaOptions,
) -> Result<Log<D>, StartError> {
    let mut opened = match Log::examine(disk, dir, log_options)? {
        Opened::Whole(log) => return Ok(log),
        lacking => lacking,
    };
    let stage = Stage::new(options);
    let listener = listen(options).await?;
    // Before which position everything is there.
    let mut whole_to = None;
    loop {
        let reached = match &opened {
            Opened::Whole(_) => None,
            Opened::Headless(log) => Some((log.position(), log.error())),
            Opened::Damaged(log) => Some((log.damage().before.position, log.damage().error())),
        };
        if let Some((position, error)) = reached {
            // What was written is found damaged again: this disk does not keep what it is given.
            if whole_to.is_some_and(|before| position <= before) {
                return Err(error.into());
            }
            whole_to = Some(position);
        }
        opened = match opened {
            Opened::Whole(log) => {
                options.listen = Listen::Bound(listener);
                return Ok(log);
            }
            #[cfg(madsim)]
            Opened::Headless(log)
                if crate::mistake::made(crate::mistake::Mistake::EndsWithoutSnapshot) =>
            {
                return Err(log.error().into());
            }
            Opened::Headless(log) => stage.find_head(&listener, Arc::new(log)).await?,
            Opened::Damaged(log) => stage.repair(&listener, log).await?,
        };
    }
}

/// What became of the damage in an open log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MendedLog {
    /// Nothing that raft reads at its start is damaged.
    Whole,
    /// What is damaged there, the group gave up. To be closed, and opened again with that position doubted:
    /// [`open_log`] then has it taken back.
    GivenUp(Position),
}

/// Mends what is known to be damaged in a log that is open, and whatever is damaged behind `applied`:
/// raft reads that at its start, and cannot wait for it.
///
/// # Errors
/// When something exists nowhere any more.
pub async fn mend_log<D: Disk>(
    log: &Log<D>,
    applied: LogIndex,
    options: &mut ReplicaOptions,
) -> Result<MendedLog, StartError> {
    let reader = log.reader();
    check_unapplied(&reader, applied).await?;
    let Some(first) = reader.damaged().into_iter().next() else { return Ok(MendedLog::Whole) };
    let error = |damaged: DamagedEntry| {
        let DamagedEntry { file, position, index } = damaged;
        let reason = format!("no member has entry {index} as it was");
        StartError::Log(LogError::Corrupt { file, position, reason })
    };
    if options.peers.is_empty() {
        return Err(error(first));
    }
    let listener = listen(options).await?;
    let stage = Stage::new(options);
    let commit = LogIndex(log.initial_state()?.hard_state.commit);
    let (_status, status) = watch::channel(ReplicaStatus { commit, ..ReplicaStatus::default() });
    let source = LiveLog { reader: reader.clone(), status };
    let door = RepairDoor::new(&stage.identity, &stage.peers, Arc::new(source));
    let mender = Mender { identity: stage.identity.clone(), peers: stage.peers.clone(), reader };
    let hopeless = tokio::select! {
        biased;
        hopeless = mender.mend(true) => hopeless,
        () = door.keep(&listener) => unreachable!("a door is kept until it is dropped"),
    };
    options.listen = Listen::Bound(listener);
    match hopeless {
        None => Ok(MendedLog::Whole),
        Some(Hopeless::GivenUp(damaged)) => {
            tracing::warn!(
                group = %options.group, file = %damaged.file.display(), index = %damaged.index,
                "the group gave up an entry that is damaged: the log is opened again without it"
            );
            Ok(MendedLog::GivenUp(damaged.position))
        }
        Some(Hopeless::Gone(damaged)) => Err(error(damaged)),
    }
}

/// What helps a log that lacks entries.
enum Help {
    /// A peer has them.
    Entries(u64, Patch),
    /// A peer's snapshot stands for them, and the log is intact behind it.
    Start(BoundarySnapshot),
    /// Nobody has them any more, and no other log begins before the end of this one: a new start from a snapshot
    /// costs nothing then.
    Anew,
}

struct Stage {
    identity: Arc<Identity>,
    peers: PeerTable,
}

impl Stage {
    fn new(options: &ReplicaOptions) -> Stage {
        let (peers, _) = crate::replication::peers::table(&options.peers, peer_bounds(options));
        Stage { identity: Arc::new(identity_of(options)), peers }
    }

    /// Mends the first damage, or begins behind it or anew when nobody has what is missing.
    async fn repair<D: Disk>(
        &self,
        listener: &TcpListener,
        log: Arc<DamagedLog<D>>,
    ) -> Result<Opened<D>, StartError> {
        let damage = log.damage().clone();
        tracing::warn!(
            group = %self.identity.group,
            file = %damage.file.display(),
            position = %damage.before.position,
            first = damage.before.index.0 + 1,
            last = %damage.last(),
            reason = damage.reason,
            "the log is damaged; this member takes part again when peers have given what is missing"
        );
        let door = RepairDoor::new(&self.identity, &self.peers, Arc::new(Arc::clone(&log)));
        let help = tokio::select! {
            biased;
            help = self.ask(&log, &damage) => help?,
            () = door.keep(listener) => unreachable!("a door is kept until it is dropped"),
        };
        let (peer, patch) = match help {
            Help::Entries(peer, patch) => (peer, patch),
            Help::Start(snapshot) => return Ok(log.begin_at(&snapshot)?),
            Help::Anew => return Ok(log.begin_anew()?),
        };
        let entries = patch.entries();
        let opened = log.mend(patch)?;
        tracing::info!(
            group = %self.identity.group,
            file = %damage.file.display(),
            position = %damage.before.position,
            entries,
            peer,
            "damage in the log repaired"
        );
        Ok(opened)
    }

    /// Gets the snapshot at the log's start, or begins anew when nobody has it.
    async fn find_head<D: Disk>(
        &self,
        listener: &TcpListener,
        log: Arc<HeadlessLog<D>>,
    ) -> Result<Opened<D>, StartError> {
        tracing::warn!(
            group = %self.identity.group, reason = %log.error(),
            "this member takes part again when a peer has given the snapshot"
        );
        let door = RepairDoor::new(&self.identity, &self.peers, Arc::new(Arc::clone(&log)));
        tokio::select! {
            biased;
            opened = self.ask_for_head(&log) => opened,
            () = door.keep(listener) => unreachable!("a door is kept until it is dropped"),
        }
    }

    /// Asks one peer after the other until one has given it, or all have said that they lack it.
    async fn ask_for_head<D: Disk>(&self, log: &HeadlessLog<D>) -> Result<Opened<D>, StartError> {
        let position = log.position();
        let mut rounds = Rounds::new(&self.identity);
        loop {
            let (mut problems, mut lacking) = (Vec::new(), 0);
            for peer in self.peers.values() {
                let given = match fetch_snapshot(&self.identity, peer, position).await {
                    Ok(encoded) => log.put(encoded).map_err(AskError::from),
                    Err(problem) => Err(problem),
                };
                match given {
                    Ok(opened) => {
                        let (group, peer) = (&self.identity.group, peer.id);
                        tracing::info!(%group, %position, peer, "the log's first snapshot is renewed");
                        return Ok(opened);
                    }
                    Err(AskError::Log(error)) if error.fatal().is_some() => {
                        return Err(error.into());
                    }
                    Err(problem) => {
                        lacking += usize::from(matches!(problem, AskError::NoSnapshot));
                        problems.push(format!("peer {}: {problem}", peer.id));
                    }
                }
            }
            if lacking == self.peers.len() {
                return Ok(log.begin_anew()?);
            }
            let tell = |reason: &str| {
                tracing::warn!(
                    group = %self.identity.group, %position, reason,
                    "no peer gives the snapshot at the log's start, trying on"
                );
            };
            rounds.failed(&problems, tell).await;
        }
    }

    /// Asks one peer after the other until one has given everything, or nobody has it any more and there is
    /// another way.
    async fn ask<D: Disk>(&self, log: &DamagedLog<D>, damage: &Damage) -> Result<Help, StartError> {
        let mut rounds = Rounds::new(&self.identity);
        loop {
            let (mut problems, mut others_begin) = (Vec::new(), BTreeMap::new());
            for peer in self.peers.values() {
                match fill(&self.identity, peer, log).await {
                    Ok(patch) => return Ok(Help::Entries(peer.id, patch)),
                    Err(problem) => {
                        if let AskError::Compacted(first) = problem {
                            others_begin.insert(peer.id, LogIndex(first));
                        }
                        problems.push(format!("peer {}: {problem}", peer.id));
                    }
                }
            }
            if others_begin.len() == self.peers.len() {
                // What goes, every other member has applied.
                if others_begin.values().min().is_some_and(|&first| log.reach() < first) {
                    return Ok(Help::Anew);
                }
                if let Some(snapshot) = self.ask_for_start(log, damage, &others_begin).await? {
                    return Ok(Help::Start(snapshot));
                }
            }
            let tell = |reason: &str| {
                tracing::warn!(
                    group = %self.identity.group, file = %damage.file.display(),
                    position = %damage.before.position, reason,
                    "no peer gives what is missing in the log, trying on"
                );
            };
            rounds.failed(&problems, tell).await;
        }
    }

    /// Asks peers whose logs begin where this one is intact for their snapshots there. None when one of them may
    /// still give it.
    async fn ask_for_start<D: Disk>(
        &self,
        log: &DamagedLog<D>,
        damage: &Damage,
        others_begin: &BTreeMap<u64, LogIndex>,
    ) -> Result<Option<BoundarySnapshot>, StartError> {
        let mut may_come = false;
        for (id, &first) in others_begin {
            let Some(position) = log.start_at(first)? else { continue };
            let given = fetch_snapshot(&self.identity, &self.peers[id], position).await;
            match given.map(|encoded| log.check_start(encoded)) {
                Ok(Ok(snapshot)) => return Ok(Some(snapshot)),
                // Its log is another one before that, so nothing of this one follows.
                Ok(Err(LogError::BadSnapshot(_))) => {}
                Ok(Err(error)) => return Err(error.into()),
                // Its log may begin elsewhere by now, or it does not run.
                Err(_) => may_come = true,
            }
        }
        if may_come { Ok(None) } else { Err(damage.error().into()) }
    }
}

/// Questions to all peers, one round after the other.
struct Rounds {
    backoff: Backoff,
    complaint: Complaint,
}

impl Rounds {
    fn new(identity: &Identity) -> Rounds {
        Rounds { backoff: Backoff::new(identity.instance), complaint: Complaint::default() }
    }

    /// Nobody had it: tells why if that is news, and waits before the next round.
    async fn failed(&mut self, problems: &[String], tell: impl FnOnce(&str)) {
        let reason = problems.join("; ");
        if self.complaint.is_due(reason.clone()) {
            tell(&reason);
        }
        sleep(self.backoff.next()).await;
    }
}
