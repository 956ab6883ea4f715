//! Starts brokers, each in a runtime of its own, so that one can be torn away like a killed process.

use std::time::Duration;

use raftmq::broker::Broker;
use raftmq::config::{BrokerConfig, Configuration};
use raftmq::replication::{Listen, ReplicaStatus};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::time::timeout;

use super::ports::HeldPorts;
use super::steady::STEADY;

/// A test that waits longer than this has failed.
pub const LIMIT: Duration = Duration::from_secs(60);

/// A group of brokers.
pub struct Cluster {
    directories: Vec<TempDir>,
    configs: Vec<String>,
    nodes: Vec<Option<Node>>,
    /// Where members reach each other.
    _ports: HeldPorts,
}

/// A running member.
pub struct Node {
    runtime: Runtime,
    broker: Broker,
    /// Where clients reach it.
    pub address: String,
    /// What it says about itself.
    pub status: watch::Receiver<ReplicaStatus>,
}

impl Cluster {
    /// Starts `members` brokers that register with `name_servers`.
    pub async fn start(members: usize, name_servers: &str) -> Cluster {
        Cluster::start_with(members, name_servers, "").await
    }

    /// The same, with more lines in every member's configuration.
    pub async fn start_with(members: usize, name_servers: &str, lines: &str) -> Cluster {
        let ports = HeldPorts::new(members);
        let numbers = ports.numbers().into_iter().enumerate();
        let peers: Vec<String> =
            numbers.map(|(n, port)| format!("n{n}-127.0.0.1:{port}")).collect();
        let peers = peers.join(";");
        let directories: Vec<_> = (0..members).map(|_| TempDir::new().unwrap()).collect();
        // Another for each: whoever is given a port of an earlier test may still be called there.
        let unique = directories[0].path().file_name().unwrap().to_string_lossy();
        let name = format!("TestCluster{}", unique.trim_start_matches('.'));
        let config = |n: usize, directory: &TempDir| {
            format!(
                "brokerClusterName={name}\nbrokerName=broker-a\nbrokerIP1=127.0.0.1\n\
                 bindAddress=127.0.0.1\nlistenPort=0\nnamesrvAddr={name_servers}\n\
                 dLegerGroup=broker-a\ndLegerPeers={peers}\ndLegerSelfId=n{n}\n\
                 storePathRootDir={}\nmappedFileSizeCommitLog=8388608\n{STEADY}{lines}\n",
                directory.path().display()
            )
        };
        let configs = directories.iter().enumerate().map(|(n, dir)| config(n, dir)).collect();
        let mut cluster = Cluster { directories, configs, nodes: Vec::new(), _ports: ports };
        for n in 0..members {
            let node = cluster.start_node(n).await;
            cluster.nodes.push(Some(node));
        }
        cluster
    }

    async fn start_node(&self, n: usize) -> Node {
        assert!(self.directories[n].path().exists());
        let config = BrokerConfig::from_text(&self.configs[n]).unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let started = runtime.spawn(async move {
            let listen = Listen::Address(config.own_peer().address());
            Broker::start_with(config, listen).await.unwrap()
        });
        let broker = started.await.unwrap();
        Node { runtime, address: broker.address().to_string(), status: broker.status(), broker }
    }

    /// A running member.
    pub fn node(&self, n: usize) -> &Node {
        self.nodes[n].as_ref().unwrap()
    }

    /// Waits until one of the running members serves as leader and all others follow it.
    pub async fn leader(&self) -> usize {
        let mut told: Vec<_> =
            self.nodes.iter().flatten().map(|node| node.status.clone()).collect();
        let agreed = async {
            loop {
                // All of them at one time: while one is looked at, another may be deposed.
                let status = told.iter_mut().map(|status| status.borrow_and_update().clone());
                if let Some(leader) = agreed(&status.collect::<Vec<_>>()) {
                    return leader;
                }
                let news = told.iter_mut().map(|status| Box::pin(status.changed()));
                futures_util::future::select_all(news).await.0.unwrap();
            }
        };
        timeout(LIMIT, agreed).await.expect("a leader that all agree on")
    }

    /// A running member that does not lead.
    pub async fn follower(&self) -> usize {
        let leader = self.leader().await;
        (0..self.nodes.len()).find(|n| *n != leader && self.nodes[*n].is_some()).unwrap()
    }

    /// Ends a member as a kill would: everything it does stops where it is.
    pub fn kill(&mut self, n: usize) {
        let node = self.nodes[n].take().unwrap();
        end(node.runtime);
    }

    /// Stops a member in good order.
    pub async fn stop(&mut self, n: usize) {
        let node = self.nodes[n].take().unwrap();
        node.runtime.spawn(node.broker.shutdown()).await.unwrap();
        end(node.runtime);
    }

    /// Starts a stopped member again.
    pub async fn restart(&mut self, n: usize) {
        let node = self.start_node(n).await;
        self.nodes[n] = Some(node);
    }
}

/// The member whom all name that run, if it serves.
fn agreed(members: &[ReplicaStatus]) -> Option<usize> {
    let leader = members.first()?.leader?;
    let serves = members.iter().any(|status| status.member == leader && status.serving);
    let all = members.iter().all(|status| status.leader == Some(leader));
    (serves && all).then(|| usize::try_from(leader).unwrap() - 1)
}

/// As with a process that is gone, nothing of it goes on, and its ports and files are free.
#[allow(clippy::disallowed_methods, reason = "a thread that polls tasks must not wait")]
fn end(runtime: Runtime) {
    let ended = std::thread::spawn(move || runtime.shutdown_timeout(LIMIT));
    ended.join().unwrap();
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // Before their directories go: what fails to write ends the process, and all tests with it.
        for node in self.nodes.drain(..).flatten() {
            end(node.runtime);
        }
    }
}
