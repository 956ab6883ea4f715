//! Requests to a name server and their answers, without sockets, clock or files.
//!
//! Invariant: every request gets exactly one answer; what must be kept on disk is handed back with
//! the answer, which counts only once it was kept.

use std::path::PathBuf;

use tracing::{info, warn};

use crate::config::NamesrvConfig;
use crate::protocol::body::{KvTable, RegisterBrokerBody};
use crate::protocol::code::{request, response};
use crate::protocol::data_version::DataVersion;
use crate::protocol::fastjson::{BodyError, JsonBody};
use crate::remoting::{FieldError, RemotingCommand};

use super::kv::{KvConfig, ORDER_TOPIC_CONFIG};
use super::readiness::Readiness;
use super::registration::Registration;
use super::route_table::{ConnectionId, Departure, Outcome, RouteTable};

/// The field of a registration that carries the Raft term.
pub const RAFT_TERM: &str = "raftTerm";

/// Why a request is refused.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    #[error(transparent)]
    Field(#[from] FieldError),
    #[error(transparent)]
    Body(#[from] BodyError),
    #[error("{remark}")]
    Coded { code: i32, remark: String },
}

impl Refusal {
    pub(super) fn new(code: i32, remark: impl Into<String>) -> Refusal {
        Refusal::Coded { code, remark: remark.into() }
    }

    pub(super) fn into_response(self) -> RemotingCommand {
        let code = match &self {
            Refusal::Coded { code, .. } => *code,
            _ => response::SYSTEM_ERROR,
        };
        RemotingCommand::error(code, self.to_string())
    }
}

/// What must be on disk before an answer counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Keep {
    /// The key-value settings.
    Kv(KvConfig),
    /// Changed lines of the configuration file.
    ConfigLines(Vec<(String, String)>),
}

/// An answer and what must be kept first.
#[derive(Debug)]
pub struct Answer {
    /// The response.
    pub response: RemotingCommand,
    /// What must be kept before it is sent.
    pub keep: Option<Keep>,
}

impl From<RemotingCommand> for Answer {
    fn from(response: RemotingCommand) -> Answer {
        Answer { response, keep: None }
    }
}

pub(super) type Result = std::result::Result<Answer, Refusal>;

/// A name server's whole state.
#[derive(Debug)]
pub struct Service {
    pub(super) config: NamesrvConfig,
    pub(super) table: RouteTable,
    pub(super) readiness: Readiness,
    pub(super) kv: KvConfig,
}

impl Service {
    /// A name server that starts now and knows no brokers.
    pub fn new(config: NamesrvConfig, kv: KvConfig, now_ms: i64) -> Service {
        let expired_timeout_ms = i64::try_from(config.broker_expired_timeout_ms);
        let table = RouteTable::new(expired_timeout_ms.unwrap_or(i64::MAX));
        Service { config, table, readiness: Readiness::new(now_ms), kv }
    }

    /// Where the key-value settings are kept.
    pub fn kv_path(&self) -> PathBuf {
        self.config.kv_config_path.clone()
    }

    /// Answers one request.
    pub fn answer(
        &mut self,
        now_ms: i64,
        connection: ConnectionId,
        command: &RemotingCommand,
    ) -> Answer {
        let answer = match command.code {
            request::REGISTER_BROKER => self.register_broker(now_ms, connection, command),
            request::UNREGISTER_BROKER => self.unregister_broker(command),
            request::QUERY_DATA_VERSION => self.query_data_version(now_ms, command),
            request::BROKER_HEARTBEAT => self.heartbeat(now_ms, command),
            request::GET_ROUTEINFO_BY_TOPIC => self.route(now_ms, command),
            _ => self.answer_operator(command),
        };
        answer.unwrap_or_else(|refusal| refusal.into_response().into())
    }

    /// A connection closed.
    pub fn connection_closed(&mut self, connection: ConnectionId) {
        log_departures("connection closed", &self.table.connection_closed(connection));
    }

    /// Looks for brokers that were silent for too long.
    pub fn scan(&mut self, now_ms: i64) {
        log_departures("silent for too long", &self.table.expire(now_ms));
    }

    fn register_broker(
        &mut self,
        now_ms: i64,
        connection: ConnectionId,
        command: &RemotingCommand,
    ) -> Result {
        let fields = &command.ext_fields;
        let crc32 = fields.get_i32("bodyCrc32")?.unwrap_or(0);
        let actual = (crc32fast::hash(&command.body) & 0x7fff_ffff).cast_signed();
        if crc32 != 0 && crc32 != actual {
            return Err(Refusal::new(response::SYSTEM_ERROR, "crc32 not match"));
        }
        let mut registration = Registration {
            cluster_name: named(command, "clusterName")?,
            broker_name: named(command, "brokerName")?,
            broker_addr: named(command, "brokerAddr")?,
            broker_id: fields
                .get_i64("brokerId")?
                .ok_or(FieldError::Missing { field: "brokerId" })?,
            ha_server_addr: fields.get("haServerAddr").unwrap_or_default().to_owned(),
            raft_term: fields.get_i64(RAFT_TERM)?,
            heartbeat_timeout_ms: fields.get_i64("heartbeatTimeoutMillis")?.filter(|ms| *ms > 0),
            enable_acting_master: fields.get_bool("enableActingMaster")?.unwrap_or(false),
            zone_name: fields.get("__ZONE_NAME").filter(|zone| !zone.is_empty()).map(str::to_owned),
            connection,
            delete_missing_topics: self.config.delete_topic_with_broker_registration,
            ..Registration::default()
        };
        if crate::config::split_host_port(&registration.broker_addr).is_none() {
            let remark = format!("brokerAddr `{}` is not host:port", registration.broker_addr);
            return Err(Refusal::new(response::SYSTEM_ERROR, remark));
        }
        if !command.body.is_empty() {
            let compressed = fields.get_bool("compressed")?.unwrap_or(false);
            let body = RegisterBrokerBody::decode_any(&command.body, compressed)?;
            registration = registration.with_topics(body.topic_config_serialize_wrapper);
        }
        let name = registration.broker_name.clone();
        let address = registration.broker_addr.clone();
        let (id, term) = (registration.broker_id, registration.raft_term);
        let outcome = self.table.register(now_ms, registration);
        let mut answer = RemotingCommand::response(response::SUCCESS);
        match outcome {
            Outcome::Accepted { new_member, leader_changed } => {
                if new_member {
                    self.readiness.member_joined(now_ms);
                }
                if new_member || leader_changed {
                    info!(
                        broker_name = name,
                        address, id, term, leader_changed, "broker registered"
                    );
                }
            }
            Outcome::Stale { known_term } => {
                warn!(
                    broker_name = name,
                    address, id, term, known_term, "stale registration ignored"
                );
                if let Some(known_term) = known_term {
                    answer = answer.with_ext(RAFT_TERM, known_term);
                }
            }
        }
        if let Some((leader, ha_server_addr)) = self.table.leader(&name)
            && leader != address
        {
            answer = answer.with_ext("masterAddr", leader).with_ext("haServerAddr", ha_server_addr);
        }
        if self.config.return_order_topic_config_to_broker
            && let Some(table) = self.kv.namespace(ORDER_TOPIC_CONFIG)
        {
            answer = answer.with_body(KvTable { table: table.clone() }.encode());
        }
        Ok(answer.into())
    }

    fn unregister_broker(&mut self, command: &RemotingCommand) -> Result {
        let name = named(command, "brokerName")?;
        let address = named(command, "brokerAddr")?;
        let departure = self.table.unregister(&name, &address);
        log_departures("unregistered", departure.as_slice());
        Ok(success())
    }

    fn query_data_version(&mut self, now_ms: i64, command: &RemotingCommand) -> Result {
        let name = named(command, "brokerName")?;
        let address = named(command, "brokerAddr")?;
        let theirs = DataVersion::decode(&command.body)?;
        self.table.heard(now_ms, &name, &address);
        let known = self.table.data_version(&name, &address);
        let mut answer =
            RemotingCommand::response(response::SUCCESS).with_ext("changed", known != Some(theirs));
        if let Some(known) = known {
            answer = answer.with_body(known.encode());
        }
        Ok(answer.into())
    }

    fn heartbeat(&mut self, now_ms: i64, command: &RemotingCommand) -> Result {
        let name = named(command, "brokerName")?;
        let address = named(command, "brokerAddr")?;
        self.table.heard(now_ms, &name, &address);
        Ok(success())
    }

    fn route(&mut self, now_ms: i64, command: &RemotingCommand) -> Result {
        let topic = named(command, "topic")?;
        let not_ready = || Refusal::new(response::SYSTEM_ERROR, "name server not ready");
        if !self.readiness.serves(now_ms, &self.config) {
            return Err(not_ready());
        }
        let Some(mut route) = self.table.route(&topic) else {
            if !self.readiness.knows_all(now_ms, &self.config) {
                return Err(not_ready());
            }
            let remark = format!("No topic route info in name server for the topic: {topic}");
            return Err(Refusal::new(response::TOPIC_NOT_EXIST, remark));
        };
        if self.config.order_message_enable {
            // Go clients panic at a trailing separator.
            let order =
                self.kv.get(ORDER_TOPIC_CONFIG, &topic).map(|order| order.trim_matches(';'));
            route.order_topic_conf = order.filter(|order| !order.is_empty()).map(str::to_owned);
        }
        Ok(RemotingCommand::response(response::SUCCESS).with_body(route.encode()).into())
    }
}

/// A field that must be there and not be empty.
pub(super) fn named(
    command: &RemotingCommand,
    field: &'static str,
) -> std::result::Result<String, FieldError> {
    let value = command.ext_fields.require(field)?;
    let value = value.trim();
    if value.is_empty() { Err(FieldError::Missing { field }) } else { Ok(value.to_owned()) }
}

pub(super) fn success() -> Answer {
    RemotingCommand::response(response::SUCCESS).into()
}

fn log_departures(reason: &str, departures: &[Departure]) {
    for Departure { broker_name, broker_addr, broker_id } in departures {
        info!(broker_name, address = broker_addr, id = broker_id, reason, "broker left");
    }
}
