//! The port for those who watch: `/metrics` for Prometheus, `/live` and `/ready` for who starts and
//! stops processes.
//!
//! It is open from the first moment of a start to the last of a stop, so that a long recovery is seen
//! as one and not as death.
//!
//! Invariant: live is said by whoever can say anything; ready only by a member that takes its part in
//! the group and knows who leads.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::core::Core;
use super::lifecycle::BrokerError;
use super::metrics;
use crate::config::{BrokerConfig, MetricsExporterType};
use crate::metrics::http::{self, Answer, Site};
use crate::metrics::text;
use crate::replication::{ReplicaStatus, Role};

const UNAVAILABLE: &str = "503 Service Unavailable";

/// The open port; closed when it is dropped.
pub struct Exporter {
    address: SocketAddr,
    pages: Arc<Pages>,
    serving: JoinHandle<()>,
}

/// What it answers with, once the broker is there.
#[derive(Default)]
struct Pages {
    core: OnceLock<Arc<Core>>,
}

impl Exporter {
    /// Opens the port, if metrics are to be exported.
    pub async fn start(config: &BrokerConfig) -> Result<Option<Exporter>, BrokerError> {
        if config.metrics_exporter_type != MetricsExporterType::Prom {
            return Ok(None);
        }
        let host = match config.metrics_prom_exporter_host.trim() {
            "" => config.bind_address.to_string(),
            host => host.to_owned(),
        };
        let port = config.metrics_prom_exporter_port;
        let failed = |source| BrokerError::System {
            action: format!(
                "listen for metrics on {host}:{port} (metricsPromExporterHost, \
                 metricsPromExporterPort; is another broker running?)"
            ),
            source,
        };
        let listener = TcpListener::bind((host.as_str(), port)).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        tracing::info!(broker = config.broker_name, %address, "metrics at /metrics");
        let pages = Arc::new(Pages::default());
        let serving = tokio::spawn(http::serve(listener, pages.clone()));
        Ok(Some(Exporter { address, pages, serving }))
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The broker is there.
    pub fn speaks_for(&self, core: &Arc<Core>) {
        let set = self.pages.core.set(Arc::clone(core));
        assert!(set.is_ok(), "an exporter speaks for one broker");
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Site for Pages {
    fn get(&self, path: &str) -> Option<Answer> {
        let core = self.core.get();
        match (path, core) {
            ("/live", _) => Some(Answer::text("200 OK", "alive")),
            ("/metrics" | "/ready", None) => {
                Some(Answer::text(UNAVAILABLE, "the broker is starting"))
            }
            ("/ready", Some(core)) => Some(match unready(&core.status.borrow(), core) {
                None => Answer::text("200 OK", "ready"),
                Some(why) => Answer::text(UNAVAILABLE, why),
            }),
            ("/metrics", Some(core)) => Some(Answer {
                status: "200 OK",
                content_type: text::CONTENT_TYPE,
                body: metrics::page(core),
            }),
            _ => None,
        }
    }

    fn paths(&self) -> &'static str {
        "/metrics, /live and /ready"
    }
}

/// Why clients should not be sent here, if they should not.
fn unready(status: &ReplicaStatus, core: &Core) -> Option<&'static str> {
    if core.is_stopping() {
        return Some("the broker is stopping");
    }
    match (status.role, status.leader) {
        (Role::Recovering, _) => {
            Some("this member may have forgotten something and is not whole again")
        }
        (_, None) => Some("no leader is known"),
        (Role::Leader, _) if !status.serving => Some("this member is taking up leadership"),
        _ => None,
    }
}
