//! What clients and tools ask the route table, and what operators change in it by hand.
//!
//! Invariant: an answer names only brokers with addresses, and its lists are sorted, so that equal
//! tables give equal answers.

use std::collections::{BTreeMap, BTreeSet};

use crate::protocol::route::{BrokerData, ClusterInfo, QueueData, TopicList, TopicRouteData};
use crate::protocol::topic::{permission, unit};

use super::route_table::{Group, RouteTable};

/// Which topics by their unit flags.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnitTopics {
    /// Topics of a unit.
    Unit,
    /// Topics with subscriptions of a unit.
    UnitSubscribed,
    /// The latter without the former.
    UnitSubscribedOnly,
}

impl RouteTable {
    /// The route of `topic`, if any of its brokers is known.
    pub fn route(&self, topic: &str) -> Option<TopicRouteData> {
        let queues = self.topics.get(topic)?;
        let broker_datas: Vec<BrokerData> =
            queues.keys().filter_map(|name| self.broker_data(name)).collect();
        if broker_datas.is_empty() {
            return None;
        }
        Some(TopicRouteData {
            broker_datas,
            queue_datas: queues.values().cloned().collect(),
            ..TopicRouteData::default()
        })
    }

    /// The addresses behind a broker name.
    pub fn broker_data(&self, broker_name: &str) -> Option<BrokerData> {
        let group = self.groups.get(broker_name)?;
        Some(broker_data(broker_name, group))
    }

    /// Every broker of every cluster.
    pub fn cluster_info(&self) -> ClusterInfo {
        let mut info = ClusterInfo::default();
        for (name, group) in &self.groups {
            info.broker_addr_table.insert(name.clone(), broker_data(name, group));
            let names = info.cluster_addr_table.entry(group.cluster.clone()).or_default();
            names.insert(name.clone());
        }
        info
    }

    /// All topics.
    pub fn topics(&self) -> TopicList {
        list(self.topics.keys())
    }

    /// The topics of the brokers of one cluster.
    pub fn topics_of_cluster(&self, cluster: &str) -> TopicList {
        let here = |name: &String| self.groups.get(name).is_some_and(|g| g.cluster == cluster);
        let topics = self.topics.iter().filter(|(_, queues)| queues.keys().any(here));
        list(topics.map(|(topic, _)| topic))
    }

    /// Topics by their unit flags.
    pub fn unit_topics(&self, which: UnitTopics) -> TopicList {
        let matches = |data: &QueueData| {
            let has = |bit| data.topic_sys_flag & bit != 0;
            let (unit, subscribed) = (has(unit::UNIT), has(unit::UNIT_SUBSCRIBED));
            match which {
                UnitTopics::Unit => unit,
                UnitTopics::UnitSubscribed => subscribed,
                UnitTopics::UnitSubscribedOnly => subscribed && !unit,
            }
        };
        let topics = self.topics.iter().filter(|(_, queues)| queues.values().any(matches));
        list(topics.map(|(topic, _)| topic))
    }

    /// The names that topics may not take because clusters and brokers have them, and some broker
    /// that knows the rest.
    pub fn system_topics(&self) -> TopicList {
        let clusters = self.groups.values().map(|group| &group.cluster);
        let mut topics = list(clusters.chain(self.groups.keys()));
        let some = self.groups.values().find_map(|group| group.addresses.values().next());
        topics.broker_addr = some.cloned();
        topics
    }

    /// Takes the right to write to a broker's topics away, until it registers changed topics. The
    /// number of topics.
    pub fn wipe_write_permission(&mut self, broker_name: &str) -> usize {
        self.change_permission(broker_name, |perm| perm & !permission::WRITE)
    }

    /// Gives the right to write to a broker's topics back. The number of topics.
    pub fn add_write_permission(&mut self, broker_name: &str) -> usize {
        self.change_permission(broker_name, |_| permission::READ_WRITE)
    }

    fn change_permission(&mut self, broker_name: &str, change: impl Fn(i32) -> i32) -> usize {
        let queues = self.topics.values_mut().filter_map(|queues| queues.get_mut(broker_name));
        queues.map(|data| data.perm = change(data.perm)).count()
    }

    /// Adds queues of a topic by hand; those of unknown brokers are left out.
    pub fn register_topic(&mut self, topic: &str, queues: Vec<QueueData>) {
        for data in queues {
            if self.groups.contains_key(&data.broker_name) {
                let known = self.topics.entry(topic.to_owned()).or_default();
                known.insert(data.broker_name.clone(), data);
            }
        }
    }

    /// Forgets a topic, everywhere or on the brokers of one cluster.
    pub fn delete_topic(&mut self, topic: &str, cluster: Option<&str>) {
        let Some(queues) = self.topics.get_mut(topic) else { return };
        queues.retain(|name, _| {
            let group = self.groups.get(name);
            cluster.is_some_and(|cluster| group.is_some_and(|group| group.cluster != cluster))
        });
        if queues.is_empty() {
            self.topics.remove(topic);
        }
    }
}

fn broker_data(broker_name: &str, group: &Group) -> BrokerData {
    BrokerData {
        broker_addrs: group
            .addresses
            .iter()
            .map(|(id, a)| (*id, a.clone()))
            .collect::<BTreeMap<_, _>>(),
        broker_name: broker_name.to_owned(),
        cluster: group.cluster.clone(),
        enable_acting_master: group.enable_acting_master,
        zone_name: group.zone_name.clone(),
    }
}

fn list<'a>(names: impl Iterator<Item = &'a String>) -> TopicList {
    let topic_list: BTreeSet<String> = names.cloned().collect();
    TopicList { broker_addr: None, topic_list }
}
