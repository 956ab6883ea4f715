//! From a request's code to its processor.
//!
//! Sends, pulls, commits and heartbeats are handled on the connection's reader, because they only
//! look something up and hand something in; everything else, and whatever has to wait, gets a task
//! of its own.
//!
//! Invariant: every request is answered exactly once, one-way requests never; a request of a code
//! that nobody knows is told so.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::time::Instant;

use super::answer::{Failure, Outcome};
use super::core::Core;
use super::forward::{self, lead_or_forward};
use super::{
    broker_admin, client_admin, client_asked, consumer_ids, group_admin, live, offset_admin,
    offsets, pull, queue_locks, replication_admin, send, send_back, statistics, topic_admin,
    upkeep, view,
};
use crate::protocol::code::{request, response};
use crate::remoting::{Connection, RemotingCommand, Request, RequestHandler, Responder};

/// Handles what clients, tools and other members ask of one broker.
pub struct Dispatcher {
    core: Arc<Core>,
}

impl Dispatcher {
    /// For one broker.
    pub fn new(core: Arc<Core>) -> Self {
        Dispatcher { core }
    }
}

impl RequestHandler for Dispatcher {
    fn handle(&self, request: Request) {
        let core = &self.core;
        match request.command.code {
            request::SEND_MESSAGE | request::SEND_MESSAGE_V2 | request::SEND_BATCH_MESSAGE => {
                send::handle(core, request);
            }
            request::PULL_MESSAGE | request::LITE_PULL_MESSAGE => pull::handle(core, request),
            request::UPDATE_CONSUMER_OFFSET => offsets::commit(core, request),
            request::HEART_BEAT => client_admin::heartbeat(core, request),
            code => match Duty::of(code) {
                Some(duty) => spawn(core, request, duty),
                None => {
                    let remark = format!(" request type {code} not supported");
                    let code = response::REQUEST_CODE_NOT_SUPPORTED;
                    refuse(request.responder, &Failure::new(code, remark));
                }
            },
        }
    }

    fn connection_closed(&self, connection: &Arc<Connection>) {
        let departures = self.core.clients.connection_closed(connection.id());
        queue_locks::left(&self.core, departures, true);
        self.core.long_polling.connection_closed(connection.id());
    }
}

/// Who may carry out a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Duty {
    /// Whoever is asked.
    Anyone,
    /// The leader, so others forward.
    Leader,
}

impl Duty {
    fn of(code: i32) -> Option<Duty> {
        match code {
            request::QUERY_CONSUMER_OFFSET
            | request::CONSUMER_SEND_MSG_BACK
            | request::SEARCH_OFFSET_BY_TIMESTAMP
            | request::GET_MAX_OFFSET
            | request::GET_MIN_OFFSET
            | request::GET_EARLIEST_MSG_STORETIME
            | request::UPDATE_AND_CREATE_TOPIC
            | request::UPDATE_AND_CREATE_TOPIC_LIST
            | request::DELETE_TOPIC_IN_BROKER
            | request::GET_TOPIC_STATS_INFO
            | request::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP
            | request::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST
            | request::DELETE_SUBSCRIPTIONGROUP
            | request::GET_CONSUME_STATS
            | request::GET_BROKER_CONSUME_STATS
            | request::INVOKE_BROKER_TO_RESET_OFFSET
            | request::CLONE_GROUP_OFFSET
            | request::LOCK_BATCH_MQ
            | request::UNLOCK_BATCH_MQ
            | request::DELETE_EXPIRED_COMMITLOG
            | request::TRANSFER_LEADER => Some(Duty::Leader),
            request::QUERY_MESSAGE
            | request::VIEW_MESSAGE_BY_ID
            | request::UNREGISTER_CLIENT
            | request::GET_CONSUMER_LIST_BY_GROUP
            | request::GET_CONSUMER_CONNECTION_LIST
            | request::GET_PRODUCER_CONNECTION_LIST
            | request::GET_ALL_PRODUCER_INFO
            | request::GET_CONSUMER_RUNNING_INFO
            | request::CONSUME_MESSAGE_DIRECTLY
            | request::QUERY_TOPICS_BY_CONSUMER
            | request::GET_ALL_TOPIC_CONFIG
            | request::GET_TOPIC_CONFIG
            | request::GET_SYSTEM_TOPIC_LIST_FROM_BROKER
            | request::GET_ALL_SUBSCRIPTIONGROUP_CONFIG
            | request::GET_SUBSCRIPTIONGROUP_CONFIG
            | request::QUERY_TOPIC_CONSUME_BY_WHO
            | request::GET_BROKER_CONFIG
            | request::UPDATE_BROKER_CONFIG
            | request::GET_BROKER_RUNTIME_INFO
            | request::VIEW_BROKER_STATS_DATA
            | request::GET_BROKER_HA_STATUS
            | request::GET_BROKER_EPOCH_CACHE
            | request::CLEAN_EXPIRED_CONSUMEQUEUE
            | request::CLEAN_UNUSED_TOPIC
            | request::SET_MESSAGE_REQUEST_MODE
            | request::QUERY_CONSUME_QUEUE
            | request::RAFT_STATUS => Some(Duty::Anyone),
            _ => None,
        }
    }
}

fn spawn(core: &Arc<Core>, request: Request, duty: Duty) {
    let (core, began) = (core.clone(), Instant::now());
    let Request { command, connection, responder } = request;
    tokio::spawn(async move {
        let outcome = match duty {
            Duty::Anyone => process(&core, &command, &connection).await,
            Duty::Leader => {
                let peer = connection.peer_addr();
                let run = || process(&core, &command, &connection);
                lead_or_forward(&core, &command, peer, began, run).await
            }
        };
        respond(responder, outcome);
    });
}

async fn process(core: &Arc<Core>, command: &RemotingCommand, connection: &Connection) -> Outcome {
    match command.code {
        request::CONSUMER_SEND_MSG_BACK => send_back::take(core, command).await,
        request::QUERY_CONSUMER_OFFSET => offsets::query(core, command, connection.id()).await,
        request::SEARCH_OFFSET_BY_TIMESTAMP => offsets::search_by_time(core, command).await,
        request::GET_MAX_OFFSET => offsets::max(core, command).await,
        request::GET_MIN_OFFSET => offsets::min(core, command).await,
        request::GET_EARLIEST_MSG_STORETIME => offsets::earliest_time(core, command).await,
        request::UPDATE_AND_CREATE_TOPIC => topic_admin::update(core, command).await,
        request::UPDATE_AND_CREATE_TOPIC_LIST => topic_admin::update_all(core, command).await,
        request::DELETE_TOPIC_IN_BROKER => topic_admin::delete(core, command).await,
        request::GET_TOPIC_STATS_INFO => topic_admin::stats(core, command).await,
        request::GET_ALL_TOPIC_CONFIG => topic_admin::all(core),
        request::GET_TOPIC_CONFIG => topic_admin::one(core, command),
        request::GET_SYSTEM_TOPIC_LIST_FROM_BROKER => topic_admin::system_topics(core),
        request::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP => group_admin::update(core, command).await,
        request::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST => {
            group_admin::update_all(core, command).await
        }
        request::DELETE_SUBSCRIPTIONGROUP => group_admin::delete(core, command).await,
        request::GET_CONSUME_STATS => group_admin::consume_stats(core, command).await,
        request::GET_ALL_SUBSCRIPTIONGROUP_CONFIG => group_admin::all(core),
        request::GET_SUBSCRIPTIONGROUP_CONFIG => group_admin::one(core, command),
        request::QUERY_TOPIC_CONSUME_BY_WHO => group_admin::groups_of_topic(core, command),
        request::GET_BROKER_CONSUME_STATS => group_admin::all_consume_stats(core, command).await,
        request::INVOKE_BROKER_TO_RESET_OFFSET => offset_admin::reset(core, command).await,
        request::CLONE_GROUP_OFFSET => offset_admin::clone_offsets(core, command).await,
        request::QUERY_TOPICS_BY_CONSUMER => offset_admin::topics_of_group(core, command),
        request::GET_CONSUMER_RUNNING_INFO => client_asked::running_info(core, command).await,
        request::CONSUME_MESSAGE_DIRECTLY => client_asked::consume_directly(core, command).await,
        request::GET_ALL_PRODUCER_INFO => client_admin::all_producers(core),
        request::LOCK_BATCH_MQ => queue_locks::lock(core, command).await,
        request::UNLOCK_BATCH_MQ => queue_locks::unlock(core, command).await,
        request::TRANSFER_LEADER => broker_admin::transfer_leader(core, command).await,
        request::RAFT_STATUS => broker_admin::raft_status(core),
        request::GET_BROKER_CONFIG => broker_admin::config(core),
        request::UPDATE_BROKER_CONFIG => live::update(core, command),
        request::GET_BROKER_RUNTIME_INFO => broker_admin::runtime_info(core),
        request::VIEW_BROKER_STATS_DATA => statistics::view(core, command),
        request::GET_BROKER_HA_STATUS => replication_admin::ha_status(core),
        request::GET_BROKER_EPOCH_CACHE => replication_admin::epochs(core),
        request::CLEAN_EXPIRED_CONSUMEQUEUE => upkeep::clean_expired_queues(),
        request::CLEAN_UNUSED_TOPIC => upkeep::clean_unused_topics(),
        request::DELETE_EXPIRED_COMMITLOG => upkeep::delete_expired(core),
        request::SET_MESSAGE_REQUEST_MODE => upkeep::request_mode(command),
        request::QUERY_CONSUME_QUEUE => upkeep::queue_units(core, command),
        request::QUERY_MESSAGE => view::by_key(core, command),
        request::VIEW_MESSAGE_BY_ID => view::by_id(core, command),
        request::UNREGISTER_CLIENT => client_admin::unregister(core, command, connection),
        request::GET_CONSUMER_LIST_BY_GROUP => consumer_ids::list(core, command).await,
        request::GET_CONSUMER_CONNECTION_LIST => client_admin::consumers(core, command),
        request::GET_PRODUCER_CONNECTION_LIST => client_admin::producers(core, command),
        code => Err(Failure::new(
            response::REQUEST_CODE_NOT_SUPPORTED,
            format!(" request type {code} not supported"),
        )),
    }
}

/// Answers.
pub fn respond(responder: Responder, outcome: Outcome) {
    match outcome {
        Ok(answer) => responder.respond(answer),
        Err(failure) => refuse(responder, &failure),
    }
}

/// Answers with a failure. Tells a forwarding member when nothing was done for want of leadership;
/// clients do not know that field.
pub fn refuse(responder: Responder, failure: &Failure) {
    responder.respond_parts(failure.code, Some(&failure.remark), &[], |fields| {
        if failure.not_leader {
            fields.put(forward::NOT_LEADER, true);
        }
        fields.put_some("forbiddenType", failure.forbidden_type);
    });
}

/// Lets the leader carry out a request, which came at `began`, that this member found out it must not; on a
/// task of its own.
pub fn hand_over<F, R>(core: &Arc<Core>, request: Request, began: Instant, run: F)
where
    F: Fn(Arc<Core>, RemotingCommand, SocketAddr) -> R + Send + Sync + 'static,
    R: Future<Output = Outcome> + Send,
{
    let core = core.clone();
    let Request { command, connection, responder } = request;
    tokio::spawn(async move {
        let peer = connection.peer_addr();
        let again = || run(core.clone(), command.clone(), peer);
        let outcome = lead_or_forward(&core, &command, peer, began, again).await;
        respond(responder, outcome);
    });
}
