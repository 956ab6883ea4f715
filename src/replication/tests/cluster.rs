//! A group of members in one process: real sockets, and real files or a hostile disk each.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use raft_log::fault::{Loss, SimDisk};
use raft_log::{Disk, Fatal, Log, LogIndex, LogOptions, Position, RealDisk};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::app::{Answer, AppMachine, AppSequencer, Append, Shared};
use super::proxy::Link;
use crate::replication::machine::Refusal;
use crate::replication::{
    FlushMode, Listen, Replica, ReplicaHandle, ReplicaOptions, ReplicaStatus, Role, StartError,
    open_log,
};

/// A test that waits longer than this has failed.
const PATIENCE: Duration = Duration::from_secs(120);

/// What the members of a cluster have in common.
#[derive(Clone, Copy)]
pub struct Settings {
    pub members: u64,
    pub segment_bytes: u64,
    pub flush_mode: FlushMode,
    pub entry_bytes_target: usize,
    pub waiting_proposals_max: usize,
    pub doubt_wait_ms: u64,
    pub election_timeout_ms: u64,
    /// Zero: all members share a machine, so whose disk is slow says nothing.
    pub slow_sync_ms: u64,
    pub unapplied_bytes_max: usize,
}

impl Settings {
    /// For tests in which that time passes.
    pub fn with_short_election_timeout() -> Settings {
        Settings { election_timeout_ms: 2000, ..Settings::default() }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            members: 3,
            segment_bytes: 1 << 20,
            flush_mode: FlushMode::Sync,
            entry_bytes_target: 64 << 10,
            waiting_proposals_max: 64 << 10,
            doubt_wait_ms: 0,
            // Longer than an overloaded machine lets anybody starve; deaths are noticed by connections.
            election_timeout_ms: 5000,
            slow_sync_ms: 0,
            unapplied_bytes_max: 64 << 20,
        }
    }
}

pub struct Member {
    pub handle: ReplicaHandle<Append>,
    pub state: Shared,
}

pub struct Cluster<D: Disk = RealDisk> {
    pub settings: Settings,
    dir: TempDir,
    disks: BTreeMap<u64, D>,
    /// How often each machine lost power.
    boots: BTreeMap<u64, u64>,
    /// What the members died of.
    pub fatal: Arc<Mutex<Vec<Fatal>>>,
    /// From and to.
    pub links: BTreeMap<(u64, u64), Link>,
    pub members: BTreeMap<u64, Member>,
}

/// Awaits, or fails the test.
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("waited too long for {what}"),
    }
}

impl Cluster<SimDisk> {
    /// The machine of a member that does not run loses power.
    pub fn lose_power(&mut self, id: u64, loss: Loss) {
        *self.boots.entry(id).or_default() += 1;
        self.disks[&id].restart(loss);
    }
}

impl Cluster {
    pub async fn start(settings: Settings) -> Cluster {
        let mut cluster = Cluster::prepare(settings).await;
        cluster.start_all().await;
        for id in 1..=settings.members {
            // One that came too late for the founding takes a moment more.
            let takes_part =
                |status: &ReplicaStatus| status.role != Role::Recovering && status.leader.is_some();
            cluster.wait_status(id, "every member to take part", takes_part).await;
        }
        cluster
    }

    /// Without members yet.
    pub async fn prepare(settings: Settings) -> Cluster {
        Cluster::prepare_on(settings, |_| RealDisk::new()).await
    }
}

impl<D: Disk> Cluster<D> {
    /// Without members yet, each on a disk of its own.
    pub async fn prepare_on(settings: Settings, disk: impl Fn(u64) -> D) -> Cluster<D> {
        let mut links = BTreeMap::new();
        for from in 1..=settings.members {
            for to in (1..=settings.members).filter(|&to| to != from) {
                links.insert((from, to), Link::new().await);
            }
        }
        let dir = tempfile::tempdir().unwrap();
        let _ = tracing_subscriber::fmt()
            .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
            .with_test_writer()
            .try_init();
        let disks = (1..=settings.members).map(|id| (id, disk(id))).collect();
        let (members, fatal, boots) = (BTreeMap::new(), Arc::default(), BTreeMap::new());
        Cluster { settings, dir, disks, boots, fatal, links, members }
    }

    pub async fn start_all(&mut self) {
        for id in 1..=self.settings.members {
            self.start_member(id).await;
        }
    }

    pub fn disk(&self, id: u64) -> &D {
        &self.disks[&id]
    }

    /// Another for each cluster: a test that runs beside this one may be given a port that a member just
    /// gave up, while the others still try to reach it there.
    pub fn name(&self) -> String {
        self.dir.path().display().to_string()
    }

    pub fn log_dir(&self, id: u64) -> PathBuf {
        self.dir.path().join(format!("n{id}"))
    }

    fn log_options(&self, id: u64) -> LogOptions {
        let voters = (1..=self.settings.members).collect();
        let mut options = LogOptions::new(&self.name(), "group", &format!("n{id}"), voters);
        options.segment_bytes = self.settings.segment_bytes;
        options.prepare_ahead_bytes = self.settings.segment_bytes;
        options.boot = self.boots.get(&id).copied().unwrap_or(0).to_string();
        options
    }

    pub fn open_log(&self, id: u64) -> Log<D> {
        Log::open(self.disks[&id].clone(), &self.log_dir(id), self.log_options(id)).unwrap()
    }

    pub async fn options(&self, id: u64) -> ReplicaOptions {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut options = ReplicaOptions::new(&self.name(), "group", id, Listen::Bound(listener));
        for (&(from, to), link) in &self.links {
            if to == id {
                link.lead_to(address);
            }
            if from == id {
                options.peers.insert(to, link.address.to_string());
            }
        }
        options.client_addr = format!("client-of-{id}:10911");
        options.election_timeout_ms = self.settings.election_timeout_ms;
        options.slow_sync_ms = self.settings.slow_sync_ms;
        options.flush_mode = self.settings.flush_mode;
        options.doubt_wait_ms = self.settings.doubt_wait_ms;
        options.unapplied_bytes_max = self.settings.unapplied_bytes_max;
        options.committed_bytes_max = self.settings.unapplied_bytes_max.min(4 << 20) as u64;
        options.entry_bytes_target = self.settings.entry_bytes_target;
        options.waiting_proposals_max = self.settings.waiting_proposals_max;
        let most = raft_log::payload_bytes_max(self.settings.segment_bytes);
        options.entry_bytes_limit = options.entry_bytes_limit.min(most);
        let died_of = Arc::clone(&self.fatal);
        options.on_fatal = Arc::new(move |fatal| died_of.lock().push(fatal));
        options
    }

    /// A member's log as its start opens it.
    pub async fn mended_log(&self, id: u64) -> Result<(Log<D>, ReplicaOptions), StartError> {
        let mut options = self.options(id).await;
        let log = self.mended_log_with(id, None, &mut options).await?;
        Ok((log, options))
    }

    /// The same with a position doubted.
    pub async fn mended_log_with(
        &self,
        id: u64,
        doubted: Option<Position>,
        options: &mut ReplicaOptions,
    ) -> Result<Log<D>, StartError> {
        let (disk, dir) = (self.disks[&id].clone(), self.log_dir(id));
        let log_options = LogOptions { doubted, ..self.log_options(id) };
        open_log(disk, &dir, log_options, options).await
    }

    pub async fn start_member(&mut self, id: u64) {
        self.start_with(id, Shared::default()).await;
    }

    /// Starts a member whose machine survived.
    pub async fn start_with(&mut self, id: u64, state: Shared) {
        let (log, options) = self.mended_log(id).await.unwrap();
        self.start_on(id, state, log, options).await;
    }

    /// Starts a member on its opened log.
    pub async fn start_on(&mut self, id: u64, state: Shared, log: Log<D>, options: ReplicaOptions) {
        let sequencer = AppSequencer(Arc::clone(&state));
        let machine = AppMachine(Arc::clone(&state));
        let handle = Replica::start(options, log, sequencer, machine).await.unwrap();
        self.members.insert(id, Member { handle, state });
    }

    /// Ends a member without a word to anybody, and waits until its log can be opened again.
    pub async fn kill(&mut self, id: u64) -> Shared {
        let member = self.members.remove(&id).unwrap();
        member.handle.abort();
        let mut status = member.handle.status();
        drop(member.handle);
        // The owner's end of the watch goes with the owner.
        within("the member's end", async { while status.changed().await.is_ok() {} }).await;
        let applier_gone = async {
            while Arc::strong_count(&member.state) > 1 {
                tokio::task::yield_now().await;
            }
        };
        within("the applier's end", applier_gone).await;
        member.state
    }

    /// Ends all members at once, so that nobody is elected by those that are left.
    pub async fn kill_all(&mut self) {
        self.members.values().for_each(|member| member.handle.abort());
        for id in self.members.keys().copied().collect::<Vec<_>>() {
            self.kill(id).await;
        }
    }

    pub async fn stop(&mut self, id: u64) {
        let member = self.members.remove(&id).unwrap();
        within("an orderly stop", member.handle.shutdown()).await;
    }

    /// The links of a member, in both directions.
    pub fn links_of(&self, id: u64) -> impl Iterator<Item = &Link> {
        let of = move |(from, to): &(u64, u64)| *from == id || *to == id;
        self.links.iter().filter(move |(ends, _)| of(ends)).map(|(_, link)| link)
    }

    fn links_between(&self, one: u64, other: u64) -> [&Link; 2] {
        [&self.links[&(one, other)], &self.links[&(other, one)]]
    }

    pub fn cut(&self, one: u64, other: u64) {
        self.links_between(one, other).iter().for_each(|link| link.cut());
    }

    pub fn mend(&self, one: u64, other: u64) {
        self.links_between(one, other).iter().for_each(|link| link.mend());
    }

    /// The member that serves, once there is one among those that run.
    pub async fn leader(&self) -> u64 {
        self.leader_except(0).await
    }

    pub async fn leader_except(&self, former: u64) -> u64 {
        let candidates = self.members.iter().filter(|&(&id, _)| id != former);
        let serving = candidates.map(|(&id, member)| {
            let mut status = member.handle.status();
            Box::pin(async move {
                if status.wait_for(|status| status.serving).await.is_err() {
                    std::future::pending::<()>().await;
                }
                id
            })
        });
        within("a leader", futures_util::future::select_all(serving)).await.0
    }

    pub fn handle(&self, id: u64) -> &ReplicaHandle<Append> {
        &self.members[&id].handle
    }

    pub async fn wait_status(&self, id: u64, what: &str, is: impl FnMut(&ReplicaStatus) -> bool) {
        let mut status = self.handle(id).status();
        within(what, status.wait_for(is)).await.unwrap();
    }

    /// Proposes to a member, holding back while it is overloaded.
    pub async fn propose(
        &self,
        id: u64,
        value: u64,
        padding_bytes: usize,
    ) -> oneshot::Receiver<Answer> {
        let (mut proposal, answer) = Append::new(value, padding_bytes);
        loop {
            match self.handle(id).propose(proposal) {
                Ok(()) => return answer,
                Err((back, Refusal::Overloaded)) => {
                    proposal = back;
                    tokio::task::yield_now().await;
                }
                Err((_, refusal)) => panic!("member {id} refused: {refusal}"),
            }
        }
    }

    /// Proposes to a member and waits for the outcome.
    pub async fn append(&self, id: u64, value: u64, padding_bytes: usize) -> Answer {
        let answer = self.propose(id, value, padding_bytes).await;
        within("an answer", answer).await.expect("every proposal is answered")
    }

    /// Waits until every running member has applied what the given one has committed.
    pub async fn converge(&self, on: u64) -> LogIndex {
        let index = within("a read", self.handle(on).read_index()).await.unwrap();
        for &id in self.members.keys() {
            self.wait_status(id, "convergence", |status| status.applied >= index).await;
        }
        index
    }

    /// Every entry in a stopped member's log.
    pub fn entries(&self, id: u64) -> Vec<(Position, u64, u64, Vec<u8>)> {
        let log = self.open_log(id);
        let reader = log.reader();
        let mut all = Vec::new();
        let mut at = log.first_position();
        loop {
            let some = reader.entries_from(at, 1 << 20).unwrap();
            let Some(last) = some.last() else { return all };
            at = log.end_of(last.position, last.payload.len());
            let fields = |entry: &raft_log::StoredEntry| {
                (entry.position, entry.index.0, entry.term.0, entry.payload.to_vec())
            };
            all.extend(some.iter().map(fields));
        }
    }
}
