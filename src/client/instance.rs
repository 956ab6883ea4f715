//! One client of a process: connections, routes, heartbeats and the groups that use them.
//!
//! Invariant: every broker of every route in use hears of all groups within the heartbeat interval,
//! and at once when a connection broke, a leader changed or a group was added.

use std::collections::BTreeMap;
use std::hash::{BuildHasher as _, Hasher as _};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::future::join_all;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::time::sleep;

use crate::clock;
use crate::protocol::code::{request, response};
use crate::protocol::fastjson::JsonBody as _;
use crate::protocol::heartbeat::{ConsumerData, HeartbeatData, ProducerData};
use crate::protocol::message_id::UniqueIdGenerator;
use crate::remoting::{ClientOptions as RemotingOptions, Connection, RemotingClient};
use crate::remoting::{Request, RequestHandler};

use super::error::ClientError;
use super::options::ClientOptions;
use super::remote::{Ask, Remote};
use super::route::Routes;

/// After a heartbeat that did not reach everyone.
const HEARTBEAT_RETRY: Duration = Duration::from_secs(1);

/// A RocketMQ client. Cheap to clone; stops when the last clone is dropped.
#[derive(Clone)]
pub struct Client {
    pub(super) shared: Arc<Shared>,
}

pub(super) struct Shared {
    pub options: ClientOptions,
    pub client_id: String,
    pub remote: Arc<Remote>,
    pub routes: Routes,
    unique_ids: UniqueIdGenerator,
    groups: Mutex<Groups>,
    signals: Arc<Signals>,
}

#[derive(Default)]
struct Groups {
    producers: BTreeMap<String, usize>,
    consumers: BTreeMap<String, ConsumerData>,
}

/// What brokers and connections tell the client without being asked.
struct Signals {
    heartbeat: Notify,
    /// Counts notices that a consumer group changed.
    rebalance: watch::Sender<u64>,
}

impl RequestHandler for Signals {
    fn handle(&self, request: Request) {
        if request.command.code == request::NOTIFY_CONSUMER_IDS_CHANGED {
            self.rebalance.send_modify(|count| *count += 1);
            return;
        }
        let remark = format!(" request type {} not supported", request.command.code);
        request.responder.respond_error(response::REQUEST_CODE_NOT_SUPPORTED, remark);
    }

    fn connection_closed(&self, _connection: &Arc<Connection>) {
        self.heartbeat.notify_one();
    }
}

impl Client {
    /// Starts a client. Connects to nobody yet.
    ///
    /// # Errors
    /// When no NameServer address is configured.
    pub async fn start(options: ClientOptions) -> Result<Client, ClientError> {
        if options.name_servers.is_empty() {
            return Err(ClientError::NoNameServer);
        }
        let signals =
            Arc::new(Signals { heartbeat: Notify::new(), rebalance: watch::Sender::new(0) });
        let handler: Arc<dyn RequestHandler> = signals.clone();
        let remoting = RemotingClient::new(RemotingOptions::default(), Some(handler));
        let remote = Arc::new(Remote::new(remoting, options.request_timeout));
        let ip = local_ip(&options.name_servers[0]).await;
        let (process, salt) = (crate::process::number(), salt());
        let shared = Arc::new(Shared {
            client_id: client_id(&format!("{ip}@{process}#{salt:08x}"), &options),
            routes: Routes::new(remote.clone(), options.name_servers.clone()),
            remote,
            unique_ids: UniqueIdGenerator::new(ip, process, salt),
            groups: Mutex::default(),
            signals,
            options,
        });
        tokio::spawn(heartbeat_loop(Arc::downgrade(&shared), shared.signals.clone()));
        tokio::spawn(route_loop(Arc::downgrade(&shared), shared.options.route_interval));
        tokio::spawn(heartbeat_on_route_change(Arc::downgrade(&shared), shared.routes.changes()));
        Ok(Client { shared })
    }

    /// Under which brokers know this client.
    pub fn client_id(&self) -> &str {
        &self.shared.client_id
    }

    pub(super) fn unique_id(&self) -> String {
        self.shared.unique_ids.next(clock::now_ms())
    }

    pub(super) fn add_producer(&self, group: &str) {
        *self.shared.groups.lock().producers.entry(group.to_owned()).or_default() += 1;
        self.shared.signals.heartbeat.notify_one();
    }

    pub(super) fn remove_producer(&self, group: &str) {
        let mut groups = self.shared.groups.lock();
        if let Some(users) = groups.producers.get_mut(group) {
            *users -= 1;
            if *users == 0 {
                groups.producers.remove(group);
            }
        }
    }

    pub(super) fn add_consumer(&self, consumer: ConsumerData) -> Result<(), ClientError> {
        let mut groups = self.shared.groups.lock();
        let group = consumer.group_name.clone();
        if groups.consumers.contains_key(&group) {
            let what = format!("this client already consumes in group {group}");
            return Err(ClientError::IllegalArgument(what));
        }
        groups.consumers.insert(group, consumer);
        Ok(())
    }

    pub(super) fn remove_consumer(&self, group: &str) {
        self.shared.groups.lock().consumers.remove(group);
    }

    /// Counts notices that some consumer group changed.
    pub(super) fn rebalance_notices(&self) -> watch::Receiver<u64> {
        self.shared.signals.rebalance.subscribe()
    }

    /// Tells every broker of the routes in use which groups are here. `false` if one was missed.
    pub(super) async fn heartbeat(&self) -> bool {
        self.shared.heartbeat().await
    }

    /// Tells every broker that a group has left.
    pub(super) async fn unregister(&self, producer: Option<&str>, consumer: Option<&str>) {
        let ask = Ask::new(request::UNREGISTER_CLIENT)
            .with("clientID", &self.shared.client_id)
            .with_some("producerGroup", producer)
            .with_some("consumerGroup", consumer);
        let addresses = self.shared.routes.addresses(false);
        let told = addresses.iter().map(|address| self.shared.remote.ask(address, &ask));
        for refused in join_all(told).await.into_iter().filter_map(Result::err) {
            tracing::debug!(error = %refused, "a broker did not hear that the group left");
        }
    }
}

impl Shared {
    async fn heartbeat(&self) -> bool {
        let (body, leaders_only) = {
            let groups = self.groups.lock();
            if groups.producers.is_empty() && groups.consumers.is_empty() {
                return true;
            }
            let producer = |name: &String| ProducerData { group_name: name.clone() };
            let data = HeartbeatData {
                client_id: self.client_id.clone(),
                consumer_data_set: groups.consumers.values().cloned().collect(),
                producer_data_set: groups.producers.keys().map(producer).collect(),
                ..HeartbeatData::default()
            };
            (data.encode(), groups.consumers.is_empty())
        };
        let ask = Ask::new(request::HEART_BEAT).with_body(body);
        let addresses = self.routes.addresses(leaders_only);
        let beats = addresses.iter().map(|address| self.remote.ask(address, &ask));
        let mut all_heard = true;
        for answer in join_all(beats).await {
            if let Err(error) = answer.and_then(|answer| answer.success()) {
                tracing::debug!(%error, "heartbeat not heard");
                all_heard = false;
            }
        }
        all_heard
    }
}

async fn heartbeat_loop(shared: Weak<Shared>, signals: Arc<Signals>) {
    let mut wait = Duration::ZERO;
    loop {
        tokio::select! {
            biased;
            () = signals.heartbeat.notified() => {}
            () = sleep(wait), if !wait.is_zero() => {}
        }
        let Some(shared) = shared.upgrade() else { return };
        let all_heard = shared.heartbeat().await;
        wait = if all_heard { shared.options.heartbeat_interval } else { HEARTBEAT_RETRY };
    }
}

async fn heartbeat_on_route_change(shared: Weak<Shared>, mut changes: watch::Receiver<u64>) {
    while changes.changed().await.is_ok() {
        let Some(shared) = shared.upgrade() else { return };
        shared.signals.heartbeat.notify_one();
    }
}

async fn route_loop(shared: Weak<Shared>, interval: Duration) {
    loop {
        sleep(interval).await;
        let Some(shared) = shared.upgrade() else { return };
        for topic in shared.routes.topics() {
            let seen = shared.routes.cached(&topic).map_or(0, |route| route.generation);
            if let Err(error) = shared.routes.refresh(&topic, seen).await {
                tracing::debug!(topic, %error, "route not refreshed");
            }
        }
    }
}

fn client_id(process: &str, options: &ClientOptions) -> String {
    let id = format!("{process}@{}", options.instance_name);
    options.unit_name.iter().fold(id, |id, unit| format!("{id}@{unit}"))
}

/// The address by which this host would talk to `peer`; nothing is sent.
async fn local_ip(peer: &str) -> IpAddr {
    let probe = async {
        let socket = tokio::net::UdpSocket::bind("0.0.0.0:0").await?;
        socket.connect(peer).await?;
        socket.local_addr()
    };
    probe.await.map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |address| address.ip())
}

/// Tells clients of one process, and processes with the same number, apart.
fn salt() -> u32 {
    let random = std::hash::RandomState::new().build_hasher().finish();
    (random ^ (random >> 32)) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_is_the_end_of_the_client_id() {
        let mut options = ClientOptions::new("a:9876").with_instance_name("one");
        assert_eq!(client_id("h@7", &options), "h@7@one");
        options.unit_name = Some("north".to_owned());
        assert_eq!(client_id("h@7", &options), "h@7@one@north");
    }
}
