//! Routes of the topics in use, and who leads each broker name.
//!
//! Invariant: a route is only replaced by one that a NameServer answered later; when no NameServer
//! answers, the last known route stays in use. Callers that fail at the same time share one look-up.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::protocol::code::{request, response};
use crate::protocol::fastjson::JsonBody as _;
use crate::protocol::names::AUTO_CREATE_TOPIC;
use crate::protocol::queue::MessageQueue;
use crate::protocol::route::{BrokerData, TopicRouteData};
use crate::protocol::topic::permission;

use super::error::ClientError;
use super::remote::{Answer, Ask, Remote};

/// Queues of a topic that the first send creates, at most.
const AUTO_CREATE_QUEUES_MAX: i32 = 4;

/// A topic's route, ready to use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TopicRoute {
    pub data: TopicRouteData,
    /// Queues to send to; those of brokers without a leader only if no broker has one.
    pub publish: Vec<MessageQueue>,
    /// Queues to read from.
    pub subscribe: Vec<MessageQueue>,
    /// The topic does not exist yet: this is where the default topic says it will be created.
    pub provisional: bool,
    /// Later look-ups have higher numbers.
    pub generation: u64,
}

impl TopicRoute {
    fn new(topic: &str, data: TopicRouteData, provisional: bool, generation: u64) -> TopicRoute {
        let queues = |broker_name: &str, count: i32| {
            let (broker_name, topic) = (broker_name.to_owned(), topic.to_owned());
            (0..count).map(move |queue_id| MessageQueue {
                broker_name: broker_name.clone(),
                queue_id,
                topic: topic.clone(),
            })
        };
        let (mut led, mut leaderless, mut subscribe) = (Vec::new(), Vec::new(), Vec::new());
        let mut sorted = data.queue_datas.clone();
        sorted.sort_by(|a, b| a.broker_name.cmp(&b.broker_name));
        for queue_data in &sorted {
            let name = queue_data.broker_name.as_str();
            let broker = data.broker_datas.iter().find(|broker| broker.broker_name == name);
            let Some(broker) = broker else { continue };
            if permission::is_readable(queue_data.perm) {
                subscribe.extend(queues(name, queue_data.read_queue_nums));
            }
            if permission::is_writable(queue_data.perm) {
                let into = if broker.master().is_some() { &mut led } else { &mut leaderless };
                let count = match provisional {
                    true => queue_data.write_queue_nums.min(AUTO_CREATE_QUEUES_MAX),
                    false => queue_data.write_queue_nums,
                };
                into.extend(queues(name, count));
            }
        }
        let publish = if led.is_empty() { leaderless } else { led };
        TopicRoute { data, publish, subscribe, provisional, generation }
    }

    fn broker(&self, broker_name: &str) -> Option<&BrokerData> {
        self.data.broker_datas.iter().find(|broker| broker.broker_name == broker_name)
    }

    /// Address of whoever leads a broker name.
    pub(super) fn leader(&self, broker_name: &str) -> Result<&str, ClientError> {
        let leader = self.broker(broker_name).and_then(BrokerData::master);
        leader.ok_or_else(|| ClientError::NoLeader(broker_name.to_owned()))
    }

    /// Some address of the topic that can answer for all, leaders first.
    pub(super) fn any_addresses(&self) -> impl Iterator<Item = &str> {
        let leaders = self.data.broker_datas.iter().filter_map(BrokerData::master);
        let others = self.data.broker_datas.iter().flat_map(|b| b.broker_addrs.range(1..));
        leaders.chain(others.map(|(_, address)| address.as_str()))
    }
}

/// The routes of the topics in use.
pub(super) struct Routes {
    remote: Arc<Remote>,
    name_servers: Vec<String>,
    /// The NameServer that answered last.
    current: AtomicUsize,
    table: Mutex<HashMap<String, Arc<TopicRoute>>>,
    looking_up: tokio::sync::Mutex<()>,
    generation: AtomicU64,
    /// Counts changes of any route.
    changes: watch::Sender<u64>,
}

impl Routes {
    pub(super) fn new(remote: Arc<Remote>, name_servers: Vec<String>) -> Routes {
        Routes {
            remote,
            name_servers,
            current: AtomicUsize::new(0),
            table: Mutex::new(HashMap::new()),
            looking_up: tokio::sync::Mutex::new(()),
            generation: AtomicU64::new(0),
            changes: watch::Sender::new(0),
        }
    }

    /// Counts changes of any route.
    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// The NameServers' addresses.
    pub(super) fn name_servers(&self) -> &[String] {
        &self.name_servers
    }

    /// Asks the NameServers, the one that answered last first, until one answers.
    pub(super) async fn ask_name_server(&self, ask: &Ask) -> Result<Answer, ClientError> {
        let mut last = ClientError::NoNameServer;
        let start = self.current.load(Ordering::Relaxed);
        for step in 0..self.name_servers.len() {
            let index = (start + step) % self.name_servers.len();
            match self.remote.ask(&self.name_servers[index], ask).await {
                Ok(answer) => {
                    self.current.store(index, Ordering::Relaxed);
                    return Ok(answer);
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// The route as the NameServer shows it now, past every cache.
    pub(super) async fn fetch(&self, topic: &str) -> Result<TopicRouteData, ClientError> {
        let ask = Ask::new(request::GET_ROUTEINFO_BY_TOPIC)
            .with("topic", topic)
            .with("acceptStandardJsonOnly", true);
        let answer = self.ask_name_server(&ask).await?;
        match answer.code() {
            response::TOPIC_NOT_EXIST => Err(ClientError::NoRoute(topic.to_owned())),
            response::SYSTEM_ERROR => Err(ClientError::NotReady(topic.to_owned())),
            _ => answer.success()?.decode(TopicRouteData::decode),
        }
    }

    /// The route last seen, if the topic is in use.
    pub(super) fn cached(&self, topic: &str) -> Option<Arc<TopicRoute>> {
        self.table.lock().get(topic).cloned()
    }

    /// Every route in use.
    pub(super) fn all(&self) -> Vec<Arc<TopicRoute>> {
        self.table.lock().values().cloned().collect()
    }

    /// Topics in use.
    pub(super) fn topics(&self) -> Vec<String> {
        self.table.lock().keys().cloned().collect()
    }

    /// The cached route to send by; for an unknown topic, where a send would create it.
    pub(super) async fn for_sending(&self, topic: &str) -> Result<Arc<TopicRoute>, ClientError> {
        match self.cached(topic) {
            Some(route) if !route.provisional => Ok(route),
            cached => {
                let seen = cached.map_or(0, |route| route.generation);
                self.look_up(topic, seen, true).await
            }
        }
    }

    /// The cached route to read by.
    pub(super) async fn for_reading(&self, topic: &str) -> Result<Arc<TopicRoute>, ClientError> {
        match self.cached(topic) {
            Some(route) if !route.provisional => Ok(route),
            _ => self.look_up(topic, u64::MAX, false).await,
        }
    }

    /// Looks the route up again, unless someone has since the look-up numbered `seen`.
    pub(super) async fn refresh(
        &self,
        topic: &str,
        seen: u64,
    ) -> Result<Arc<TopicRoute>, ClientError> {
        self.look_up(topic, seen, true).await
    }

    async fn look_up(
        &self,
        topic: &str,
        seen: u64,
        may_create: bool,
    ) -> Result<Arc<TopicRoute>, ClientError> {
        let _one_at_a_time = self.looking_up.lock().await;
        if let Some(route) = self.cached(topic)
            && route.generation > seen
        {
            return Ok(route);
        }
        let (data, provisional) = match self.fetch(topic).await {
            Err(error @ (ClientError::NoRoute(_) | ClientError::NotReady(_))) if may_create => {
                (self.fetch(AUTO_CREATE_TOPIC).await.map_err(|_| error)?, true)
            }
            fetched => (fetched?, false),
        };
        let generation = self.generation.fetch_add(1, Ordering::Relaxed) + 1;
        let route = Arc::new(TopicRoute::new(topic, data, provisional, generation));
        let before = self.table.lock().insert(topic.to_owned(), route.clone());
        if before.is_none_or(|before| before.data != route.data) {
            self.changes.send_modify(|count| *count += 1);
        }
        Ok(route)
    }

    /// Addresses behind the routes in use: of leaders only, or of every member.
    pub(super) fn addresses(&self, leaders_only: bool) -> BTreeSet<String> {
        let mut addresses = BTreeSet::new();
        for route in self.all() {
            for broker in &route.data.broker_datas {
                let wanted = |id: i64| !leaders_only || id == crate::protocol::route::MASTER_ID;
                let of_broker = broker.broker_addrs.iter().filter(|(id, _)| wanted(**id));
                addresses.extend(of_broker.map(|(_, address)| address.clone()));
            }
        }
        addresses
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::protocol::route::QueueData;

    fn data(brokers: &[(&str, &[(i64, &str)])]) -> TopicRouteData {
        let broker = |(name, addresses): &(&str, &[(i64, &str)])| BrokerData {
            broker_name: (*name).to_owned(),
            broker_addrs: addresses.iter().map(|(id, a)| (*id, (*a).to_owned())).collect(),
            ..BrokerData::default()
        };
        let queues = |(name, _): &(&str, &[(i64, &str)])| QueueData {
            broker_name: (*name).to_owned(),
            perm: 6,
            read_queue_nums: 8,
            write_queue_nums: 8,
            ..QueueData::default()
        };
        TopicRouteData {
            broker_datas: brokers.iter().map(broker).collect(),
            queue_datas: brokers.iter().map(queues).collect(),
            ..TopicRouteData::default()
        }
    }

    #[test]
    fn a_broker_without_leader_is_sent_to_only_if_there_is_no_other() {
        let route =
            TopicRoute::new("T", data(&[("a", &[(1, "h:2")]), ("b", &[(0, "h:1")])]), false, 1);
        assert!(route.publish.iter().all(|queue| queue.broker_name == "b"));
        assert_eq!((route.publish.len(), route.subscribe.len()), (8, 16));
        assert_eq!(route.leader("b").unwrap(), "h:1");
        assert!(matches!(route.leader("a"), Err(ClientError::NoLeader(_))));
        assert_eq!(route.any_addresses().collect::<Vec<_>>(), ["h:1", "h:2"]);
        let leaderless = TopicRoute::new("T", data(&[("a", &[(1, "h:2")])]), false, 1);
        assert_eq!(leaderless.publish.len(), 8);
    }

    #[test]
    fn a_topic_to_be_created_gets_few_queues() {
        let route = TopicRoute::new("T", data(&[("b", &[(0, "h:1")])]), true, 1);
        assert_eq!(route.publish.len(), 4);
        assert_eq!(route.publish[3].topic, "T");
    }
}
