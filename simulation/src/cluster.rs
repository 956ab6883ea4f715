//! The nodes of a run and what can be done to them: name server, members of the broker groups, clients.
//!
//! As in production, a machine's process runs a broker of every group: they live and end together, and
//! share its disk.
//!
//! Invariant: every operation may be asked for at any time, and does nothing when the member is not in
//! the state for it, so that faults may overlap. A process that says it must end has ended: it is
//! killed before it does anything else, and that is a finding unless a fault explains it.

use std::collections::BTreeSet;
use std::future::pending;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use madsim::runtime::Handle;
use madsim::task::NodeId;
use raft_log::fault::BusError;
use raft_log::{Fatal, LogOptions};
use raftmq::broker::group::GroupView;
use raftmq::broker::{Broker, BrokerError};
use raftmq::config::{BrokerConfig, Configuration, MemoryShares, NamesrvConfig};
use raftmq::namesrv::NameServer;
use raftmq::replication::{Listen, ReplicaStatus};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::invariants::Findings;
use crate::machine::{Flaw, Machine};
use crate::network::Network;
use crate::parameters::Parameters;
use crate::trace::Trace;

const CLUSTER: &str = "simulated";
/// The groups' names, which are their brokers' too.
const GROUPS: [&str; 3] = ["group-a", "group-b", "group-c"];
/// Of the first group; those of the others lie behind.
const CLIENT_PORT: u16 = 10_911;
const PEER_PORT: u16 = 40_911;
/// A client that lost its connection keeps its locks for as long as it goes by them.
const LOCK_RETURN_MS: u64 = 33_000;
const PORTS_APART: u16 = 10;
/// How soon a process that cannot start has to say so.
pub const REFUSAL_LIMIT: Duration = Duration::from_secs(3);
/// Where clients and brokers find the name server.
pub const NAME_SERVER: &str = "10.0.1.1:9876";
/// How long an orderly stop may take before the process is killed.
const STOP_LIMIT: Duration = Duration::from_secs(15);
/// How soon after its end a process is started again by whoever watches it.
const REVIVAL: Duration = Duration::from_secs(1);
/// How often processes are watched.
const WATCH: Duration = Duration::from_millis(5);

/// What a member's process shows while it runs.
#[derive(Clone)]
pub struct Live {
    /// Its place in the raft group.
    pub status: watch::Receiver<ReplicaStatus>,
    /// Its state.
    pub view: GroupView,
}

/// Whether a member's process runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Running {
    /// It does.
    Up,
    /// It does, and gets no time.
    Paused,
    /// It does not.
    Down,
}

/// Why a process ended by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ending {
    /// Its exit code.
    pub code: i32,
    /// In words.
    pub reason: String,
}

impl From<Fatal> for Ending {
    fn from(fatal: Fatal) -> Ending {
        Ending { code: fatal.exit_code(), reason: fatal.to_string() }
    }
}

impl From<&BrokerError> for Ending {
    fn from(error: &BrokerError) -> Ending {
        Ending { code: error.exit_code(), reason: format!("it does not start: {error}") }
    }
}

#[derive(Default)]
struct Slot {
    /// By group.
    live: Vec<Live>,
    stopped: bool,
    failed: Option<Ending>,
}

/// A machine, with a member of every group.
pub struct Member {
    /// Its machine.
    pub machine: Machine,
    /// Its node.
    pub node: NodeId,
    /// Where its logs are, by group.
    pub log_dirs: Vec<PathBuf>,
    /// Where its brokers' files are, by group.
    pub root_dirs: Vec<PathBuf>,
    /// The parts of its brokers' memory budgets, which are the same for all.
    pub memory: MemoryShares,
    running: Mutex<Running>,
    slot: Arc<Mutex<Slot>>,
    /// Whether this life of its process has been asked to stop.
    stop: watch::Sender<bool>,
    /// Power is about to go during one of its disk calls.
    doomed: AtomicBool,
    /// Exit codes that faults explain.
    excused: Mutex<BTreeSet<i32>>,
    /// How its process ended by itself the last time.
    ended: Mutex<Option<Ending>>,
}

impl Member {
    fn slot(&self) -> MutexGuard<'_, Slot> {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether its process runs.
    pub fn running(&self) -> Running {
        *self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_running(&self, running: Running) {
        *self.running.lock().unwrap_or_else(PoisonError::into_inner) = running;
    }

    /// A fault explains it from now on when its process ends by itself with one of these codes.
    pub fn excuse(&self, codes: &[i32]) {
        self.excused.lock().unwrap_or_else(PoisonError::into_inner).extend(codes);
    }

    /// How its process ended by itself, if it did so since this was asked last.
    pub fn take_ending(&self) -> Option<Ending> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// What its process shows of its member of a group, once that has started.
    pub fn live(&self, group: usize) -> Option<Live> {
        self.slot().live.get(group).cloned()
    }

    /// What its member of a group says about itself.
    pub fn status(&self, group: usize) -> Option<ReplicaStatus> {
        Some(self.slot().live.get(group)?.status.borrow().clone())
    }

    /// Whether its members of all groups have started.
    pub fn has_started(&self) -> bool {
        self.slot().live.len() == self.log_dirs.len()
    }

    /// Whether all of it works, and does not end at once by a page that its disk cannot read.
    pub fn is_there(&self) -> bool {
        self.has_started() && !self.machine.disk.has_bus_error()
    }
}

/// See the module.
pub struct Cluster {
    /// The machines.
    pub members: Vec<Member>,
    /// The name server's node.
    pub name_server: NodeId,
    /// Whose client asks members for what operators want.
    pub operator: NodeId,
    /// What connects them.
    pub network: Network,
    /// The run's events.
    pub trace: Trace,
    /// Where unexplained ends are reported.
    pub findings: Findings,
    parameters: Arc<Parameters>,
    name_server_up: AtomicBool,
    /// Nobody has power, so no process is started again by itself.
    dark: AtomicBool,
    /// By group, below which position retention has given it up.
    given_up: Mutex<Vec<i64>>,
}

impl Cluster {
    /// Starts name server and brokers; `clients` are nodes that only the network has to know.
    pub fn start(
        parameters: Arc<Parameters>,
        clients: &[NodeId],
        trace: Trace,
        findings: Findings,
    ) -> Arc<Cluster> {
        let name_server = start_name_server(&parameters);
        let members: Vec<Member> =
            (0..parameters.members).map(|number| start_member(&parameters, number)).collect();
        let mut nodes: Vec<NodeId> = members.iter().map(|member| member.node).collect();
        let ip = "10.0.4.1".parse().expect("an address");
        let operator = Handle::current().create_node().name("operator").ip(ip).build().id();
        nodes.extend([name_server, operator]);
        nodes.extend(clients);
        let network = Network::between(nodes);
        network.set_latency_ms(parameters.network_ms);
        let name_server_up = AtomicBool::new(true);
        let given_up = Mutex::new(vec![0; parameters.groups]);
        let cluster = Arc::new(Cluster {
            members,
            name_server,
            operator,
            network,
            trace,
            findings,
            parameters,
            name_server_up,
            dark: AtomicBool::new(false),
            given_up,
        });
        tokio::spawn(watch_processes(Arc::clone(&cluster)));
        cluster
    }

    /// How many groups there are.
    pub fn groups(&self) -> usize {
        self.parameters.groups
    }

    /// Bytes of log in a segment.
    pub fn segment_bytes(&self) -> u64 {
        self.parameters.segment_bytes
    }

    /// The member of a group that serves as leader in the highest term; none while nobody does.
    pub fn leader(&self, group: usize) -> Option<usize> {
        let serving = (0..self.members.len()).filter_map(|number| {
            let status = self.members[number].status(group)?;
            status.serving.then_some((status.term.0, number))
        });
        serving.max().map(|(_, number)| number)
    }

    /// Below which position retention has given up a group's log, as far as anybody ever heard: who did may
    /// have ended since, or have lost its disk.
    pub fn given_up(&self, group: usize) -> i64 {
        self.members.iter().for_each(|member| self.hear_what_is_given_up(member));
        self.heard_given_up()[group]
    }

    fn hear_what_is_given_up(&self, member: &Member) {
        for (group, most) in self.heard_given_up().iter_mut().enumerate() {
            let Some(live) = member.live(group) else { continue };
            let position = i64::try_from(live.view.min_position().0).unwrap_or(i64::MAX);
            *most = position.max(*most);
        }
    }

    fn heard_given_up(&self) -> MutexGuard<'_, Vec<i64>> {
        self.given_up.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Members whose process runs.
    pub fn up(&self) -> Vec<usize> {
        let up = |number: &usize| self.members[*number].running() == Running::Up;
        (0..self.members.len()).filter(up).collect()
    }

    /// The process ends at once; what it wrote stays in the machine's cache.
    pub fn kill(&self, number: usize) {
        let member = &self.members[number];
        if member.running() == Running::Down {
            return;
        }
        self.trace.tell(format_args!("{} is killed", member.machine.name));
        self.end_process(member);
        member.machine.process_ended();
    }

    /// The machine loses power, whether or not its process runs.
    pub fn lose_power(&self, number: usize) {
        let member = &self.members[number];
        self.trace.tell(format_args!("{} loses power", member.machine.name));
        self.end_process(member);
        member.machine.lose_power();
    }

    /// Whether one more machine may lose power. Where that costs what only a cache held, most must still
    /// have everything.
    pub fn may_lose_power(&self) -> bool {
        let forgot = self.members.iter().filter(|member| !member.machine.remembers_all()).count();
        !self.parameters.flush_async || forgot < (self.members.len() - 1) / 2
    }

    /// How a process ends that read a page under a map which its disk cannot read. The next one knows of it.
    fn met_lost_page(&self, member: &Member) -> Option<Ending> {
        let BusError { file, offset, again } = member.machine.disk.take_bus_error()?;
        let what = format!("byte {offset} of {}", file.display());
        if again {
            let name = &member.machine.name;
            let what = format!("{name}: {what}");
            self.findings.report("a page that cannot be read ends a process once", what);
        }
        let Ending { code, reason } = Ending::from(Fatal::PageUnreadable);
        Some(Ending { code, reason: format!("{what}: {reason}") })
    }

    fn end_process(&self, member: &Member) {
        self.hear_what_is_given_up(member);
        if member.running() != Running::Down {
            Handle::current().kill(member.node);
        }
        *member.slot() = Slot::default();
        member.set_running(Running::Down);
        member.doomed.store(false, Ordering::Relaxed);
        member.stop.send_replace(false);
        // What it said in its last moments.
        let _ = member.machine.take_fatal();
    }

    /// The power of the machine's disk goes in the middle of its `calls`th call from now on.
    pub fn doom(&self, number: usize, calls: u64) {
        let member = &self.members[number];
        if member.running() == Running::Up {
            let name = &member.machine.name;
            self.trace.tell(format_args!("{name} will lose power during disk call {calls}"));
            member.doomed.store(true, Ordering::Relaxed);
            member.machine.disk.power_off_at_call(calls);
        }
    }

    /// From now on no process is started again but when it is asked for, or as usual.
    pub fn keep_dark(&self, dark: bool) {
        self.dark.store(dark, Ordering::Relaxed);
    }

    /// Starts the process of a member that is down.
    pub fn start_again(&self, number: usize) {
        let member = &self.members[number];
        if member.running() != Running::Down {
            return;
        }
        self.trace.tell(format_args!("{} starts again", member.machine.name));
        member.machine.process_starts();
        member.set_running(Running::Up);
        Handle::current().restart(member.node);
    }

    /// The process gets no time any more; its connections stay.
    pub fn pause(&self, number: usize) {
        let member = &self.members[number];
        if member.running() == Running::Up {
            self.trace.tell(format_args!("{} is stopped (SIGSTOP)", member.machine.name));
            member.set_running(Running::Paused);
            Handle::current().pause(member.node);
        }
    }

    /// A paused process goes on.
    pub fn resume(&self, number: usize) {
        let member = &self.members[number];
        if member.running() == Running::Paused {
            self.trace.tell(format_args!("{} goes on", member.machine.name));
            member.set_running(Running::Up);
            Handle::current().resume(member.node);
        }
    }

    /// Stops the process in good order; one that takes too long is killed.
    pub async fn stop(&self, number: usize) {
        let member = &self.members[number];
        if member.running() != Running::Up || !member.has_started() {
            return;
        }
        if member.stop.send_replace(true) {
            return;
        }
        self.trace.tell(format_args!("{} is asked to stop", member.machine.name));
        let stopped = async {
            while !member.slot().stopped && member.running() == Running::Up {
                sleep(WATCH).await;
            }
        };
        let in_time = timeout(STOP_LIMIT, stopped).await.is_ok();
        if member.running() == Running::Down {
            return;
        }
        let how = if in_time { "has stopped" } else { "does not stop, and is killed" };
        self.trace.tell(format_args!("{} {how}", member.machine.name));
        self.end_process(member);
        member.machine.process_ended();
    }

    /// The name server is gone.
    pub fn kill_name_server(&self) {
        if self.name_server_up.swap(false, Ordering::Relaxed) {
            self.trace.tell(format_args!("the name server is killed"));
            Handle::current().kill(self.name_server);
        }
    }

    /// It is back, and knows nothing.
    pub fn start_name_server_again(&self) {
        if !self.name_server_up.swap(true, Ordering::Relaxed) {
            self.trace.tell(format_args!("the name server starts again, empty"));
            Handle::current().restart(self.name_server);
        }
    }

    /// A member's machine starts with a copy of another's disk, which must be refused; then with its own
    /// again.
    pub async fn start_with_disk_of(&self, number: usize, other: usize) {
        let (member, owner) = (&self.members[number], &self.members[other]);
        if member.machine.has_foreign_disk() {
            // Somebody else waits for it to be refused.
            return;
        }
        let store_dir = |number: usize| PathBuf::from(format!("/n{number}"));
        let (from, to) = (store_dir(other), store_dir(number));
        let logs = owner.log_dirs.iter().zip(&member.log_dirs);
        let logs = logs.map(|(from, to)| (from.as_path(), to.as_path()));
        let renamed: Vec<(&Path, &Path)> = logs.chain([(&*from, &*to)]).collect();
        let copy = owner.machine.disk.copy_of(&renamed);
        let before = copy.contents();
        if !before.keys().any(|path| Path::new(path).ends_with("identity")) {
            // Its owner lost its own: this one is nobody's yet.
            return;
        }
        self.kill(number);
        let name = &member.machine.name;
        self.trace.tell(format_args!("{name} starts with the disk of {}", owner.machine.name));
        member.machine.mount(Some(copy.clone()));
        drop(member.take_ending());
        member.excuse(&[Fatal::WrongIdentity.exit_code()]);
        self.start_again(number);
        let refused = async {
            loop {
                if let Some(ending) = member.take_ending() {
                    return ending;
                }
                sleep(WATCH).await;
            }
        };
        const REFUSED: &str = "the disk of another member is refused and left alone";
        match timeout(REFUSAL_LIMIT, refused).await {
            Ok(ending) if ending.code == Fatal::WrongIdentity.exit_code() => {}
            Ok(ending) => self.findings.report(REFUSED, format!("{name}: {}", ending.reason)),
            Err(_) => self.findings.report(REFUSED, format!("{name} starts with it")),
        }
        self.kill(number);
        let after = copy.contents();
        if before != after {
            let what = format!("{name} changed it: {before:?} before, {after:?} after");
            self.findings.report(REFUSED, what);
        }
        member.machine.mount(None);
    }

    /// Ends what still runs, so that disks can be examined. Caches stay.
    pub fn end(&self) {
        for number in 0..self.members.len() {
            self.resume(number);
            self.kill(number);
            self.members[number].machine.disk.end_by_maps(false);
        }
        self.kill_name_server();
    }

    /// What the log of a machine's member of a group is opened with.
    pub fn log_options(&self, number: usize, group: usize) -> LogOptions {
        let voters = (1..=self.members.len() as u64).collect();
        let mut options = LogOptions::new(CLUSTER, GROUPS[group], &format!("n{number}"), voters);
        options.segment_bytes = self.parameters.segment_bytes;
        options
    }
}

/// Takes processes that must end off their nodes, and starts them again after a while, as a service
/// manager would.
async fn watch_processes(cluster: Arc<Cluster>) {
    loop {
        sleep(WATCH).await;
        for (number, member) in cluster.members.iter().enumerate() {
            cluster.hear_what_is_given_up(member);
            let name = &member.machine.name;
            let doomed = member.doomed.load(Ordering::Relaxed);
            if doomed && member.machine.disk.is_powered_off() {
                cluster.lose_power(number);
                revive(&cluster, number);
                continue;
            }
            let failed = member.slot().failed.take();
            let fatal = member.machine.take_fatal().map(Ending::from);
            let met = cluster.met_lost_page(member);
            let Some(ending) = fatal.or(failed).or(met) else { continue };
            let Ending { code, reason } = &ending;
            cluster.trace.tell(format_args!("{name} ended with code {code}: {reason}"));
            if !member.excused.lock().unwrap_or_else(PoisonError::into_inner).contains(code) {
                cluster.findings.report("no member ends by itself", format!("{name}: {reason}"));
            }
            *member.ended.lock().unwrap_or_else(PoisonError::into_inner) = Some(ending);
            cluster.kill(number);
            revive(&cluster, number);
        }
    }
}

fn revive(cluster: &Arc<Cluster>, number: usize) {
    let cluster = Arc::clone(cluster);
    tokio::spawn(async move {
        sleep(REVIVAL).await;
        if !cluster.dark.load(Ordering::Relaxed) {
            cluster.start_again(number);
        }
    });
}

fn start_name_server(parameters: &Parameters) -> NodeId {
    let machine =
        Machine::new("namesrv", 0, parameters.seed, parameters.disk.clone(), 0, false, None);
    let init = move || {
        let machine = machine.clone();
        async move {
            let text = "kvConfigPath=/namesrv/kvConfig.json\nlistenPort=9876\n\
                        routeGraceMillis=3000\nrouteSettleMillis=500\n";
            let config = NamesrvConfig::from_text(text).expect("the settings above are right");
            machine.process_ended();
            let started = NameServer::start_on(machine.disk.clone(), config, None).await;
            let _server = started.expect("a name server needs nothing but its port");
            pending::<()>().await;
        }
    };
    let ip = "10.0.1.1".parse().expect("an address");
    Handle::current().create_node().name("namesrv").ip(ip).init(init).build().id()
}

/// Where clients reach a machine's member of a group.
pub fn client_address(group: usize, number: usize) -> String {
    format!("{}:{}", member_ip(number), port(CLIENT_PORT, group))
}

/// The number of the group with that name.
pub fn group_of(broker_name: &str) -> Option<usize> {
    GROUPS.iter().position(|group| *group == broker_name)
}

/// The name of a group.
pub fn group_name(group: usize) -> &'static str {
    GROUPS[group]
}

fn port(first: u16, group: usize) -> u16 {
    first + PORTS_APART * u16::try_from(group).expect("there are few groups")
}

fn member_ip(number: usize) -> String {
    format!("10.0.0.{}", number + 1)
}

fn start_member(parameters: &Arc<Parameters>, number: usize) -> Member {
    let name = format!("n{number}");
    let interval = parameters.checkpoint_interval_bytes;
    let flaw = parameters.flaw.filter(|flaw| *flaw != Flaw::OneMemberNotSynced || number == 1);
    let groups = parameters.groups;
    let (seed, pace, unsynced) = (parameters.seed, parameters.disk.clone(), parameters.flush_async);
    let machine = Machine::new(&name, groups, seed, pace, interval, unsynced, flaw);
    let (slot, stop) = (Arc::new(Mutex::new(Slot::default())), watch::Sender::new(false));
    let settings = (0..groups).map(|group| broker_settings(parameters, group, number));
    let configs: Vec<BrokerConfig> = settings
        .map(|text| {
            with_memory(BrokerConfig::from_text(&text).expect("the settings are right"), parameters)
        })
        .collect();
    let log_dirs = configs.iter().map(|config| config.store_path_dledger_commit_log.clone());
    let log_dirs = log_dirs.collect();
    let root_dirs = configs.iter().map(|config| config.store_path_root_dir.clone()).collect();
    let memory = configs[0].memory_shares();
    machine.fill(parameters.used_percent());
    let init = {
        let (machine, slot, stop) = (machine.clone(), Arc::clone(&slot), stop.clone());
        move || serve(machine.clone(), configs.clone(), Arc::clone(&slot), stop.subscribe())
    };
    let ip = member_ip(number).parse().expect("an address");
    let node = Handle::current().create_node().name(&name).ip(ip).init(init).build().id();
    let running = Mutex::new(Running::Up);
    Member {
        machine,
        node,
        log_dirs,
        root_dirs,
        memory,
        running,
        slot,
        stop,
        doomed: AtomicBool::new(false),
        excused: Mutex::default(),
        ended: Mutex::default(),
    }
}

/// One life of a machine's process: its brokers, started one after the other and stopped together, as
/// `raftmq::broker::run` has it.
async fn serve(
    machine: Machine,
    configs: Vec<BrokerConfig>,
    slot: Arc<Mutex<Slot>>,
    mut stop: watch::Receiver<bool>,
) {
    let slot = || slot.lock().unwrap_or_else(PoisonError::into_inner);
    let mut brokers = Vec::new();
    for config in configs {
        let listen = Listen::Address(config.own_peer().address());
        match Broker::start_on(&machine.boot(), config, listen).await {
            Ok(broker) => {
                let live = Live { status: broker.status(), view: broker.view().clone() };
                slot().live.push(live);
                brokers.push(broker);
            }
            Err(error) => {
                join_all(brokers.into_iter().map(Broker::shutdown)).await;
                slot().failed = Some(Ending::from(&error));
                return pending::<()>().await;
            }
        }
    }
    // An error means that the run is over.
    let _ = stop.wait_for(|asked| *asked).await;
    join_all(brokers.into_iter().map(Broker::shutdown)).await;
    slot().stopped = true;
    pending::<()>().await;
}

/// Less memory than a file may give a broker, so that a run fills it.
fn with_memory(mut config: BrokerConfig, parameters: &Parameters) -> BrokerConfig {
    config.memory_budget_bytes = parameters.memory_budget_bytes;
    config.send_queue_bytes_max = parameters.memory_budget_bytes / 4;
    config
}

fn broker_settings(parameters: &Parameters, group: usize, number: usize) -> String {
    let (name, client_port) = (GROUPS[group], port(CLIENT_PORT, group));
    let peer_port = port(PEER_PORT, group);
    let peers: Vec<String> = (0..parameters.members)
        .map(|number| format!("n{number}-{}:{peer_port}", member_ip(number)))
        .collect();
    // Several groups share the load by being led from different machines.
    let preferred = match parameters.groups {
        1 => String::new(),
        _ => format!("preferredLeaderId=n{}\n", group % parameters.members),
    };
    let hours: Vec<String> = (0..24).map(|hour| format!("{hour:02}")).collect();
    let retention = match parameters.retention {
        true => format!("fileReservedTime=1\ndeleteWhen={}\n", hours.join(";")),
        false => String::new(),
    };
    let levels: Vec<String> =
        parameters.delay_levels_s.iter().map(|seconds| format!("{seconds}s")).collect();
    let flush =
        if parameters.flush_async { "flushDiskType=ASYNC_FLUSH\nraftDoubtWaitMs=0\n" } else { "" };
    format!(
        "{retention}{flush}{preferred}cleanResourceInterval=500\nbrokerClusterName={CLUSTER}\nbrokerName={name}\ndLegerGroup={name}\n\
         dLegerSelfId=n{number}\ndLegerPeers={}\nbrokerIP1={}\nlistenPort={client_port}\n\
         namesrvAddr={NAME_SERVER}\nregisterNameServerPeriod=10000\n\
         storePathRootDir=/n{number}/{name}\nmappedFileSizeCommitLog={}\nextentBytes={}\n\
         raftElectionTimeoutMs={}\nraftHeartbeatIntervalMs={}\nraftEntryBytesMax={}\n\
         defaultTopicQueueNums={}\nlogScrubIntervalMs=3000\nmessageDelayLevel={}\nqueueLockReturnMs={LOCK_RETURN_MS}\n",
        peers.join(";"),
        member_ip(number),
        parameters.segment_bytes,
        parameters.extent_bytes,
        parameters.election_timeout_ms,
        parameters.heartbeat_interval_ms,
        parameters.entry_bytes_max,
        parameters.queues,
        levels.join(" "),
    )
}
