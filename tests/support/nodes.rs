//! A NameServer and three nodes, each a process with a member of three groups, from the files of
//! `conf/3n-3g`: only ports and folders are replaced, so what users are told to start is what runs.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::admin;
use super::cluster::{BOOT_LIMIT, raftmq};
use super::poll;
use super::ports::HeldPorts;
use super::process::Process;
use super::wire::Wire;

pub const GROUPS: [&str; 3] = ["broker-a", "broker-b", "broker-c"];
const NODES: usize = 3;
/// All groups elect, and then hand over to the members that their files prefer.
const SPREAD_LIMIT: Duration = Duration::from_secs(120);

pub struct Nodes {
    name_server_address: SocketAddr,
    /// Of each node, by group.
    addresses: Vec<BTreeMap<&'static str, SocketAddr>>,
    name_server: Process,
    nodes: Vec<Process>,
    _ports: HeldPorts,
    // Last, so that it outlives the processes that write to it.
    directory: tempfile::TempDir,
}

impl Nodes {
    /// Starts all with more lines in each broker's file, and waits until each node leads a group.
    pub fn start_with(settings: &str) -> Nodes {
        let directory = tempfile::tempdir().unwrap();
        let held_ports = HeldPorts::new(Ports::COUNT);
        let ports = Ports::of(&held_ports);
        let name_server = format!("listenPort={}\n", ports.name_server);
        std::fs::write(directory.path().join("namesrv.conf"), name_server).unwrap();
        let mut addresses = vec![BTreeMap::new(); NODES];
        for (node, addresses) in addresses.iter_mut().enumerate() {
            for (group, name) in GROUPS.into_iter().enumerate() {
                let file = directory.path().join(file_name(node, name));
                std::fs::write(file, ports.rewrite(node, group, directory.path()) + settings)
                    .unwrap();
                let port = ports.clients[node * GROUPS.len() + group];
                addresses.insert(name, SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
            }
        }
        let name_server = raftmq(directory.path(), "namesrv", &["namesrv.conf".to_owned()]);
        name_server.await_line("The Name Server boot success", BOOT_LIMIT);
        let nodes = (0..NODES).map(|node| spawn(directory.path(), node)).collect();
        let name_server_address = SocketAddr::from((Ipv4Addr::LOCALHOST, ports.name_server));
        let nodes = Nodes {
            name_server_address,
            addresses,
            name_server,
            nodes,
            _ports: held_ports,
            directory,
        };
        nodes.nodes.iter().for_each(await_boot);
        nodes.await_spread();
        nodes
    }

    /// What clients are configured with.
    pub fn name_servers(&self) -> String {
        self.name_server_address.to_string()
    }

    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The node whose member of a group the NameServer gives broker id 0 now.
    pub fn leader(&self, group: &str) -> Option<usize> {
        let mut name_server = Wire::connect(self.name_server_address).ok()?;
        let members = name_server.members(group).ok()?;
        let leader = members.get(&0)?;
        self.addresses.iter().position(|node| node[group] == *leader)
    }

    /// Where the leader of each group serves clients.
    pub fn leader_addresses(&self) -> Vec<String> {
        let leader = |group: &str| self.leader(group).expect("each group has a leader");
        GROUPS.iter().map(|group| self.addresses[leader(group)][group].to_string()).collect()
    }

    /// Waits until every group is led by the node that its files prefer: node 0 leads the first.
    pub fn await_spread(&self) {
        poll::until("each node leads one group", SPREAD_LIMIT, || {
            let spread = |(node, group): (usize, &&str)| self.leader(group) == Some(node);
            GROUPS.iter().enumerate().all(spread).then_some(())
        });
    }

    /// Waits until nobody of a node leads any more, as far as the NameServer knows.
    pub fn await_deposed(&self, node: usize) {
        poll::until("others lead all groups", SPREAD_LIMIT, || {
            let elsewhere = |group: &&str| self.leader(group).is_some_and(|leader| leader != node);
            GROUPS.iter().all(elsewhere).then_some(())
        });
    }

    pub fn process_mut(&mut self, node: usize) -> &mut Process {
        &mut self.nodes[node]
    }

    /// Starts a node that is down on its own data, and waits until it booted.
    pub fn restart(&mut self, node: usize) {
        self.nodes[node] = spawn(self.directory.path(), node);
        await_boot(&self.nodes[node]);
    }

    /// Creates a topic with so many queues in each group.
    pub fn create_topic(&self, topic: &str, queues: &str) {
        let words = ["updateTopic", "-c", "RaftCluster", "-t", topic, "-r", queues, "-w", queues];
        let answer = admin::run_at(&self.name_servers(), &words);
        assert!(answer.success(), "{words:?}: {answer:?}");
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        self.nodes.iter_mut().for_each(Process::kill);
        self.name_server.kill();
    }
}

/// Each of the node's brokers says so.
fn await_boot(node: &Process) {
    for _ in GROUPS {
        node.await_line("boot success", BOOT_LIMIT);
    }
}

fn spawn(directory: &Path, node: usize) -> Process {
    raftmq(directory, "broker", &GROUPS.map(|group| file_name(node, group)))
}

fn file_name(node: usize, group: &str) -> String {
    format!("node{node}-{group}.conf")
}

/// Node by node and, within a node, group by group.
struct Ports {
    name_server: u16,
    clients: Vec<u16>,
    peers: Vec<u16>,
}

impl Ports {
    const COUNT: usize = 1 + 2 * NODES * GROUPS.len();

    fn of(held: &HeldPorts) -> Ports {
        let mut ports = held.numbers();
        let peers = ports.split_off(1 + NODES * GROUPS.len());
        let clients = ports.split_off(1);
        Ports { name_server: ports[0], clients, peers }
    }

    /// A member's sample file with this cluster's ports and folders.
    fn rewrite(&self, node: usize, group: usize, root: &Path) -> String {
        let sample = sample(node, GROUPS[group]);
        let text = std::fs::read_to_string(&sample).unwrap();
        let mut peers = String::new();
        for other in 0..NODES {
            let separator = if other == 0 { "" } else { ";" };
            let port = self.peers[other * GROUPS.len() + group];
            write!(peers, "{separator}n{other}-127.0.0.1:{port}").unwrap();
        }
        let store = root.join(format!("node{node}")).join(GROUPS[group]);
        let mut replaced = 0;
        let mut rewritten = String::new();
        for line in text.lines() {
            let key = line.split('=').next().unwrap();
            let value = match key {
                "listenPort" => self.clients[node * GROUPS.len() + group].to_string(),
                "namesrvAddr" => format!("127.0.0.1:{}", self.name_server),
                "storePathRootDir" => store.display().to_string(),
                "dLegerPeers" => peers.clone(),
                _ => {
                    writeln!(rewritten, "{line}").unwrap();
                    continue;
                }
            };
            replaced += 1;
            writeln!(rewritten, "{key}={value}").unwrap();
        }
        assert_eq!(replaced, 4, "keys to replace in {}", sample.display());
        // Nine members on one small disk, of which none is slower than the others'.
        rewritten + "mappedFileSizeCommitLog=67108864\nraftSlowSyncMs=0\n"
    }
}

fn sample(node: usize, group: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("conf/3n-3g");
    folder.join(format!("node{node}/{group}.conf"))
}
