//! Where the brokers are: one address per broker name, with its queues.
//!
//! Asked again on every connection error, so it keeps its answer small and its waits short.

use std::time::Duration;

use serde::Deserialize;
use tokio::time::{Instant, sleep};

use super::arguments::TargetArgs;
use super::pipe::{Pipe, PipeError};

const GET_ROUTE: i32 = 105;
const UPDATE_TOPIC: i32 = 17;
const GET_CLUSTER: i32 = 106;
const GET_MAX_OFFSET: i32 = 30;
const GET_MIN_OFFSET: i32 = 31;
const PERMISSION_WRITE: i32 = 2;
/// Between two looks at a route that does not show a living leader yet.
const ROUTE_RETRY: Duration = Duration::from_millis(10);
const TOPIC_APPEARS: Duration = Duration::from_secs(30);

/// Why there is nobody to talk to.
#[derive(Debug, thiserror::Error)]
pub(super) enum DirectoryError {
    #[error("neither -n nor -b given, and NAMESRV_ADDR is not set: say where the brokers are")]
    NoAddress,
    #[error("NameServer {address}: {source}")]
    NameServer { address: String, source: PipeError },
    #[error("broker {address}: {source}")]
    Broker { address: String, source: PipeError },
    #[error("the NameServer knows no broker that leads: is one running and registered?")]
    NoBroker,
    #[error("topic {0} has no route {TOPIC_APPEARS:?} after it was created")]
    NoRoute(String),
    #[error("unreadable route: {0}")]
    Route(#[from] serde_json::Error),
}

/// One broker name: its leader's address and its queues.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Broker {
    pub name: String,
    pub address: String,
    pub queues: u32,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Route {
    #[serde(default)]
    queue_datas: Vec<RouteQueues>,
    #[serde(default)]
    broker_datas: Vec<RouteBroker>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RouteQueues {
    broker_name: String,
    write_queue_nums: u32,
    perm: i32,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RouteBroker {
    broker_name: String,
    #[serde(default)]
    broker_addrs: std::collections::BTreeMap<String, String>,
}

/// Answers who leads which broker name of a topic.
#[derive(Debug, Clone)]
pub(super) struct Directory {
    name_servers: Vec<String>,
    direct: Option<String>,
    topic: String,
    queues: u32,
}

impl Directory {
    pub(super) fn new(target: &TargetArgs) -> Result<Directory, DirectoryError> {
        let split = |text: &String| text.split(';').map(|a| a.trim().to_owned()).collect();
        let name_servers: Vec<String> = target.namesrv.as_ref().map(split).unwrap_or_default();
        // An explicit -b wins over an address from the environment.
        let direct = target.broker.clone();
        if direct.is_none() && name_servers.is_empty() {
            return Err(DirectoryError::NoAddress);
        }
        Ok(Directory { name_servers, direct, topic: target.topic.clone(), queues: target.queues })
    }

    /// The topic's brokers that have a leader now. Empty when the topic has no route.
    pub(super) async fn brokers(&self) -> Result<Vec<Broker>, DirectoryError> {
        if let Some(address) = &self.direct {
            let name = address.clone();
            return Ok(vec![Broker { name, address: address.clone(), queues: self.queues }]);
        }
        let ext = format!(r#""topic":"{}","acceptStandardJsonOnly":"true""#, self.topic);
        let answer = match self.ask_name_server(GET_ROUTE, &ext).await {
            // Unknown, or not known yet by a NameServer that has just started.
            Err(DirectoryError::NameServer {
                source: PipeError::Refused { code: 17 | 1, .. },
                ..
            }) => return Ok(Vec::new()),
            answer => answer?,
        };
        let route: Route = serde_json::from_slice(&answer)?;
        let leader_of = |name: &str| {
            let broker = route.broker_datas.iter().find(|broker| broker.broker_name == name)?;
            broker.broker_addrs.get("0").cloned()
        };
        let mut brokers = Vec::new();
        for queues in &route.queue_datas {
            if queues.perm & PERMISSION_WRITE == 0 || queues.write_queue_nums == 0 {
                continue;
            }
            if let Some(address) = leader_of(&queues.broker_name) {
                let name = queues.broker_name.clone();
                brokers.push(Broker { name, address, queues: queues.write_queue_nums });
            }
        }
        brokers.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(brokers)
    }

    /// Asks the NameServers in turn until one answers.
    async fn ask_name_server(&self, code: i32, ext: &str) -> Result<Vec<u8>, DirectoryError> {
        let mut last = DirectoryError::NoAddress;
        for address in &self.name_servers {
            let asked = async {
                let mut pipe = Pipe::connect(address).await?;
                pipe.call_ok(code, ext, b"").await
            };
            match asked.await {
                Ok(answer) => return Ok(answer.body.to_vec()),
                Err(source) => {
                    last = DirectoryError::NameServer { address: address.clone(), source };
                }
            }
        }
        Err(last)
    }

    /// Creates the topic on every broker name unless it has a route, and waits for the route.
    pub(super) async fn ensure_topic(&self) -> Result<Vec<Broker>, DirectoryError> {
        let known = self.brokers().await?;
        if self.direct.is_none() && !known.is_empty() {
            return Ok(known);
        }
        let masters = match &self.direct {
            Some(address) => vec![address.clone()],
            None => self.masters().await?,
        };
        for address in &masters {
            self.create_topic(address).await?;
        }
        let started = Instant::now();
        loop {
            let brokers = self.brokers().await?;
            if brokers.len() >= masters.len() {
                return Ok(brokers);
            }
            if started.elapsed() > TOPIC_APPEARS {
                return Err(DirectoryError::NoRoute(self.topic.clone()));
            }
            sleep(ROUTE_RETRY).await;
        }
    }

    async fn create_topic(&self, address: &str) -> Result<(), DirectoryError> {
        let ext = format!(
            concat!(
                r#""topic":"{}","defaultTopic":"TBW102","readQueueNums":"{}","#,
                r#""writeQueueNums":"{}","perm":"6","topicFilterType":"SINGLE_TAG","#,
                r#""topicSysFlag":"0","order":"false""#
            ),
            self.topic, self.queues, self.queues
        );
        let asked = async { Pipe::connect(address).await?.call_ok(UPDATE_TOPIC, &ext, b"").await };
        let broker = |source| DirectoryError::Broker { address: address.to_owned(), source };
        asked.await.map(drop).map_err(broker)
    }

    /// Leaders of all broker names, read leniently: Apache's NameServer leaves the integer keys of
    /// this answer unquoted.
    async fn masters(&self) -> Result<Vec<String>, DirectoryError> {
        let body = self.ask_name_server(GET_CLUSTER, "").await?;
        let text = String::from_utf8_lossy(&body).replace("\"0\":\"", "0:\"");
        let mut masters: Vec<String> = Vec::new();
        let mut rest = &text[..];
        while let Some(at) = rest.find("{0:\"").or_else(|| rest.find(",0:\"")) {
            rest = &rest[at + 4..];
            let Some(end) = rest.find('"') else { break };
            masters.push(rest[..end].to_owned());
        }
        if masters.is_empty() { Err(DirectoryError::NoBroker) } else { Ok(masters) }
    }

    /// Minimum and maximum offset of one queue.
    pub(super) async fn offsets(
        &self,
        pipe: &mut Pipe,
        queue_id: u32,
    ) -> Result<(i64, i64), PipeError> {
        let ext = format!(r#""topic":"{}","queueId":"{queue_id}""#, self.topic);
        let mut bounds = [0i64; 2];
        for (bound, code) in bounds.iter_mut().zip([GET_MIN_OFFSET, GET_MAX_OFFSET]) {
            let answer = pipe.call_ok(code, &ext, b"").await?;
            *bound = super::frame::ext_number(&answer.header, "offset").unwrap_or(0);
        }
        Ok((bounds[0], bounds[1]))
    }

    pub(super) fn topic(&self) -> &str {
        &self.topic
    }
}
