//! From a configuration to a serving broker, and back in good order.
//!
//! Start: log (repaired by peers if it is damaged), derived state, replica, then clients. Stop:
//! leadership handed over while everything still works, the name servers told, what is in flight
//! answered, and only then connections closed.
//!
//! Invariant: nothing is served before it is true; an orderly stop leaves no request unanswered that
//! could be answered.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicU32};
use std::sync::{Arc, OnceLock};

use raft_log::{Disk, Fatal, Log, LogOptions, Position};
use tokio::sync::{Notify, Semaphore, watch};
use tokio::task::JoinHandle;
use tokio::time::{Duration, Instant, sleep, timeout};

use super::answer::Failure;
use super::catch_up::CatchUp;
use super::client_manager::ClientManager;
use super::commits::OffsetCommits;
use super::core::Core;
use super::dispatch::{Dispatcher, refuse};
use super::duties::{self, Effects};
#[cfg(not(madsim))]
use super::exporter::Exporter;
use super::group::{self, Group, GroupOptions, GroupView};
use super::host::{Host, ThisMachine};
use super::live::LiveSettings;
use super::long_polling::LongPolling;
use super::namesrv_client::Registrar;
use super::offsets::COMMITS_BACK_MAX;
use super::reset_news::ResetNews;
use super::stats::BrokerStats;
use super::{preferred_leader, pull, retention};
use crate::config::{BrokerConfig, FlushDiskType};
use crate::protocol::message_id::UniqueIdGenerator;
use crate::remoting::{
    ClientOptions, Connection, RemotingClient, RemotingServer, Request, RequestHandler,
    ServerOptions,
};
use crate::replication::machine::Machine as _;
use crate::replication::{
    FlushMode, Listen, MendedLog, Replica, ReplicaOptions, ReplicaStatus, ScrubPace, StartError,
    handover_limit, mend_log, open_log,
};
use crate::store::StoreError;

/// Offset commits that may wait for the log.
const COMMITS_MAX: usize = 100_000;
/// Read in a second for consumers that are far behind, for each core, if the config does not say.
const CATCH_UP_BYTES_PER_CORE: u64 = 40 << 20;
/// Share of physical memory that the tail of the log is taken to be in, as RocketMQ has it.
const MEMORY_REACH_PERCENT: u64 = 40;
/// How long a stopping leader waits for offsets to be stored, besides what its handover may take.
const SETTLE_LIMIT: Duration = Duration::from_secs(2);
/// How long it then waits for the name servers to know the successor.
const SUCCESSOR_LIMIT: Duration = Duration::from_secs(2);
const SUCCESSOR_LOOK: Duration = Duration::from_millis(20);

/// Why a broker cannot start.
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    /// The store directory cannot be used.
    #[error("storePathRootDir {directory}: {source}; create it or make it writable for this user")]
    Directory {
        /// The directory.
        directory: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// brokerIP1 is no address.
    #[error("brokerIP1 {address:?} does not name an address of this machine: {source}")]
    Address {
        /// As configured.
        address: String,
        /// What the resolver said.
        source: std::io::Error,
    },
    /// The derived data refused.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No thread, or no port.
    #[error("cannot {action}: {source}")]
    System {
        /// What was tried.
        action: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// Replication refused.
    #[error(transparent)]
    Replica(#[from] StartError),
}

impl BrokerError {
    /// The process's exit code.
    pub fn exit_code(&self) -> i32 {
        let fatal = match self {
            BrokerError::Replica(StartError::Log(error)) => error.fatal(),
            BrokerError::Store(StoreError::NewerFormat { .. }) => Some(Fatal::NewerFormat),
            _ => None,
        };
        fatal.map_or(1, Fatal::exit_code)
    }
}

/// A running member of a broker group.
pub struct Broker {
    core: Arc<Core>,
    server: RemotingServer,
    tasks: Vec<JoinHandle<()>>,
    /// Answers until the broker has stopped.
    #[cfg(not(madsim))]
    exporter: Option<Exporter>,
}

/// Hands requests on once there is someone to take them.
struct LateHandler {
    dispatcher: OnceLock<Dispatcher>,
}

impl RequestHandler for LateHandler {
    fn handle(&self, request: Request) {
        match self.dispatcher.get() {
            Some(dispatcher) => dispatcher.handle(request),
            None => {
                refuse(
                    request.responder,
                    &Failure::unavailable("the broker is starting; send it again"),
                );
            }
        }
    }

    fn connection_closed(&self, connection: &Arc<Connection>) {
        if let Some(dispatcher) = self.dispatcher.get() {
            dispatcher.connection_closed(connection);
        }
    }
}

impl Broker {
    /// Starts a broker.
    ///
    /// # Errors
    /// What stands in the way, and what to do about it.
    pub async fn start(config: BrokerConfig) -> Result<Broker, BrokerError> {
        let listen = Listen::Address(config.own_peer().address());
        Self::start_with(config, listen).await
    }

    /// Starts a broker whose peers reach it at `listen`, for embedders that bind the port first.
    ///
    /// # Errors
    /// As [`Broker::start`].
    pub async fn start_with(config: BrokerConfig, listen: Listen) -> Result<Broker, BrokerError> {
        Self::start_on(&ThisMachine, config, listen).await
    }

    /// Starts a broker on `host`.
    ///
    /// # Errors
    /// As [`Broker::start`].
    pub async fn start_on<H: Host>(
        host: &H,
        config: BrokerConfig,
        listen: Listen,
    ) -> Result<Broker, BrokerError> {
        // First, so that who watches is answered while the log is being read.
        #[cfg(not(madsim))]
        let exporter = Exporter::start(&config).await?;
        let root = &config.store_path_root_dir;
        host.disk().create_dir_all(root).map_err(|source| BrokerError::Directory {
            directory: root.display().to_string(),
            source,
        })?;
        let mut options = replica_options(&config, listen);
        options.on_fatal = host.on_fatal();
        let long_polling = Arc::new(LongPolling::new(config.long_polling_requests_max));
        let registrar = Arc::new(Registrar::new(&config));
        let effects = Effects { long_polling: long_polling.clone(), registrar: registrar.clone() };
        let (log, group) = open_whole(host, &config, &effects, &mut options).await?;
        let (Group { sequencer, machine, view }, reader) = (group, log.reader());

        let handler = Arc::new(LateHandler { dispatcher: OnceLock::new() });
        let server = bind(&config, handler.clone()).await?;
        let address = advertised(&config, server.local_addr().port()).await?;

        options.client_addr = address.to_string();
        let replica = Replica::start(options, log, sequencer, machine).await?;
        let status = replica.status();
        let period = Duration::from_millis(config.consumer_offset_propose_interval_ms);
        let core = Arc::new(Core {
            live: LiveSettings::new(&config),
            address,
            view,
            replica,
            status,
            clients: ClientManager::new(true),
            long_polling,
            reset_news: ResetNews::default(),
            commits_back: Arc::new(Semaphore::new(COMMITS_BACK_MAX)),
            catch_up: CatchUp::new(
                catch_up_bytes_per_second(&config, host.cores()),
                Instant::now(),
            ),
            commits: OffsetCommits::new(period, COMMITS_MAX),
            client: RemotingClient::new(ClientOptions::default(), None),
            registrar,
            unique_ids: UniqueIdGenerator::new(
                address.ip(),
                crate::process::number(),
                u32::from(address.port()),
            ),
            queue_turn: AtomicU32::new(0),
            memory_reach_bytes: host.memory_bytes() / 100 * MEMORY_REACH_PERCENT,
            stats: BrokerStats::default(),
            #[cfg(not(madsim))]
            metrics_address: exporter.as_ref().map(Exporter::address),
            #[cfg(madsim)]
            metrics_address: None,
            started_at_ms: crate::clock::now_ms(),
            started_at: Instant::now(),
            retention_asked: Notify::new(),
            earliest_stored_ms: AtomicI64::new(-1),
            disk_full: AtomicBool::new(false),
            disk_used_percent: AtomicU8::new(0),
            stopping: watch::channel(false).0,
            config,
        });
        if handler.dispatcher.set(Dispatcher::new(core.clone())).is_err() {
            unreachable!("the dispatcher is set once, here");
        }
        #[cfg(not(madsim))]
        if let Some(exporter) = &exporter {
            exporter.speaks_for(&core);
        }
        let segment_bytes = core.config.mapped_file_size_commit_log;
        let mut tasks = Registrar::start(&core);
        tasks.extend([
            tokio::spawn(pull::answer_woken(core.clone())),
            tokio::spawn(duties::sweep(core.clone())),
            tokio::spawn(duties::flush_commits(core.clone())),
            tokio::spawn(duties::follow_role(core.clone())),
            tokio::spawn(preferred_leader::keep_preferred(core.clone())),
            tokio::spawn(retention::run(core.clone(), reader, segment_bytes, host.disk_gauge())),
        ]);
        tracing::info!(
            broker = core.config.broker_name,
            member = core.config.dleger_self_id,
            %address,
            applied = %core.view.applied(),
            "broker started"
        );
        Ok(Broker {
            core,
            server,
            tasks,
            #[cfg(not(madsim))]
            exporter,
        })
    }

    /// Where clients reach it.
    pub fn address(&self) -> SocketAddr {
        self.core.address
    }

    /// Its place in the raft group, now and whenever it changes.
    pub fn status(&self) -> watch::Receiver<ReplicaStatus> {
        self.core.status.clone()
    }

    /// What its copy of the log says.
    pub fn view(&self) -> &GroupView {
        &self.core.view
    }

    /// The line that scripts wait for.
    pub fn boot_line(&self) -> String {
        let config = &self.core.config;
        let mut line = format!(
            "The broker[{}, {}] boot success. serializeType=JSON",
            config.broker_name, self.core.address
        );
        if !config.namesrv_addr.is_empty() {
            line.push_str(" and name server is ");
            line.push_str(&config.namesrv_addr.join(";"));
        }
        line
    }

    /// Stops in good order.
    pub async fn shutdown(self) {
        let Broker {
            core,
            server,
            mut tasks,
            #[cfg(not(madsim))]
            exporter,
        } = self;
        hand_over(&core).await;
        core.stopping.send_replace(true);
        core.long_polling.release_all();
        // From here on nobody registers again: what is said last is goodbye.
        let registrar_tasks = core.config.namesrv_addr.len();
        for task in tasks.drain(..registrar_tasks) {
            task.abort();
            // An error is the abortion itself.
            let _ = task.await;
        }
        Registrar::unregister(&core).await;
        server.shutdown().await;
        core.replica.shutdown().await;
        for task in tasks {
            task.abort();
            let _ = task.await;
        }
        #[cfg(not(madsim))]
        drop(exporter);
        tracing::info!(broker = core.config.broker_name, "broker stopped");
    }
}

/// Gives leadership to another member, and waits until clients can find it.
async fn hand_over(core: &Core) {
    if !core.serving() {
        return;
    }
    let handover = async {
        core.commits.settled(None).await;
        core.replica.transfer_leader(None).await
    };
    let limit = SETTLE_LIMIT + handover_limit(core.config.raft_election_timeout_ms);
    match timeout(limit, handover).await {
        Ok(Ok(leader)) => tracing::info!(leader, "leadership handed over"),
        Ok(Err(refusal)) => return tracing::warn!(%refusal, "stopping without a successor"),
        Err(_) => return tracing::warn!("stopping without a successor: none took over in time"),
    }
    let deadline = Instant::now() + SUCCESSOR_LIMIT;
    loop {
        core.registrar.register_now().await;
        if core.registrar.leader_is_elsewhere() || Instant::now() >= deadline {
            return;
        }
        sleep(SUCCESSOR_LOOK).await;
    }
}

fn log_options(config: &BrokerConfig, boot: String) -> LogOptions {
    let cluster = &config.broker_cluster_name;
    let mut options =
        LogOptions::new(cluster, &config.dleger_group, config.member_id(), config.voters());
    options.segment_bytes = config.mapped_file_size_commit_log;
    options.tail_bytes_max = config.memory_shares().tail_bytes;
    #[cfg(madsim)]
    if crate::mistake::made(crate::mistake::Mistake::KeepsWholeTail) {
        options.tail_bytes_max = usize::MAX / 2;
    }
    #[cfg(madsim)]
    {
        let mistake = crate::mistake::Mistake::CutsUnreadableTail;
        options.cuts_unreadable_tail = crate::mistake::made(mistake);
    }
    options.boot = boot;
    options
}

/// The log, whole as far as the start reads it, and what is derived from it.
async fn open_whole<H: Host>(
    host: &H,
    config: &BrokerConfig,
    effects: &Effects,
    options: &mut ReplicaOptions,
) -> Result<(Log<H::Disk>, Group), BrokerError> {
    let directory = &config.store_path_dledger_commit_log;
    let mut log_options = log_options(config, host.boot());
    loop {
        let log = open_log(host.disk(), directory, log_options.clone(), options).await?;
        match derive(host, config, &log, effects, options).await? {
            Derived::Group(group) => return Ok((log, group)),
            Derived::Doubts(position) => log_options.doubted = Some(position),
        }
    }
}

/// What came of an open log.
#[allow(clippy::large_enum_variant, reason = "there is one, at a start, and it is taken apart")]
enum Derived {
    /// What is derived from it; the log is mended.
    Group(Group),
    /// It has to be opened again with this position doubted.
    Doubts(Position),
}

async fn derive<H: Host>(
    host: &H,
    config: &BrokerConfig,
    log: &Log<H::Disk>,
    effects: &Effects,
    options: &mut ReplicaOptions,
) -> Result<Derived, BrokerError> {
    loop {
        // What is derived from the log may have to be read from where it is damaged.
        let (opened, applied) = match open_group(host, config, log, effects.clone()) {
            Err(error) if log.reader().damaged().is_empty() => return Err(error),
            Err(_) => (None, log.last_index()),
            Ok(group) => {
                let applied = group.machine.applied();
                (Some(group), applied)
            }
        };
        match (mend_log(log, applied, options).await?, opened) {
            (MendedLog::GivenUp(position), _) => return Ok(Derived::Doubts(position)),
            (MendedLog::Whole, Some(group)) => return Ok(Derived::Group(group)),
            (MendedLog::Whole, None) => {}
        }
    }
}

fn open_group<H: Host>(
    host: &H,
    config: &BrokerConfig,
    log: &Log<H::Disk>,
    effects: Effects,
) -> Result<Group, BrokerError> {
    let root = &config.store_path_root_dir;
    let sink = Arc::new(effects);
    let options = GroupOptions::of_log(log, host, root, config.extent_bytes, sink)?;
    Ok(group::open(options)?)
}

async fn bind(
    config: &BrokerConfig,
    handler: Arc<LateHandler>,
) -> Result<RemotingServer, BrokerError> {
    let address = SocketAddr::new(config.bind_address, config.listen_port);
    let bound = RemotingServer::bind(address, handler, server_options(config)).await;
    bound.map_err(|source| BrokerError::System {
        action: format!("listen for clients on {address} (listenPort; is another broker running?)"),
        source,
    })
}

fn server_options(config: &BrokerConfig) -> ServerOptions {
    ServerOptions {
        idle_close: Duration::from_secs(config.server_channel_max_idle_time_seconds),
        connections_max: config.server_connections_max,
        ..ServerOptions::default()
    }
}

async fn advertised(config: &BrokerConfig, port: u16) -> Result<SocketAddr, BrokerError> {
    let host = config.broker_ip1.as_str();
    if let Ok(ip) = host.parse() {
        return Ok(SocketAddr::new(ip, port));
    }
    let failed = |source| BrokerError::Address { address: host.to_owned(), source };
    let mut found = tokio::net::lookup_host((host, port)).await.map_err(failed)?;
    found.next().ok_or_else(|| failed(std::io::Error::other("it resolves to nothing")))
}

fn catch_up_bytes_per_second(config: &BrokerConfig, cores: u64) -> u64 {
    match config.catch_up_bytes_per_second {
        0 => CATCH_UP_BYTES_PER_CORE * cores,
        bytes_per_second => bytes_per_second,
    }
}

fn replica_options(config: &BrokerConfig, listen: Listen) -> ReplicaOptions {
    let own = config.raft_id();
    let peers = config.dleger_peers.iter().filter(|peer| peer.raft_id() != own);
    let mut options =
        ReplicaOptions::new(&config.broker_cluster_name, &config.dleger_group, own, listen);
    options.peers = peers.map(|peer| (peer.raft_id(), peer.address())).collect();
    options.flush_mode = match config.flush_disk_type {
        FlushDiskType::SyncFlush => FlushMode::Sync,
        FlushDiskType::AsyncFlush => FlushMode::Async,
    };
    options.scrub = (config.log_scrub_bytes_per_second > 0).then_some(ScrubPace {
        bytes_per_second: config.log_scrub_bytes_per_second,
        pause: Duration::from_millis(config.log_scrub_interval_ms),
    });
    options.election_timeout_ms = config.raft_election_timeout_ms;
    options.heartbeat_interval_ms = config.raft_heartbeat_interval_ms;
    options.slow_sync_ms = config.raft_slow_sync_ms;
    options.doubt_wait_ms = config.raft_doubt_wait_ms;
    options.entry_bytes_target = config.raft_entry_bytes_max;
    options.waiting_proposals_max = config.send_queue_capacity;
    let shares = config.memory_shares();
    options.waiting_bytes_max = shares.waiting_bytes;
    options.uncommitted_bytes_max = shares.uncommitted_bytes;
    options.unapplied_bytes_max = shares.unapplied_bytes;
    options.committed_bytes_max = options.committed_bytes_max.min(shares.unapplied_bytes as u64);
    options.peer_queue_bytes_max = shares.peer_queue_bytes;
    options.entry_bytes_limit = shares.entry_bytes_max;
    options.message_bytes_max = shares.append_bytes as u64;
    options.inflight_messages_max = shares.appends_in_flight;
    #[cfg(madsim)]
    {
        let usual = (options.message_bytes_max, options.inflight_messages_max);
        (options.message_bytes_max, options.inflight_messages_max) = crate::buggify::appends(usual);
    }
    options
}
