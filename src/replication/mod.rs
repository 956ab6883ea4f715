//! Replication: one member of one raft group, whose log is the broker's CommitLog.
//!
//! [`Replica::start`] brings log and state machine together, starts the owner of the `RawNode`, the
//! applier and the peers' connections, and returns a [`ReplicaHandle`]. Proposals go in by
//! [`ReplicaHandle::propose`], are turned into entries by the application's [`Sequencer`] on the
//! leader, and come out committed at its [`Machine`] on every member.
//!
//! Invariant: only this module names a type of raft's.
//!
//! [`Sequencer`]: machine::Sequencer
//! [`Machine`]: machine::Machine

mod applier;
mod complaint;
mod fatal;
mod figures;
mod handle;
mod heard;
pub mod machine;
mod options;
mod owner;
mod peers;
mod queue;
mod recovery;
mod repair;
mod slog_bridge;
mod standing;
#[cfg(test)]
mod tests;
mod wire;

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::sync::Arc;

use raft::RawNode;
use raft_log::{Disk, Log, LogReader};
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc, watch};

pub use fatal::exit;
pub use figures::ReplicaFigures;
pub use handle::{PeerState, PeerStatus, ReplicaHandle, ReplicaStatus, Role};
pub use options::{
    FatalHandler, FlushMode, Listen, ReplicaOptions, ScrubPace, StartError, handover_limit,
};
pub use repair::{MendedLog, mend_log, open_log};

use applier::{Applier, ApplierTask};
use fatal::{MemberError, end_member};
use handle::HandleParts;
use machine::{Machine, Sequencer};
use owner::{Owner, OwnerParts};
use peers::{Identity, PeerBounds, Peers};
use queue::{ProposalQueue, QueueBounds};
use repair::{LiveLog, Mender};

/// Commands that may wait for the owner; their senders wait beyond that.
const COMMANDS_MAX: usize = 1024;
/// A frame may exceed the largest entry by what is around it, and hold several small ones.
const FRAME_SLACK_BYTES: usize = 2 << 20;

/// One member of a group.
pub struct Replica;

impl Replica {
    /// Starts the member on the current tokio runtime.
    ///
    /// # Errors
    /// When the settings contradict each other, the peers' address cannot be bound, or log and state
    /// machine cannot be brought together.
    pub async fn start<D, S, M>(
        mut options: ReplicaOptions,
        mut log: Log<D>,
        sequencer: S,
        mut machine: M,
    ) -> Result<ReplicaHandle<S::Proposal>, StartError>
    where
        D: Disk,
        S: Sequencer,
        M: Machine<Pending = S::Pending>,
    {
        let payload_bytes_max = log.payload_bytes_max();
        options.entry_bytes_limit = options.entry_bytes_limit.min(payload_bytes_max);
        options.entry_bytes_target = options.entry_bytes_target.min(payload_bytes_max);
        options.validate()?;
        let aligned = recovery::align(&mut log, &mut machine)?;
        let (reader, snapshots) = (log.reader(), log.snapshots());
        let config = options.raft_config(aligned.applied.0);
        let (group, member) = (options.group.clone(), options.member);
        let on_fatal = Arc::clone(&options.on_fatal);
        log.on_read_failure(move |error| {
            end_member(&group, member, &MemberError::Log(error.clone()), &on_fatal);
        });
        let heard_file = log.heard_file();
        let heard = heard_file.load();
        let raft = RawNode::new(&config, log, &slog_bridge::logger(&options.group))?;
        let listener = listen(&mut options).await?;
        let (status, status_seen) =
            watch::channel(ReplicaStatus { member: options.member, ..ReplicaStatus::default() });
        let source = LiveLog { reader: reader.clone(), status: status_seen.clone() };
        let (peers, events) = Peers::start(
            identity_of(&options),
            listener,
            &options.peers,
            peer_bounds(&options),
            Arc::new(source),
            &heard,
        );
        if !options.peers.is_empty() {
            peers.spawn(heard::keep(Arc::clone(peers.table()), heard_file, heard));
        }
        keep_whole(&options, &peers, &reader);

        let wake = Arc::new(Notify::new());
        let bounds = QueueBounds {
            proposals_max: options.waiting_proposals_max,
            bytes_max: options.waiting_bytes_max,
            wake_bytes: options.entry_bytes_target,
        };
        let queue = Arc::new(ProposalQueue::new(bounds, Arc::clone(&wake)));
        let (applier, work) = Applier::new(aligned.applied, Arc::clone(&wake));
        let applier_task = ApplierTask {
            machine,
            work,
            progress: applier.progress(),
            reader,
            snapshots,
            last: (aligned.applied, aligned.term),
            #[cfg(madsim)]
            group: options.group.as_str().into(),
        };
        let (group, member) = (options.group.clone(), options.member);
        let on_fatal = Arc::clone(&options.on_fatal);
        let applying = tokio::spawn(async move {
            if let Err(error) = applier_task.run().await {
                end_member(&group, member, &MemberError::Apply(error), &on_fatal);
            }
        });

        let applying_abort = applying.abort_handle();
        let (commands, commanded) = mpsc::channel(COMMANDS_MAX);
        let table = Arc::clone(peers.table());
        let client_addr = options.client_addr.clone();
        let figures = Arc::new(ReplicaFigures::default());
        let owner = Owner::new(OwnerParts {
            options,
            raft,
            peers,
            events,
            commands: commanded,
            wake,
            sequencer,
            queue: Arc::clone(&queue),
            applier,
            applying,
            status,
            figures: Arc::clone(&figures),
        });
        let owning = tokio::spawn(owner.run());
        Ok(ReplicaHandle::new(HandleParts {
            queue,
            weight: S::weight,
            commands,
            status: status_seen,
            peers: table,
            client_addr,
            figures,
            owning: owning.abort_handle(),
            applying: applying_abort,
        }))
    }
}

async fn listen(options: &mut ReplicaOptions) -> Result<TcpListener, StartError> {
    let address = match std::mem::replace(&mut options.listen, Listen::Address(String::new())) {
        Listen::Bound(listener) => return Ok(listener),
        Listen::Address(address) => address,
    };
    match TcpListener::bind(address.as_str()).await {
        Ok(listener) => Ok(listener),
        Err(source) => Err(StartError::Listen { address, source }),
    }
}

/// Starts what finds and mends damage while the member runs; it ends with the peers' connections.
fn keep_whole<D: Disk>(options: &ReplicaOptions, peers: &Peers, reader: &LogReader<D>) {
    let hurt = Arc::new(Notify::new());
    let tell = Arc::clone(&hurt);
    reader.on_damage(move || tell.notify_one());
    // What was met before somebody listened.
    hurt.notify_one();
    let (identity, table) = (Arc::clone(peers.identity()), Arc::clone(peers.table()));
    let mender = Mender { identity, peers: table, reader: reader.clone() };
    peers.spawn(mender.run(hurt));
    if let Some(pace) = options.scrub {
        peers.spawn(repair::scrub(reader.clone(), pace));
    }
}

fn identity_of(options: &ReplicaOptions) -> Identity {
    Identity {
        cluster: options.cluster.clone(),
        group: options.group.clone(),
        member: options.member,
        client_addr: options.client_addr.clone(),
        // Only has to differ from one process to the next.
        instance: RandomState::new().build_hasher().finish(),
    }
}

fn peer_bounds(options: &ReplicaOptions) -> PeerBounds {
    PeerBounds {
        queue_messages_max: options.peer_queue_messages_max,
        queue_bytes_max: options.peer_queue_bytes_max,
        frame_bytes_max: options.entry_bytes_limit
            + usize::try_from(options.message_bytes_max).unwrap_or(usize::MAX / 2)
            + FRAME_SLACK_BYTES,
    }
}
