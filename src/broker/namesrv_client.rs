//! Telling the name servers who this member is and which topics there are.
//!
//! Each name server has a task of its own, so one that is down delays no other. A registration is
//! sent at once when anything it says has changed, when the name server closed the connection (it has
//! forgotten us then), and else periodically.
//!
//! Invariant: id 0 is claimed only while this member serves as leader, together with the term in
//! which it leads; a name server lets the highest term have it.

use std::sync::Arc;

use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, watch};
use tokio::time::{Duration, sleep, timeout};

use super::core::Core;
use crate::config::BrokerConfig;
use crate::protocol::body::RegisterBrokerBody;
use crate::protocol::code::{request, response};
use crate::protocol::fastjson::JsonBody;
use crate::remoting::RemotingCommand;

/// First pause after a registration that failed; doubled up to the longest.
const RETRY_MIN: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(3);
/// How long [`Registrar::register_now`] waits for slow name servers.
const PROMPT: Duration = Duration::from_secs(1);
/// How long an orderly goodbye may take.
const GOODBYE: Duration = Duration::from_secs(1);
/// The id of a group's leader.
const LEADER_BROKER_ID: i64 = 0;

/// What one name server is known to know.
#[derive(Debug, Clone, Default)]
struct Known {
    /// The last change whose registration was tried.
    tried: u64,
    /// Whether it answered that.
    answered: bool,
    /// Where the leader is, if it is elsewhere.
    leader: Option<String>,
}

/// Keeps the name servers informed.
pub struct Registrar {
    /// Number of the last change that they should know.
    wanted: watch::Sender<u64>,
    name_servers: Vec<(String, watch::Sender<Known>)>,
}

impl Registrar {
    /// For the name servers of a configuration.
    pub fn new(config: &BrokerConfig) -> Registrar {
        let known = |address: &String| (address.clone(), watch::channel(Known::default()).0);
        Registrar {
            wanted: watch::channel(1).0,
            name_servers: config.namesrv_addr.iter().map(known).collect(),
        }
    }

    /// Something changed: register again, without waiting.
    pub fn changed(&self) {
        self.wanted.send_modify(|wanted| *wanted += 1);
    }

    /// Registers again and waits, a moment at most, until every name server has been asked.
    pub async fn register_now(&self) {
        let mut number = 0;
        self.wanted.send_modify(|wanted| {
            *wanted += 1;
            number = *wanted;
        });
        let all = async {
            for (_, known) in &self.name_servers {
                // Cannot fail: the sender lives as long as this.
                let _ = known.subscribe().wait_for(|known| known.tried >= number).await;
            }
        };
        // What is slower than that learns it a moment later.
        let _ = timeout(PROMPT, all).await;
    }

    /// Whether every name server that answers knows another leader.
    pub fn leader_is_elsewhere(&self) -> bool {
        self.name_servers.iter().all(|(_, known)| {
            let known = known.borrow();
            !known.answered || known.leader.is_some()
        })
    }

    /// Starts one task for each name server.
    pub fn start(core: &Arc<Core>) -> Vec<tokio::task::JoinHandle<()>> {
        let count = core.registrar.name_servers.len();
        (0..count).map(|at| tokio::spawn(keep_registered(core.clone(), at))).collect()
    }

    /// Says goodbye to every name server.
    pub async fn unregister(core: &Core) {
        let broker_id = broker_id(core);
        let each = core.registrar.name_servers.iter().map(|(address, _)| async move {
            let command = identified(core, request::UNREGISTER_BROKER, broker_id);
            if let Err(error) = core.client.invoke(address, command, GOODBYE).await {
                tracing::debug!(name_server = address, %error, "not unregistered");
            }
        });
        futures_util::future::join_all(each).await;
    }
}

async fn keep_registered(core: Arc<Core>, at: usize) {
    let (address, known) = &core.registrar.name_servers[at];
    let period = Duration::from_millis(core.config.register_name_server_period_ms);
    let mut wanted = core.registrar.wanted.subscribe();
    let mut closed = core.client.subscribe_closed();
    let mut retry = RETRY_MIN;
    let mut failing = false;
    loop {
        let number = *wanted.borrow_and_update();
        let outcome = register(&core, address).await;
        if let Err(error) = &outcome
            && !failing
        {
            tracing::warn!(name_server = address, error, "registration failed, trying on");
        } else if outcome.is_ok() && failing {
            tracing::info!(name_server = address, "registered again");
        }
        failing = outcome.is_err();
        let pause = if failing { retry } else { period };
        retry = if failing { (retry * 2).min(RETRY_MAX) } else { RETRY_MIN };
        let leader = outcome.ok().flatten();
        known.send_replace(Known { tried: number, answered: !failing, leader });
        tokio::select! {
            biased;
            // The sender is in the core, so this does not fail.
            _ = wanted.changed() => {}
            () = closed_to(&mut closed, address), if !failing => {}
            () = sleep(pause) => {}
        }
    }
}

/// Registers; the answer is who leads according to the name server, if somebody else does.
async fn register(core: &Core, address: &str) -> Result<Option<String>, String> {
    let term = {
        let status = core.status.borrow();
        status.term.0
    };
    let mut command = identified(core, request::REGISTER_BROKER, broker_id(core));
    let fields = &mut command.ext_fields;
    fields.insert("haServerAddr", core.address.to_string());
    fields.insert("compressed", false);
    fields.insert("bodyCrc32", 0);
    fields.insert("raftTerm", term);
    let body = RegisterBrokerBody {
        topic_config_serialize_wrapper: core.topic_table(),
        ..RegisterBrokerBody::default()
    };
    command.body = body.encode();
    let limit = Duration::from_millis(core.config.register_broker_timeout_ms);
    let answer = core.client.invoke(address, command, limit).await.map_err(|e| e.to_string())?;
    if answer.code != response::SUCCESS {
        let remark = answer.remark.unwrap_or_default();
        return Err(format!("it answered {}: {remark}", answer.code));
    }
    Ok(answer.ext_fields.get("masterAddr").filter(|text| !text.is_empty()).map(str::to_owned))
}

fn broker_id(core: &Core) -> i64 {
    if core.serving() { LEADER_BROKER_ID } else { core.config.follower_broker_id() }
}

fn identified(core: &Core, code: i32, broker_id: i64) -> RemotingCommand {
    let mut command = RemotingCommand::request(code);
    let fields = &mut command.ext_fields;
    fields.insert("brokerName", &core.config.broker_name);
    fields.insert("brokerAddr", core.address.to_string());
    fields.insert("clusterName", &core.config.broker_cluster_name);
    fields.insert("brokerId", broker_id);
    command
}

/// Waits until the connection to a name server ended.
async fn closed_to(closed: &mut broadcast::Receiver<String>, address: &str) {
    loop {
        match closed.recv().await {
            Ok(ended) if ended != address => {}
            // Having missed some may mean having missed this one.
            Ok(_) | Err(RecvError::Lagged(_)) => return,
            Err(RecvError::Closed) => std::future::pending().await,
        }
    }
}
