//! What all processors of one broker share.
//!
//! Invariant: nothing here is state that must survive. What must is behind [`Core::view`], and changes
//! only through [`Core::replica`].

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicU32, Ordering};

use tokio::sync::{Notify, Semaphore, oneshot, watch};
use tokio::time::{Duration, Instant};

use super::answer::Failure;
use super::catch_up::CatchUp;
use super::client_manager::ClientManager;
use super::commits::OffsetCommits;
use super::group::{CommandOutcome, GroupView, Proposal};
use super::live::LiveSettings;
use super::long_polling::LongPolling;
use super::namesrv_client::Registrar;
use super::pull::Pull;
use super::reset_news::ResetNews;
use super::stats::BrokerStats;
use crate::config::BrokerConfig;
use crate::protocol::group::SubscriptionGroupConfig;
use crate::protocol::message_id::UniqueIdGenerator;
use crate::protocol::names;
use crate::remoting::RemotingClient;
use crate::replication::machine::Refusal;
use crate::replication::{ReplicaHandle, ReplicaStatus};
use crate::state::Command;

/// Parked pulls are answered after this long at the latest, whatever their client asks: its own
/// timeout is thirty seconds.
pub const HOLD_MAX: Duration = Duration::from_secs(20);

/// The shared parts of one broker.
pub struct Core {
    /// Settings.
    pub config: BrokerConfig,
    /// Those of the settings that can be changed, as they are now.
    pub live: LiveSettings,
    /// Where clients reach this member.
    pub address: SocketAddr,
    /// What the committed log says.
    pub view: GroupView,
    /// The way into the log.
    pub replica: ReplicaHandle<Proposal>,
    /// This member's role.
    pub status: watch::Receiver<ReplicaStatus>,
    /// Connected clients.
    pub clients: ClientManager,
    /// Parked pulls.
    pub long_polling: Arc<LongPolling<Pull>>,
    /// Turns of consumers that are far behind.
    pub catch_up: CatchUp,
    /// Offset commits that wait for the log.
    pub commits: OffsetCommits,
    /// Room for commits that go back, which wait a moment.
    pub commits_back: Arc<Semaphore>,
    /// Who has heard of resets.
    pub reset_news: ResetNews,
    /// Connections to other members and to the name servers.
    pub client: RemotingClient,
    /// Registration with the name servers.
    pub registrar: Arc<Registrar>,
    /// Makes the keys of messages that came without one.
    pub unique_ids: UniqueIdGenerator,
    /// Next queue for a message that may go to any and has to know which before it waits.
    pub queue_turn: AtomicU32,
    /// A log of up to this size is taken to be in memory as a whole.
    pub memory_reach_bytes: u64,
    /// Counters.
    pub stats: BrokerStats,
    /// Where metrics are, if they are.
    pub metrics_address: Option<SocketAddr>,
    /// When this broker started.
    pub started_at_ms: i64,
    /// The same, whatever becomes of the clock.
    pub started_at: Instant,
    /// An operator wants expired messages to be given up now.
    pub retention_asked: Notify,
    /// Store timestamp of the oldest message, -1 if there is none.
    pub earliest_stored_ms: AtomicI64,
    /// Sends are refused because the disk is full.
    pub disk_full: AtomicBool,
    /// Used space of the disk in percent.
    pub disk_used_percent: AtomicU8,
    /// The broker is on its way out.
    pub stopping: watch::Sender<bool>,
}

impl Core {
    /// Whether this member leads and may act for the group.
    pub fn serving(&self) -> bool {
        self.status.borrow().serving
    }

    /// Whether the broker is stopping.
    pub fn is_stopping(&self) -> bool {
        *self.stopping.borrow()
    }

    /// Where clients reach the leader, if another member leads.
    pub fn leader_elsewhere(&self) -> Option<String> {
        {
            let status = self.status.borrow();
            if status.leader? == status.member {
                return None;
            }
        }
        self.replica.leader_client_addr()
    }

    /// Where clients reach the other members, those that have said so.
    pub fn members_elsewhere(&self) -> Vec<String> {
        let status = self.status.borrow();
        status.peers.iter().filter_map(|peer| peer.client_addr.clone()).collect()
    }

    /// Proposes something at once; the future waits for its outcome. `refused` makes one of a refusal.
    pub fn ask<O, F>(
        &self,
        proposal: F,
        refused: fn(Refusal) -> O,
    ) -> impl Future<Output = O> + use<O, F>
    where
        O: Send + 'static,
        F: FnOnce(Box<dyn FnOnce(O) + Send>) -> Proposal,
    {
        let (tell, told) = oneshot::channel();
        let reply = Box::new(move |outcome| {
            // Nobody waits any more when the request was given up.
            let _ = tell.send(outcome);
        });
        let rejected = self.replica.propose(proposal(reply)).err();
        async move {
            match rejected {
                Some((_, refusal)) => refused(refusal),
                // Dropped unanswered only when the replica is torn down.
                None => told.await.unwrap_or_else(|_| refused(Refusal::Unknown)),
            }
        }
    }

    /// Proposes a command and waits until it is applied.
    pub fn propose(&self, command: Command) -> impl Future<Output = Result<(), Refusal>> + use<> {
        let asked = self.ask(|reply| Proposal::Command { command, reply }, CommandOutcome::Refused);
        async move {
            match asked.await {
                CommandOutcome::Applied { .. } => Ok(()),
                CommandOutcome::Refused(refusal) => Err(refusal),
            }
        }
    }

    /// Makes sure that what this member reads from now on contains everything acknowledged before.
    pub async fn read_barrier(&self) -> Result<(), Failure> {
        self.replica.read_index().await.map(|_| ()).map_err(Failure::from)
    }

    /// Whether a consumer group exists or may be created by its first use.
    pub fn accepts_group(&self, group: &str) -> bool {
        self.view.group(group).is_some()
            || (names::validate_group(group).is_ok()
                && (self.live.auto_create_subscription_group() || names::is_system_group(group)))
    }

    /// A consumer group's settings; creates it if it may be created and this member leads.
    pub async fn group_or_create(
        &self,
        group: &str,
    ) -> Result<Arc<SubscriptionGroupConfig>, Failure> {
        if let Some(config) = self.view.group(group) {
            return Ok(config);
        }
        if !self.accepts_group(group) {
            return Err(Failure::no_group(group));
        }
        let config = SubscriptionGroupConfig::new(group);
        self.propose(Command::create_group_if_absent(&config)).await?;
        self.view.group(group).ok_or_else(|| Failure::no_group(group))
    }

    /// When a message was stored, if it is there.
    pub fn store_time_ms(
        &self,
        topic: &str,
        queue_id: i32,
        offset: i64,
    ) -> Result<Option<i64>, Failure> {
        Ok(self.view.store_time(topic, queue_id, offset)?)
    }

    /// Marks the disk as full or not; logs the change.
    pub fn set_disk_full(&self, full: bool) {
        if self.disk_full.swap(full, Ordering::AcqRel) != full {
            let used = self.disk_used_percent.load(Ordering::Relaxed);
            tracing::warn!(full, used_percent = used, "disk watermark crossed");
        }
    }
}
