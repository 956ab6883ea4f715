//! The network between nodes: who cannot reach whom at present.
//!
//! Invariant: healing opens every link, whatever was cut and in which order.

use std::time::Duration;

use madsim::net::NetSim;
use madsim::task::NodeId;

/// Everything between the nodes of a run.
pub struct Network {
    nodes: Vec<NodeId>,
}

impl Network {
    /// Between these nodes.
    pub fn between(nodes: Vec<NodeId>) -> Network {
        Network { nodes }
    }

    /// How long messages take, in milliseconds.
    pub fn set_latency_ms(&self, (least, most): (u64, u64)) {
        let range = Duration::from_millis(least)..Duration::from_millis(most + 1);
        NetSim::current().update_config(|config| config.send_latency = range);
    }

    /// How many of a thousand messages have to be sent again.
    pub fn set_loss_permille(&self, permille: u32) {
        let rate = f64::from(permille) / 1000.0;
        NetSim::current().update_config(|config| config.packet_loss_rate = rate);
    }

    /// Nothing gets from one to the other; the way back stays open.
    pub fn cut_one_way(&self, from: NodeId, to: NodeId) {
        NetSim::current().clog_link(from, to);
    }

    /// Nothing gets from one to the other, nor back.
    pub fn cut(&self, one: NodeId, other: NodeId) {
        self.cut_one_way(one, other);
        self.cut_one_way(other, one);
    }

    /// Nobody on one side reaches anybody on the other.
    pub fn split(&self, side: &[NodeId], other_side: &[NodeId]) {
        for &one in side {
            for &other in other_side {
                self.cut(one, other);
            }
        }
    }

    /// A node reaches nobody, and nobody reaches it.
    pub fn isolate(&self, node: NodeId) {
        let others: Vec<NodeId> =
            self.nodes.iter().copied().filter(|&other| other != node).collect();
        self.split(&[node], &others);
    }

    /// Every link is open and loses nothing.
    pub fn heal(&self) {
        self.set_loss_permille(0);
        let network = NetSim::current();
        for &one in &self.nodes {
            for &other in &self.nodes {
                network.unclog_link(one, other);
            }
        }
    }
}
