//! Starts brokers, each in a runtime of its own, so that one can be torn away like a killed process.

use std::net::TcpListener;

use raftmq::broker::Broker;
use raftmq::config::{BrokerConfig, Configuration};
use raftmq::replication::{Listen, ReplicaStatus};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::sync::watch;

/// A group of brokers.
pub struct Cluster {
    directories: Vec<TempDir>,
    configs: Vec<String>,
    nodes: Vec<Option<Node>>,
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
        let listeners: Vec<_> =
            (0..members).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let peers: Vec<String> = listeners
            .iter()
            .enumerate()
            .map(|(n, listener)| format!("n{n}-{}", listener.local_addr().unwrap()))
            .collect();
        let peers = peers.join(";");
        let directories: Vec<_> = (0..members).map(|_| TempDir::new().unwrap()).collect();
        let config = |n: usize, directory: &TempDir| {
            format!(
                "brokerClusterName=TestCluster\nbrokerName=broker-a\nbrokerIP1=127.0.0.1\n\
                 bindAddress=127.0.0.1\nlistenPort=0\nnamesrvAddr={name_servers}\n\
                 dLegerGroup=broker-a\ndLegerPeers={peers}\ndLegerSelfId=n{n}\n\
                 storePathRootDir={}\nmappedFileSizeCommitLog=8388608\n{lines}\n",
                directory.path().display()
            )
        };
        let configs = directories.iter().enumerate().map(|(n, dir)| config(n, dir)).collect();
        let mut cluster = Cluster { directories, configs, nodes: Vec::new() };
        for (n, listener) in listeners.into_iter().enumerate() {
            let node = cluster.start_node(n, Some(listener)).await;
            cluster.nodes.push(Some(node));
        }
        cluster
    }

    async fn start_node(&self, n: usize, listener: Option<TcpListener>) -> Node {
        assert!(self.directories[n].path().exists());
        let config = BrokerConfig::from_text(&self.configs[n]).unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let started = runtime.spawn(async move {
            let listen = match listener {
                Some(listener) => {
                    listener.set_nonblocking(true).unwrap();
                    Listen::Bound(tokio::net::TcpListener::from_std(listener).unwrap())
                }
                None => Listen::Address(config.own_peer().address()),
            };
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
        let mut found = None;
        for (n, node) in self.nodes.iter().enumerate() {
            let Some(node) = node else { continue };
            let mut status = node.status.clone();
            let settled = status.wait_for(|status| match status.leader {
                Some(leader) => {
                    let alive = self.nodes[usize::try_from(leader).unwrap() - 1].is_some();
                    alive && (leader != status.member || status.serving)
                }
                None => false,
            });
            let leads = {
                let settled = settled.await.unwrap();
                settled.leader == Some(settled.member)
            };
            if leads {
                found = Some(n);
            }
        }
        found.unwrap()
    }

    /// A running member that does not lead.
    pub async fn follower(&self) -> usize {
        let leader = self.leader().await;
        (0..self.nodes.len()).find(|n| *n != leader && self.nodes[*n].is_some()).unwrap()
    }

    /// Ends a member as a kill would: everything it does stops where it is.
    pub fn kill(&mut self, n: usize) {
        let node = self.nodes[n].take().unwrap();
        node.runtime.shutdown_background();
    }

    /// Stops a member in good order.
    pub async fn stop(&mut self, n: usize) {
        let node = self.nodes[n].take().unwrap();
        node.runtime.spawn(node.broker.shutdown()).await.unwrap();
        node.runtime.shutdown_background();
    }

    /// Starts a stopped member again.
    pub async fn restart(&mut self, n: usize) {
        let node = self.start_node(n, None).await;
        self.nodes[n] = Some(node);
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for node in self.nodes.drain(..).flatten() {
            node.runtime.shutdown_background();
        }
    }
}
