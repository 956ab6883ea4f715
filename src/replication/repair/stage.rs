//! Before a member's raft node runs: its log is opened, and mended if it is damaged.
//!
//! Invariant: the log that comes out is whole; until then this member does nothing in the group but
//! give peers what they lost.

use std::path::Path;
use std::sync::Arc;

use raft::Storage as _;
use raft_log::{
    Damage, DamagedEntry, DamagedLog, Disk, Log, LogError, LogIndex, LogOptions, Opened, Patch,
};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::sleep;

use super::ask::{AskError, fill};
use super::mend::{Mender, check_unapplied};
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
    let mut damaged = match Log::examine(disk, dir, log_options)? {
        Opened::Whole(log) => return Ok(log),
        Opened::Damaged(damaged) => damaged,
    };
    let stage = Stage::new(options);
    let listener = listen(options).await?;
    loop {
        let before = damaged.damage().before;
        match stage.repair(&listener, damaged).await? {
            Opened::Whole(log) => {
                options.listen = Listen::Bound(listener);
                return Ok(log);
            }
            // What was written is found damaged again: this disk does not keep what it is given.
            Opened::Damaged(same) if same.damage().before.index <= before.index => {
                return Err(same.damage().error().into());
            }
            Opened::Damaged(next) => damaged = next,
        }
    }
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
) -> Result<(), StartError> {
    let reader = log.reader();
    check_unapplied(&reader, applied).await?;
    let Some(first) = reader.damaged().into_iter().next() else { return Ok(()) };
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
    let gone = tokio::select! {
        biased;
        gone = mender.mend(true) => gone,
        () = door.keep(&listener) => unreachable!("a door is kept until it is dropped"),
    };
    options.listen = Listen::Bound(listener);
    gone.map_or(Ok(()), |damaged| Err(error(damaged)))
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

    /// Mends the first damage.
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
        let (peer, patch) = tokio::select! {
            biased;
            patch = self.ask(&log, &damage) => patch?,
            () = door.keep(listener) => unreachable!("a door is kept until it is dropped"),
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

    /// Asks one peer after the other until one has given everything.
    async fn ask<D: Disk>(
        &self,
        log: &DamagedLog<D>,
        damage: &Damage,
    ) -> Result<(u64, Patch), StartError> {
        let mut backoff = Backoff::new(self.identity.instance);
        let mut complaint = Complaint::default();
        loop {
            let (mut problems, mut compacted) = (Vec::new(), 0);
            for peer in self.peers.values() {
                let mut patch = log.patch();
                match fill(&self.identity, peer, &mut patch, damage.last()).await {
                    Ok(()) => return Ok((peer.id, patch)),
                    Err(problem) => {
                        compacted += usize::from(matches!(problem, AskError::Compacted(_)));
                        problems.push(format!("peer {}: {problem}", peer.id));
                    }
                }
            }
            if compacted == self.peers.len() {
                // Nobody has it any more: only a new start from a snapshot helps.
                return Err(damage.error().into());
            }
            let text = problems.join("; ");
            if complaint.is_due(text.clone()) {
                tracing::warn!(
                    group = %self.identity.group, file = %damage.file.display(),
                    position = %damage.before.position, reason = %text,
                    "no peer gives what is missing in the log, trying on"
                );
            }
            sleep(backoff.next()).await;
        }
    }
}
