//! The name server's state: which addresses stand behind a broker name, and which queues.
//!
//! A pure state machine: no clock, no I/O. The rule that clients depend on is the fence: **for a
//! broker name, the highest Raft term owns id 0.** A delayed, replayed or deposed leader's claim never
//! moves id 0 back.
//!
//! Invariants: an address is under one id of its broker name only; every id's address is a member
//! that was heard of; a broker name without addresses has no queues.

use std::collections::{BTreeMap, BTreeSet};

use crate::protocol::data_version::DataVersion;
use crate::protocol::route::{MASTER_ID, QueueData};

use super::registration::Registration;

/// What is known of a connection a broker registered over.
pub type ConnectionId = u64;

/// Brokers, their addresses, and the queues of every topic.
#[derive(Debug)]
pub struct RouteTable {
    pub(super) expired_timeout_ms: i64,
    /// Topic to broker name to queues.
    pub(super) topics: BTreeMap<String, BTreeMap<String, QueueData>>,
    /// By broker name.
    pub(super) groups: BTreeMap<String, Group>,
    /// By broker name and address.
    pub(super) members: BTreeMap<(String, String), Member>,
    /// By broker name. Outlives the group's addresses, so that a late claim of an old leader finds
    /// it even after the new one's connection closed.
    pub(super) fences: BTreeMap<String, Fence>,
    /// Tells it from those of other processes of a simulation.
    #[cfg(madsim)]
    life: u64,
}

/// The addresses behind a broker name.
#[derive(Debug, Default)]
pub(super) struct Group {
    pub cluster: String,
    pub enable_acting_master: bool,
    pub zone_name: Option<String>,
    pub addresses: BTreeMap<i64, String>,
    /// Of the leader's registration that the queue data came from.
    pub topics_version: Option<DataVersion>,
}

/// Who owned id 0 last, and in which term.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fence {
    pub term: i64,
    pub address: String,
    /// When any member last spoke in this term or a later one. A fence nobody confirms for the
    /// expiry time falls: the group's data was wiped and its terms start again.
    pub confirmed_ms: i64,
}

/// A broker that was heard of.
#[derive(Debug, Clone)]
pub(super) struct Member {
    pub term: Option<i64>,
    pub heard_ms: i64,
    pub timeout_ms: i64,
    pub data_version: DataVersion,
    pub ha_server_addr: String,
    pub connection: ConnectionId,
}

/// What became of a registration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It holds.
    Accepted {
        /// Whether the address is new here.
        new_member: bool,
        /// Whether id 0 has another address now.
        leader_changed: bool,
    },
    /// It is older than what is known and changes nothing.
    Stale {
        /// The term that it is behind, if terms are the reason.
        known_term: Option<i64>,
    },
}

/// A broker that left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Departure {
    /// Its name.
    pub broker_name: String,
    /// Its address.
    pub broker_addr: String,
    /// The id it had.
    pub broker_id: Option<i64>,
}

impl RouteTable {
    /// An empty table that drops brokers after `expired_timeout_ms` of silence.
    pub fn new(expired_timeout_ms: i64) -> RouteTable {
        RouteTable {
            expired_timeout_ms,
            topics: BTreeMap::new(),
            groups: BTreeMap::new(),
            members: BTreeMap::new(),
            fences: BTreeMap::new(),
            #[cfg(madsim)]
            life: crate::observe::new_route_table(),
        }
    }

    /// Takes in a registration.
    pub fn register(&mut self, now_ms: i64, registration: Registration) -> Outcome {
        let stale = self.staleness(now_ms, &registration);
        #[cfg(madsim)]
        let stale =
            stale.filter(|_| !crate::mistake::made(crate::mistake::Mistake::RegistersWithoutTerm));
        if let Some(stale) = stale {
            return stale;
        }
        #[cfg(madsim)]
        crate::observe::registered(self.life, &registration);
        let name = registration.broker_name.clone();
        let address = registration.broker_addr.clone();
        let id = registration.broker_id;
        let group = self.groups.entry(name.clone()).or_default();
        if group.addresses.is_empty() || id == MASTER_ID {
            group.cluster.clone_from(&registration.cluster_name);
            group.enable_acting_master = registration.enable_acting_master;
            group.zone_name.clone_from(&registration.zone_name);
        }
        group.addresses.retain(|other_id, other| *other_id == id || *other != address);
        let previous = group.addresses.insert(id, address.clone());
        let replaced = previous.filter(|previous| *previous != address);
        let leader_changed = id == MASTER_ID && replaced.is_some();
        if let Some(replaced) = replaced
            && id != MASTER_ID
        {
            // A member that moved to another address. A deposed leader in contrast still lives and
            // registers as a follower soon.
            self.members.remove(&(name.clone(), replaced));
        }
        self.raise_fence(now_ms, &registration);
        let member = Member {
            term: registration.raft_term,
            heard_ms: now_ms,
            timeout_ms: registration.heartbeat_timeout_ms.unwrap_or(self.expired_timeout_ms),
            data_version: registration.data_version,
            ha_server_addr: registration.ha_server_addr,
            connection: registration.connection,
        };
        let new_member = self.members.insert((name.clone(), address), member).is_none();
        if id == MASTER_ID
            && let Some(topics) = registration.topics
        {
            let delete_missing = registration.delete_missing_topics;
            self.replace_queues(&name, registration.data_version, topics, delete_missing);
        }
        Outcome::Accepted { new_member, leader_changed }
    }

    /// Why `registration` must not be taken in, if so.
    fn staleness(&self, now_ms: i64, registration: &Registration) -> Option<Outcome> {
        let name = &registration.broker_name;
        let address = &registration.broker_addr;
        let term = registration.raft_term;
        // No term sorts before every term: who does not know terms cannot beat who does.
        let behind =
            |known: Option<i64>| (term < known).then_some(Outcome::Stale { known_term: known });
        let member_of = |address: &String| self.members.get(&(name.clone(), address.clone()));
        if let Some(own) = member_of(address)
            && let Some(stale) = behind(own.term)
        {
            return Some(stale);
        }
        let holder = self.groups.get(name).and_then(|group| {
            group.addresses.get(&registration.broker_id).filter(|holder| *holder != address)
        });
        let holder = holder.and_then(member_of);
        if let Some(holder) = holder
            && let Some(stale) = behind(holder.term)
        {
            return Some(stale);
        }
        if registration.broker_id != MASTER_ID {
            return None;
        }
        if let Some(fence) = self.fence(now_ms, name) {
            let known = Some(fence.term);
            let other_of_same_term = term == known && fence.address != *address;
            return behind(known)
                .or_else(|| other_of_same_term.then_some(Outcome::Stale { known_term: known }));
        }
        // Without terms on either side RocketMQ lets the larger state version win, else the last.
        let older = holder.is_some_and(|holder| {
            term.is_none()
                && holder.data_version.state_version > registration.data_version.state_version
        });
        older.then_some(Outcome::Stale { known_term: None })
    }

    fn fence(&self, now_ms: i64, broker_name: &str) -> Option<&Fence> {
        let fence = self.fences.get(broker_name)?;
        (now_ms - fence.confirmed_ms <= self.expired_timeout_ms).then_some(fence)
    }

    fn raise_fence(&mut self, now_ms: i64, registration: &Registration) {
        let Some(term) = registration.raft_term else { return };
        if registration.broker_id == MASTER_ID {
            let address = registration.broker_addr.clone();
            let fence = Fence { term, address, confirmed_ms: now_ms };
            self.fences.insert(registration.broker_name.clone(), fence);
        } else if let Some(fence) = self.fences.get_mut(&registration.broker_name)
            && term >= fence.term
        {
            fence.confirmed_ms = now_ms;
        }
    }

    fn replace_queues(
        &mut self,
        broker_name: &str,
        version: DataVersion,
        topics: Vec<(String, QueueData)>,
        delete_missing: bool,
    ) {
        let group = self.groups.get_mut(broker_name);
        let group = group.expect("a registration is stored before its queues");
        let changed = group.topics_version.replace(version) != Some(version);
        if changed && delete_missing {
            let listed: BTreeSet<&String> = topics.iter().map(|(topic, _)| topic).collect();
            for (topic, queues) in &mut self.topics {
                if !listed.contains(topic) {
                    queues.remove(broker_name);
                }
            }
            self.topics.retain(|_, queues| !queues.is_empty());
        }
        for (topic, mut data) in topics {
            let queues = self.topics.entry(topic).or_default();
            // With an unchanged version a permission wiped by an operator stays wiped.
            if changed || !queues.contains_key(broker_name) {
                data.broker_name = broker_name.to_owned();
                queues.insert(broker_name.to_owned(), data);
            }
        }
    }

    /// A broker says that it leaves.
    pub fn unregister(&mut self, broker_name: &str, broker_addr: &str) -> Option<Departure> {
        let key = (broker_name.to_owned(), broker_addr.to_owned());
        self.members.remove(&key)?;
        Some(self.remove_address(key))
    }

    /// A connection closed: whoever registered over it is gone, unless it registered again over
    /// another one.
    pub fn connection_closed(&mut self, connection: ConnectionId) -> Vec<Departure> {
        self.remove_members(|member| member.connection == connection)
    }

    /// Drops brokers that were silent for too long.
    pub fn expire(&mut self, now_ms: i64) -> Vec<Departure> {
        self.fences.retain(|_, fence| now_ms - fence.confirmed_ms <= self.expired_timeout_ms);
        self.remove_members(|member| now_ms - member.heard_ms > member.timeout_ms)
    }

    fn remove_members(&mut self, gone: impl Fn(&Member) -> bool) -> Vec<Departure> {
        let gone = self.members.iter().filter(|(_, member)| gone(member));
        let keys: Vec<_> = gone.map(|(key, _)| key.clone()).collect();
        let mut departures = Vec::with_capacity(keys.len());
        for key in keys {
            self.members.remove(&key);
            departures.push(self.remove_address(key));
        }
        departures
    }

    fn remove_address(&mut self, (broker_name, broker_addr): (String, String)) -> Departure {
        let mut broker_id = None;
        if let Some(group) = self.groups.get_mut(&broker_name) {
            broker_id = group.addresses.iter().find(|(_, a)| **a == broker_addr).map(|(id, _)| *id);
            group.addresses.retain(|_, address| *address != broker_addr);
            if group.addresses.is_empty() {
                self.groups.remove(&broker_name);
                for queues in self.topics.values_mut() {
                    queues.remove(&broker_name);
                }
                self.topics.retain(|_, queues| !queues.is_empty());
            }
        }
        Departure { broker_name, broker_addr, broker_id }
    }

    /// A broker lives.
    pub fn heard(&mut self, now_ms: i64, broker_name: &str, broker_addr: &str) -> bool {
        let key = (broker_name.to_owned(), broker_addr.to_owned());
        let member = self.members.get_mut(&key);
        member.map(|member| member.heard_ms = now_ms).is_some()
    }

    /// The version of the topics that a broker registered last.
    pub fn data_version(&self, broker_name: &str, broker_addr: &str) -> Option<DataVersion> {
        let key = (broker_name.to_owned(), broker_addr.to_owned());
        self.members.get(&key).map(|member| member.data_version)
    }

    /// The address and the replication address of the broker with id 0.
    pub fn leader(&self, broker_name: &str) -> Option<(&str, &str)> {
        let address = self.groups.get(broker_name)?.addresses.get(&MASTER_ID)?;
        let key = (broker_name.to_owned(), address.clone());
        let ha = self.members.get(&key).map_or("", |member| &member.ha_server_addr);
        Some((address, ha))
    }

    /// Whether any broker is known.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Panics when an invariant is broken.
    #[cfg(test)]
    pub fn assert_invariants(&self) {
        for (name, group) in &self.groups {
            assert!(!group.addresses.is_empty(), "{name} has no addresses");
            let mut addresses: Vec<_> = group.addresses.values().collect();
            addresses.sort();
            let count = addresses.len();
            addresses.dedup();
            assert_eq!(addresses.len(), count, "an address of {name} is under two ids");
            for address in addresses {
                assert!(self.members.contains_key(&(name.clone(), address.clone())));
            }
        }
        for (topic, queues) in &self.topics {
            assert!(!queues.is_empty(), "{topic} has no queues");
            for name in queues.keys() {
                assert!(self.groups.contains_key(name), "{topic} has queues on unknown {name}");
            }
        }
    }
}
