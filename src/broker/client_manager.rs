//! Which clients are connected, in which groups, and what the groups subscribe to.
//!
//! A client belongs to a group through a connection: heartbeats renew it, an unregistration, a closed
//! connection or two minutes of silence end it. Every change of a consumer group's members or topics
//! is told to all its members at once, so that they rebalance now and not at their next timer.
//!
//! Invariant: a connection in a group's table is in the connection index with that group, and the
//! other way round; notifications are sent outside the lock.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::time::{Duration, Instant};

use crate::protocol::code::request;
use crate::protocol::heartbeat::{
    ConsumeFromWhere, ConsumeType, ConsumerData, HeartbeatData, MessageModel, SUBSCRIBE_ALL,
    SubscriptionData,
};
use crate::remoting::{Connection, Language, RemotingCommand};

/// A client that is silent for this long is taken for dead.
pub const CLIENT_EXPIRY: Duration = Duration::from_secs(120);
/// What a group without members subscribed to is remembered for this long.
const SUBSCRIPTION_EXPIRY: Duration = Duration::from_secs(600);

/// The side of a connection that the manager needs.
pub trait ClientChannel: Send + Sync + 'static {
    /// Unique among the connections of this process.
    fn id(&self) -> u64;
    /// Sends a request that is not answered.
    fn notify(&self, command: RemotingCommand);
    /// Closes the connection.
    fn close(&self);
}

impl ClientChannel for Connection {
    fn id(&self) -> u64 {
        Connection::id(self)
    }
    fn notify(&self, command: RemotingCommand) {
        self.send_oneway(command);
    }
    fn close(&self) {
        Connection::close(self);
    }
}

/// One client's membership.
pub struct Member<C> {
    /// Its connection.
    pub channel: Arc<C>,
    /// What the client calls itself.
    pub client_id: String,
    /// Its language.
    pub language: Language,
    /// Its release, as an ordinal.
    pub version: i32,
    last_heartbeat: Instant,
}

impl<C> Member<C> {
    /// Since its last heartbeat.
    pub fn silence(&self) -> Duration {
        self.last_heartbeat.elapsed()
    }
}

impl<C> Clone for Member<C> {
    fn clone(&self) -> Self {
        Member {
            channel: self.channel.clone(),
            client_id: self.client_id.clone(),
            language: self.language,
            version: self.version,
            last_heartbeat: self.last_heartbeat,
        }
    }
}

struct ConsumerGroup<C> {
    members: HashMap<u64, Member<C>>,
    subscriptions: BTreeMap<String, Arc<SubscriptionData>>,
    consume_type: ConsumeType,
    message_model: MessageModel,
    consume_from_where: ConsumeFromWhere,
    /// Fingerprint of the last full heartbeat that carried one.
    fingerprint: i64,
    empty_since: Option<Instant>,
}

impl<C> Default for ConsumerGroup<C> {
    fn default() -> Self {
        ConsumerGroup {
            members: HashMap::new(),
            subscriptions: BTreeMap::new(),
            consume_type: ConsumeType::default(),
            message_model: MessageModel::default(),
            consume_from_where: ConsumeFromWhere::default(),
            fingerprint: 0,
            empty_since: None,
        }
    }
}

/// What the tools show about a consumer group.
pub struct GroupDescription<C> {
    /// Who is connected.
    pub members: Vec<Member<C>>,
    /// What the group subscribes to.
    pub subscriptions: BTreeMap<String, Arc<SubscriptionData>>,
    /// Push, pull or pop.
    pub consume_type: ConsumeType,
    /// One member or all.
    pub message_model: MessageModel,
    /// Where a new queue starts.
    pub consume_from_where: ConsumeFromWhere,
}

/// A group's subscription to a topic.
pub enum SubscriptionLookup {
    /// No member of the group was seen by this broker.
    UnknownGroup,
    /// The group's members do not subscribe to the topic.
    NotSubscribed,
    /// This is it.
    Found {
        /// The subscription.
        subscription: Arc<SubscriptionData>,
        /// Every member consumes every message.
        broadcasting: bool,
    },
}

/// A client is no member of a group any more, on any connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Departure {
    /// The consumer group.
    pub group: String,
    /// The client.
    pub client_id: String,
}

struct Tables<C> {
    consumers: BTreeMap<String, ConsumerGroup<C>>,
    producers: BTreeMap<String, HashMap<u64, Member<C>>>,
    connections: HashMap<u64, Groups>,
}

#[derive(Default)]
struct Groups {
    consumers: BTreeSet<String>,
    producers: BTreeSet<String>,
}

/// The connected clients of one broker.
pub struct ClientManager<C = Connection> {
    tables: Mutex<Tables<C>>,
    notify_ids_changed: bool,
}

impl<C: ClientChannel> ClientManager<C> {
    /// No clients yet; `notify_ids_changed` off keeps members uninformed of changes.
    pub fn new(notify_ids_changed: bool) -> Self {
        let tables = Tables {
            consumers: BTreeMap::new(),
            producers: BTreeMap::new(),
            connections: HashMap::new(),
        };
        ClientManager { tables: Mutex::new(tables), notify_ids_changed }
    }

    /// Takes in a heartbeat. `accepts` says whether a consumer group may exist here. Returns
    /// whether the client should send its subscriptions in full next time.
    pub fn heartbeat(
        &self,
        channel: &Arc<C>,
        language: Language,
        version: i32,
        data: &HeartbeatData,
        accepts: impl Fn(&str) -> bool,
    ) -> bool {
        let fingerprint = data.heartbeat_fingerprint;
        // Without fingerprints every heartbeat is a full one.
        let mut wants_full = fingerprint == 0;
        let member = Member {
            channel: channel.clone(),
            client_id: data.client_id.clone(),
            language,
            version,
            last_heartbeat: Instant::now(),
        };
        let mut told = Vec::new();
        {
            let mut tables = self.tables.lock();
            for consumer in &data.consumer_data_set {
                if !accepts(&consumer.group_name) {
                    continue;
                }
                let group = tables.join_consumer(&consumer.group_name, &member);
                let mut changed = group.1;
                if data.without_sub {
                    wants_full |= group.0.fingerprint != fingerprint;
                } else {
                    group.0.fingerprint = fingerprint;
                    changed |= group.0.subscribe(consumer);
                }
                if changed {
                    told.push((consumer.group_name.clone(), group.0.channels()));
                }
            }
            for producer in &data.producer_data_set {
                tables.join_producer(&producer.group_name, &member);
            }
        }
        self.tell(told);
        wants_full
    }

    /// A client leaves one or both groups; whether it left the consumer group for good.
    pub fn unregister(
        &self,
        channel_id: u64,
        producer_group: Option<&str>,
        consumer_group: Option<&str>,
    ) -> Option<Departure> {
        let mut told = Vec::new();
        let mut departure = None;
        {
            let mut tables = self.tables.lock();
            if let Some(group) = producer_group {
                tables.leave_producer(group, channel_id);
            }
            if let Some(group) = consumer_group
                && let Some((channels, departed)) = tables.leave_consumer(group, channel_id)
            {
                told.push((group.to_owned(), channels));
                departure = departed;
            }
        }
        self.tell(told);
        departure
    }

    /// A connection is gone, and its client with it; the groups of which it is no member any more.
    pub fn connection_closed(&self, channel_id: u64) -> Vec<Departure> {
        let mut told = Vec::new();
        let mut departures = Vec::new();
        {
            let mut tables = self.tables.lock();
            let Some(groups) = tables.connections.remove(&channel_id) else { return departures };
            for group in &groups.producers {
                tables.leave_producer(group, channel_id);
            }
            for group in groups.consumers {
                if let Some((channels, departed)) = tables.leave_consumer(&group, channel_id) {
                    told.push((group, channels));
                    departures.extend(departed);
                }
            }
        }
        self.tell(told);
        departures
    }

    /// Whether a client is connected as a member of a group.
    pub fn is_member(&self, group: &str, client_id: &str) -> bool {
        let tables = self.tables.lock();
        let group = tables.consumers.get(group);
        group.is_some_and(|group| group.has(client_id))
    }

    /// Has the members of a group rebalance.
    pub fn tell_group(&self, group: &str) {
        let channels = self.tables.lock().consumers.get(group).map(ConsumerGroup::channels);
        self.tell(channels.map(|channels| (group.to_owned(), channels)).into_iter().collect());
    }

    /// Closes the connections of clients that are silent too long, and forgets groups that have
    /// been without members for long.
    pub fn expire(&self, now: Instant) {
        let mut silent = Vec::new();
        {
            let mut tables = self.tables.lock();
            let expired =
                |member: &&Member<C>| now.duration_since(member.last_heartbeat) > CLIENT_EXPIRY;
            for group in tables.consumers.values() {
                silent.extend(group.members.values().filter(expired).map(|m| m.channel.clone()));
            }
            for members in tables.producers.values() {
                silent.extend(members.values().filter(expired).map(|m| m.channel.clone()));
            }
            tables.consumers.retain(|_, group| {
                group.empty_since.is_none_or(|since| now - since <= SUBSCRIPTION_EXPIRY)
            });
        }
        for channel in silent {
            // A lock of a client that is silent for so long has run out.
            self.connection_closed(channel.id());
            channel.close();
        }
    }

    /// Client ids of a consumer group, sorted, each once.
    pub fn consumer_ids(&self, group: &str) -> BTreeSet<String> {
        let tables = self.tables.lock();
        let members = tables.consumers.get(group).into_iter().flat_map(|g| g.members.values());
        members.map(|member| member.client_id.clone()).collect()
    }

    /// What a group subscribed to in a topic.
    pub fn subscription(&self, group: &str, topic: &str) -> SubscriptionLookup {
        let tables = self.tables.lock();
        let Some(group) = tables.consumers.get(group) else {
            return SubscriptionLookup::UnknownGroup;
        };
        match group.subscriptions.get(topic) {
            Some(subscription) => SubscriptionLookup::Found {
                subscription: subscription.clone(),
                broadcasting: group.message_model == MessageModel::Broadcasting,
            },
            None => SubscriptionLookup::NotSubscribed,
        }
    }

    /// Consumer groups with at least one member.
    #[cfg(not(madsim))]
    pub fn consumer_groups(&self) -> Vec<String> {
        let tables = self.tables.lock();
        let present = tables.consumers.iter().filter(|(_, group)| !group.members.is_empty());
        present.map(|(name, _)| name.clone()).collect()
    }

    /// A group with at least one member.
    pub fn describe_consumers(&self, group: &str) -> Option<GroupDescription<C>> {
        let tables = self.tables.lock();
        let group = tables.consumers.get(group).filter(|group| !group.members.is_empty())?;
        Some(GroupDescription {
            members: sorted(&group.members),
            subscriptions: group.subscriptions.clone(),
            consume_type: group.consume_type,
            message_model: group.message_model,
            consume_from_where: group.consume_from_where,
        })
    }

    /// Members of a producer group; empty if there are none.
    pub fn producers(&self, group: &str) -> Vec<Member<C>> {
        self.tables.lock().producers.get(group).map(sorted).unwrap_or_default()
    }

    /// Every producer group with its members.
    pub fn all_producers(&self) -> BTreeMap<String, Vec<Member<C>>> {
        let tables = self.tables.lock();
        tables.producers.iter().map(|(group, members)| (group.clone(), sorted(members))).collect()
    }

    /// Groups with a subscription to a topic.
    pub fn groups_of_topic(&self, topic: &str) -> BTreeSet<String> {
        let tables = self.tables.lock();
        let subscribed = |group: &ConsumerGroup<C>| group.subscriptions.contains_key(topic);
        let groups = tables.consumers.iter().filter(|(_, group)| subscribed(group));
        groups.map(|(name, _)| name.clone()).collect()
    }

    fn tell(&self, told: Vec<(String, Vec<Arc<C>>)>) {
        if !self.notify_ids_changed {
            return;
        }
        for (group, channels) in told {
            for channel in channels {
                let mut command = RemotingCommand::request(request::NOTIFY_CONSUMER_IDS_CHANGED);
                command.ext_fields.insert("consumerGroup", &group);
                channel.notify(command);
            }
        }
    }
}

impl<C: ClientChannel> Tables<C> {
    /// The group, and whether the member is new in it.
    fn join_consumer(&mut self, group: &str, member: &Member<C>) -> (&mut ConsumerGroup<C>, bool) {
        let id = member.channel.id();
        let groups = self.connections.entry(id).or_default();
        if !groups.consumers.contains(group) {
            groups.consumers.insert(group.to_owned());
        }
        if !self.consumers.contains_key(group) {
            self.consumers.insert(group.to_owned(), ConsumerGroup::default());
        }
        let consumers = self.consumers.get_mut(group).expect("it was inserted above");
        consumers.empty_since = None;
        let new = consumers.members.insert(id, member.clone()).is_none();
        (consumers, new)
    }

    fn join_producer(&mut self, group: &str, member: &Member<C>) {
        let id = member.channel.id();
        let groups = self.connections.entry(id).or_default();
        if !groups.producers.contains(group) {
            groups.producers.insert(group.to_owned());
        }
        self.producers.entry(group.to_owned()).or_default().insert(id, member.clone());
    }

    fn leave_producer(&mut self, group: &str, channel_id: u64) {
        if let Some(members) = self.producers.get_mut(group) {
            members.remove(&channel_id);
            if members.is_empty() {
                self.producers.remove(group);
            }
        }
        if let Some(groups) = self.connections.get_mut(&channel_id) {
            groups.producers.remove(group);
        }
    }

    /// Who is to be told that the member left, if it was one, and whether its client did.
    fn leave_consumer(
        &mut self,
        group: &str,
        channel_id: u64,
    ) -> Option<(Vec<Arc<C>>, Option<Departure>)> {
        if let Some(groups) = self.connections.get_mut(&channel_id) {
            groups.consumers.remove(group);
        }
        let consumers = self.consumers.get_mut(group)?;
        let Member { client_id, .. } = consumers.members.remove(&channel_id)?;
        if consumers.members.is_empty() {
            consumers.empty_since = Some(Instant::now());
        }
        let departed = !consumers.has(&client_id);
        let departure = departed.then(|| Departure { group: group.to_owned(), client_id });
        Some((consumers.channels(), departure))
    }
}

impl<C: ClientChannel> ConsumerGroup<C> {
    fn has(&self, client_id: &str) -> bool {
        self.members.values().any(|member| member.client_id == client_id)
    }

    fn channels(&self) -> Vec<Arc<C>> {
        self.members.values().map(|member| member.channel.clone()).collect()
    }

    /// Takes over a member's view of the group; true if the set of topics changed.
    fn subscribe(&mut self, consumer: &ConsumerData) -> bool {
        self.consume_type = consumer.consume_type;
        self.message_model = consumer.message_model;
        self.consume_from_where = consumer.consume_from_where;
        let mut changed = false;
        for data in &consumer.subscription_data_set {
            let known = self.subscriptions.get(data.topic.as_str());
            changed |= known.is_none();
            if known.is_none_or(|known| known.sub_version < data.sub_version) {
                self.subscriptions.insert(data.topic.clone(), Arc::new(with_codes(data)));
            }
        }
        let before = self.subscriptions.len();
        let topics = &consumer.subscription_data_set;
        self.subscriptions.retain(|topic, _| topics.iter().any(|data| data.topic == *topic));
        changed || self.subscriptions.len() != before
    }
}

fn sorted<C>(members: &HashMap<u64, Member<C>>) -> Vec<Member<C>> {
    let mut members: Vec<_> = members.values().cloned().collect();
    members.sort_by(|a, b| a.client_id.cmp(&b.client_id));
    members
}

/// The subscription with the hashes of its tags, which some clients leave to the broker.
fn with_codes(data: &SubscriptionData) -> SubscriptionData {
    let text = data.sub_string.trim();
    let all = text.is_empty() || text == SUBSCRIBE_ALL;
    if all || !data.is_tag_expression() || !data.code_set.is_empty() {
        return data.clone();
    }
    // A text without a tag selects nothing; its client would not have started with it.
    SubscriptionData::from_tags(data.topic.clone(), text, data.sub_version)
        .unwrap_or_else(|_| data.clone())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::protocol::heartbeat::ProducerData;

    struct Channel {
        id: u64,
        told: Mutex<Vec<String>>,
        closed: Mutex<bool>,
    }

    impl ClientChannel for Channel {
        fn id(&self) -> u64 {
            self.id
        }
        fn notify(&self, command: RemotingCommand) {
            let group = command.ext_fields.get("consumerGroup").unwrap();
            self.told.lock().push(group.to_owned());
        }
        fn close(&self) {
            *self.closed.lock() = true;
        }
    }

    fn channel(id: u64) -> Arc<Channel> {
        Arc::new(Channel { id, told: Mutex::default(), closed: Mutex::new(false) })
    }

    fn heartbeat(client_id: &str, topics: &[&str]) -> HeartbeatData {
        let subscription = |topic: &&str| SubscriptionData {
            topic: (*topic).to_owned(),
            sub_string: "TagA".to_owned(),
            sub_version: 1,
            ..SubscriptionData::default()
        };
        let consumer = ConsumerData {
            group_name: "g".into(),
            subscription_data_set: topics.iter().map(subscription).collect(),
            ..ConsumerData::default()
        };
        HeartbeatData {
            client_id: client_id.into(),
            consumer_data_set: vec![consumer],
            producer_data_set: vec![ProducerData { group_name: "p".into() }],
            ..HeartbeatData::default()
        }
    }

    fn beat(
        manager: &ClientManager<Channel>,
        channel: &Arc<Channel>,
        data: &HeartbeatData,
    ) -> bool {
        manager.heartbeat(channel, Language::JAVA, 400, data, |_| true)
    }

    fn told(channel: &Channel) -> usize {
        std::mem::take(&mut *channel.told.lock()).len()
    }

    #[tokio::test]
    async fn every_change_is_told_to_all_members_and_nothing_else_is() {
        let manager = ClientManager::new(true);
        let (a, b) = (channel(1), channel(2));
        assert!(beat(&manager, &a, &heartbeat("a", &["T"])));
        assert_eq!(told(&a), 1);
        beat(&manager, &a, &heartbeat("a", &["T"]));
        assert_eq!(told(&a), 0, "nothing changed");
        beat(&manager, &b, &heartbeat("b", &["T"]));
        assert_eq!((told(&a), told(&b)), (1, 1));
        beat(&manager, &b, &heartbeat("b", &["T", "U"]));
        assert_eq!((told(&a), told(&b)), (1, 1), "another topic");
        assert_eq!(manager.consumer_ids("g"), BTreeSet::from(["a".into(), "b".into()]));
        let left = |client_id: &str| Departure { group: "g".into(), client_id: client_id.into() };
        assert_eq!(manager.connection_closed(1), [left("a")]);
        assert_eq!((told(&a), told(&b)), (0, 1));
        assert_eq!(manager.connection_closed(1), []);
        assert_eq!(told(&b), 0, "it left already");
        assert_eq!(manager.unregister(2, Some("p"), Some("g")), Some(left("b")));
        assert!(manager.consumer_ids("g").is_empty() && manager.producers("p").is_empty());
        assert!(manager.describe_consumers("g").is_none());
    }

    #[tokio::test]
    async fn subscriptions_get_their_tag_hashes_and_outlive_members() {
        let manager = ClientManager::new(true);
        let a = channel(1);
        assert!(matches!(manager.subscription("g", "T"), SubscriptionLookup::UnknownGroup));
        beat(&manager, &a, &heartbeat("a", &["T"]));
        manager.connection_closed(1);
        let SubscriptionLookup::Found { subscription, broadcasting } =
            manager.subscription("g", "T")
        else {
            panic!("the group is remembered");
        };
        assert!(subscription.matches(crate::protocol::tags::tags_code("TagA")));
        assert!(!subscription.matches(1) && !broadcasting);
        assert!(matches!(manager.subscription("g", "U"), SubscriptionLookup::NotSubscribed));
        assert_eq!(manager.groups_of_topic("T").len(), 1);
        manager.expire(Instant::now() + SUBSCRIPTION_EXPIRY + Duration::from_secs(1));
        assert!(matches!(manager.subscription("g", "T"), SubscriptionLookup::UnknownGroup));
    }

    #[tokio::test]
    async fn a_client_has_left_when_its_last_connection_has() {
        let manager = ClientManager::new(true);
        let (old, new) = (channel(1), channel(2));
        beat(&manager, &old, &heartbeat("a", &["T"]));
        beat(&manager, &new, &heartbeat("a", &["T"]));
        assert_eq!(manager.connection_closed(1), [], "it came back before");
        assert!(manager.is_member("g", "a"));
        told(&new);
        manager.tell_group("g");
        assert_eq!(told(&new), 1);
        assert_eq!(manager.connection_closed(2).len(), 1);
        assert!(!manager.is_member("g", "a"));
    }

    #[tokio::test]
    async fn silence_expires_a_client_and_closes_its_connection() {
        let manager = ClientManager::new(true);
        let (a, b) = (channel(1), channel(2));
        let before = Instant::now();
        beat(&manager, &a, &heartbeat("a", &["T"]));
        manager.expire(before + CLIENT_EXPIRY);
        assert!(!*a.closed.lock());
        beat(&manager, &b, &heartbeat("b", &["T"]));
        manager.expire(Instant::now() + CLIENT_EXPIRY + Duration::from_secs(1));
        assert!(*a.closed.lock());
        assert!(manager.consumer_ids("g").is_empty());
    }

    #[tokio::test]
    async fn a_heartbeat_without_subscriptions_needs_a_full_one_before() {
        let manager = ClientManager::new(true);
        let a = channel(1);
        let short =
            HeartbeatData { heartbeat_fingerprint: 7, without_sub: true, ..heartbeat("a", &[]) };
        let full = HeartbeatData { heartbeat_fingerprint: 7, ..heartbeat("a", &["T"]) };
        assert!(beat(&manager, &a, &short), "nothing is known of that fingerprint");
        assert!(!beat(&manager, &a, &full));
        assert!(!beat(&manager, &a, &short));
        assert!(matches!(manager.subscription("g", "T"), SubscriptionLookup::Found { .. }));
        assert!(beat(&manager, &a, &HeartbeatData { heartbeat_fingerprint: 8, ..short }));
    }

    #[tokio::test]
    async fn a_group_that_may_not_exist_is_skipped() {
        let manager = ClientManager::new(true);
        let a = channel(1);
        manager.heartbeat(&a, Language::JAVA, 400, &heartbeat("a", &["T"]), |_| false);
        assert!(manager.consumer_ids("g").is_empty());
        assert_eq!(manager.producers("p").len(), 1);
    }
}
