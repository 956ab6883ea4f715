//! A NameServer and one group of three brokers, each a process of its own, from DLedger's files.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::admin::{self, Answer};
use super::poll;
use super::ports::HeldPorts;
use super::process::Process;
use super::steady::STEADY;
use super::wire::Wire;

pub const BROKER_NAME: &str = "RaftNode00";
pub const BOOT_LIMIT: Duration = Duration::from_secs(120);
const ELECTION_LIMIT: Duration = Duration::from_secs(60);
const MEMBERS: usize = 3;

pub struct Cluster {
    name_server_address: SocketAddr,
    addresses: Vec<SocketAddr>,
    name_server: Process,
    brokers: Vec<Process>,
    _ports: HeldPorts,
    // Last, so that it outlives the processes that write to it.
    directory: tempfile::TempDir,
}

impl Cluster {
    /// Starts all four processes and waits until the NameServer names a leader.
    pub fn start() -> Cluster {
        Cluster::start_with("")
    }

    /// The same with more lines in each broker's file.
    pub fn start_with(settings: &str) -> Cluster {
        Cluster::start_as_told(&format!("{STEADY}{settings}"))
    }

    /// The same with nothing else that a user's file would not have.
    pub fn start_as_told(settings: &str) -> Cluster {
        let directory = tempfile::tempdir().unwrap();
        let held_ports = HeldPorts::new(1 + 2 * MEMBERS);
        let ports = held_ports.numbers();
        let local = |port: u16| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let (clients, peers) = ports[1..].split_at(MEMBERS);
        write_files(directory.path(), ports[0], clients, peers, settings);
        let name_server = raftmq(directory.path(), "namesrv", &["namesrv.conf".to_owned()]);
        name_server.await_line("The Name Server boot success", BOOT_LIMIT);
        let brokers: Vec<Process> = (0..MEMBERS)
            .map(|member| raftmq(directory.path(), "broker", &[file_name(member)]))
            .collect();
        for broker in &brokers {
            broker.await_line("boot success", BOOT_LIMIT);
        }
        let cluster = Cluster {
            name_server_address: local(ports[0]),
            addresses: clients.iter().map(|port| local(*port)).collect(),
            name_server,
            brokers,
            _ports: held_ports,
            directory,
        };
        cluster.await_leader(None);
        cluster
    }

    /// What clients are configured with.
    pub fn name_servers(&self) -> String {
        self.name_server_address.to_string()
    }

    pub fn address(&self, member: usize) -> SocketAddr {
        self.addresses[member]
    }

    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub fn process(&self, member: usize) -> &Process {
        &self.brokers[member]
    }

    pub fn process_mut(&mut self, member: usize) -> &mut Process {
        &mut self.brokers[member]
    }

    /// A connection to a member's client port.
    pub fn connect(&self, member: usize) -> Wire {
        Wire::connect(self.addresses[member]).unwrap()
    }

    /// The member that the NameServer gives broker id 0 now.
    pub fn leader(&self) -> Option<usize> {
        let mut name_server = Wire::connect(self.name_server_address).ok()?;
        let members = name_server.members(BROKER_NAME).ok()?;
        let leader = members.get(&0)?;
        self.addresses.iter().position(|address| address == leader)
    }

    /// The members that the NameServer knows, by broker id.
    pub fn broker_id(&self, member: usize) -> Option<u64> {
        let mut name_server = Wire::connect(self.name_server_address).ok()?;
        let members = name_server.members(BROKER_NAME).ok()?;
        members
            .into_iter()
            .find(|(_, address)| *address == self.addresses[member])
            .map(|(id, _)| id)
    }

    /// Waits until the NameServer names a leader other than `deposed`; returns it and the wait.
    pub fn await_leader(&self, deposed: Option<usize>) -> (usize, Duration) {
        let start = Instant::now();
        let leader = poll::until("the NameServer names a leader", ELECTION_LIMIT, || {
            self.leader().filter(|leader| Some(*leader) != deposed)
        });
        (leader, start.elapsed())
    }

    pub fn kill(&mut self, member: usize) {
        self.brokers[member].kill();
    }

    /// All members lose their processes at the same moment, as far as one machine can do that.
    pub fn kill_all(&mut self) {
        self.brokers.iter_mut().for_each(Process::send_kill);
        self.brokers.iter_mut().for_each(Process::kill);
    }

    /// Starts a member that is down, on its own data, and waits until it booted.
    pub fn restart(&mut self, member: usize) {
        self.restart_all(&[member]);
    }

    pub fn restart_all(&mut self, members: &[usize]) {
        for member in members {
            let files = [file_name(*member)];
            self.brokers[*member] = raftmq(self.directory.path(), "broker", &files);
        }
        for member in members {
            self.brokers[*member].await_line("boot success", BOOT_LIMIT);
        }
    }

    /// Runs `raftmq admin` with the cluster's NameServer; returns what it printed.
    pub fn admin(&self, arguments: &[&str]) -> String {
        self.try_admin(arguments).unwrap_or_else(|problem| panic!("{arguments:?}: {problem}"))
    }

    /// The same, however it ends.
    pub fn ask_admin(&self, arguments: &[&str]) -> Answer {
        admin::run(&[arguments, &["-n", &self.name_servers()]].concat())
    }

    fn try_admin(&self, arguments: &[&str]) -> Result<String, String> {
        let Answer { code, printed, problem } = self.ask_admin(arguments);
        if code == 0 { Ok(printed) } else { Err(format!("{printed}{problem}")) }
    }

    /// What each member says of itself, as `raftmq admin raftStatus` prints it; none unless all answer.
    pub fn raft_status(&self) -> Option<Vec<Value>> {
        let printed = self.try_admin(&["raftStatus", "-o", "json"]).ok()?;
        let members: Value = serde_json::from_str(&printed).unwrap();
        Some(members.as_array()?.iter().map(|member| member["status"].clone()).collect())
    }

    /// The term that a member is in.
    pub fn term_of(&self, member: usize) -> u64 {
        let address = self.addresses[member].to_string();
        let printed = self.admin(&["raftStatus", "-o", "json", "-b", &address]);
        let members: Value = serde_json::from_str(&printed).unwrap();
        members[0]["status"]["term"].as_u64().unwrap()
    }

    /// Waits until all members have one log and have applied it; what each says of itself then.
    pub fn await_equal_logs(&self, limit: Duration) -> Vec<Value> {
        let keys = ["term", "commit", "applied", "lastIndex", "firstPosition", "lastPosition"];
        poll::until("all members have the same log", limit, || {
            let logs = self.raft_status()?;
            let same = |key: &str| logs.iter().all(|log| log[key] == logs[0][key]);
            let applied = logs.iter().all(|log| log["applied"] == log["lastIndex"]);
            (logs.len() == MEMBERS && keys.into_iter().all(same) && applied).then_some(logs)
        })
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.brokers.iter_mut().for_each(Process::kill);
        self.name_server.kill();
    }
}

fn file_name(member: usize) -> String {
    format!("broker-n{member}.conf")
}

/// A process with everything that its files describe; its log is named after the first.
pub fn raftmq(directory: &Path, role: &str, files: &[String]) -> Process {
    let mut command = Command::new(env!("CARGO_BIN_EXE_raftmq"));
    command.arg(role).current_dir(directory);
    for file in files {
        command.arg("-c").arg(directory.join(file));
    }
    command.env("RUST_LOG", "info");
    Process::spawn(&files[0], command, &directory.join(files[0].replace(".conf", ".log")))
}

/// The keys are those of RocketMQ's DLedger sample files.
fn write_files(root: &Path, name_server: u16, clients: &[u16], peers: &[u16], settings: &str) {
    let kept = root.join("kvConfig.json");
    let own = format!("listenPort={name_server}\nkvConfigPath={}\n", kept.display());
    std::fs::write(root.join("namesrv.conf"), own).unwrap();
    let mut group = String::new();
    for (member, port) in peers.iter().enumerate() {
        let separator = if member == 0 { "" } else { ";" };
        write!(group, "{separator}n{member}-127.0.0.1:{port}").unwrap();
    }
    for (member, port) in clients.iter().enumerate() {
        let store = root.join(format!("store-n{member}"));
        let store = store.display();
        let text = format!(
            "brokerClusterName = RaftCluster\n\
             brokerName={BROKER_NAME}\n\
             brokerIP1=127.0.0.1\n\
             listenPort={port}\n\
             namesrvAddr=127.0.0.1:{name_server}\n\
             storePathRootDir={store}\n\
             storePathCommitLog={store}/commitlog\n\
             enableDLegerCommitLog=true\n\
             dLegerGroup={BROKER_NAME}\n\
             dLegerPeers={group}\n\
             dLegerSelfId=n{member}\n\
             sendMessageThreadPoolNums=4\n\
             mappedFileSizeCommitLog=67108864\n\
             {settings}\n"
        );
        std::fs::write(root.join(file_name(member)), text).unwrap();
    }
}
