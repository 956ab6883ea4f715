//! A running name server: the service behind a socket, with its clock, its scan and its files.
//!
//! Invariant: an answer that promises something durable is sent after it is durable.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use raft_log::{Disk, DiskFile, Lane, RealDisk};
use thiserror::Error;
use tokio::task::AbortHandle;
use tokio::time::{Instant, MissedTickBehavior};
use tracing::{error, info};

use crate::config::{NamesrvConfig, replace_line};
use crate::protocol::code::{request, response};
use crate::remoting::{
    ClientOptions, Connection, RemotingClient, RemotingCommand, RemotingServer, Request,
    RequestHandler, ServerOptions,
};

use super::controller;
use super::kv::{KvConfig, KvError, replace_file};
use super::service::{Answer, Keep, Service};

/// Why a name server does not start.
#[derive(Debug, Error)]
pub enum NamesrvError {
    /// The address is taken or not this machine's.
    #[error(
        "cannot listen on {address}: {source}; stop the other process, or change listenPort or \
         bindAddress"
    )]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// The key-value settings cannot be read.
    #[error(transparent)]
    Kv(#[from] KvError),
}

/// A running name server; dropping it stops it at once.
pub struct NameServer {
    server: RemotingServer,
    scan: AbortHandle,
}

impl NameServer {
    /// Starts on this machine's disk. `config_file` receives what tools change at run time; without
    /// one such changes last until the next start.
    pub async fn start(
        config: NamesrvConfig,
        config_file: Option<PathBuf>,
    ) -> Result<NameServer, NamesrvError> {
        Self::start_on(RealDisk::new(), config, config_file).await
    }

    /// Starts on `disk`.
    pub async fn start_on<D: Disk>(
        disk: D,
        config: NamesrvConfig,
        config_file: Option<PathBuf>,
    ) -> Result<NameServer, NamesrvError> {
        let kv = KvConfig::load(&disk, &config.kv_config_path)?;
        let address = SocketAddr::new(config.bind_address, config.listen_port);
        let options = ServerOptions {
            idle_close: Duration::from_secs(config.server_channel_max_idle_time_seconds),
            connections_max: config.server_connections_max,
            ..ServerOptions::default()
        };
        let period = Duration::from_millis(config.scan_not_active_broker_interval_ms);
        let shared = Arc::new(Shared {
            service: Mutex::new(Service::new(config, kv, 0)),
            started: Instant::now(),
            disk,
            config_file,
            brokers: RemotingClient::new(ClientOptions::default(), None),
        });
        let scan = tokio::spawn(scan(Arc::downgrade(&shared), period)).abort_handle();
        let server = RemotingServer::bind(address, shared, options).await;
        let server = server.map_err(|source| {
            scan.abort();
            NamesrvError::Listen { address, source }
        })?;
        info!(address = %server.local_addr(), "name server listens");
        Ok(NameServer { server, scan })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.server.local_addr()
    }

    /// Answers what was asked and closes all connections.
    pub async fn shutdown(self) {
        self.server.shutdown().await;
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.scan.abort();
    }
}

async fn scan<D: Disk>(shared: Weak<Shared<D>>, period: Duration) {
    let mut ticks = tokio::time::interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Some(shared) = shared.upgrade() else { return };
        shared.service.lock().scan(shared.now_ms());
    }
}

struct Shared<D> {
    service: Mutex<Service>,
    /// The service's time starts at zero and never jumps: silence is measured with it.
    started: Instant,
    disk: D,
    config_file: Option<PathBuf>,
    /// Only for what operators ask of a controller; no connection is open before.
    brokers: RemotingClient,
}

impl<D: Disk> Shared<D> {
    /// Answers what only brokers know.
    fn handle_as_controller(&self, request: Request) {
        let question = self.service.lock().question(&request.command);
        let question = match question {
            Ok(question) => question,
            Err(refusal) => return request.responder.respond(refusal.into_response()),
        };
        let brokers = self.brokers.clone();
        // Operators' questions are rare: one task each is fine.
        tokio::spawn(async move {
            request.responder.respond(controller::ask(&brokers, question).await);
        });
    }

    fn now_ms(&self) -> i64 {
        i64::try_from(self.started.elapsed().as_millis()).unwrap_or(i64::MAX)
    }

    /// Hands the work to the disk's helper, which keeps the order. Must be called under the
    /// service's lock, so that a later version is never overwritten by an earlier one.
    fn keep(
        &self,
        kv_path: PathBuf,
        keep: Keep,
    ) -> Option<impl Future<Output = Result<(), String>> + Send + 'static> {
        let disk = self.disk.clone();
        let work: Box<dyn FnOnce() -> Result<(), String> + Send> = match keep {
            Keep::Kv(kv) => Box::new(move || kv.save(&disk, &kv_path).map_err(|e| e.to_string())),
            Keep::ConfigLines(lines) => {
                let path = self.config_file.clone()?;
                Box::new(move || {
                    rewrite(&disk, &path, &lines).map_err(|e| format!("{}: {e}", path.display()))
                })
            }
        };
        let kept = self.disk.offload(Lane::Prepare, work);
        Some(async move { kept.await.map_err(|error| error.to_string())? })
    }
}

/// Sets `lines` in the properties file at `path` and leaves the rest as it is.
fn rewrite<D: Disk>(disk: &D, path: &Path, lines: &[(String, String)]) -> std::io::Result<()> {
    let file = disk.open(path)?;
    let mut text = vec![0; usize::try_from(file.len()?).unwrap_or(0)];
    file.read_at(&mut text, 0)?;
    let text = String::from_utf8(text).map_err(std::io::Error::other)?;
    let changed = lines.iter().fold(text, |text, (key, value)| replace_line(&text, key, value));
    replace_file(disk, path, changed.as_bytes())
}

impl<D: Disk> RequestHandler for Shared<D> {
    fn handle(&self, request: Request) {
        let code = request.command.code;
        if code == request::CONTROLLER_GET_METADATA_INFO {
            let metadata = controller::metadata(request.connection.local_addr());
            return request.responder.respond(metadata);
        }
        if controller::is_for_brokers(code) {
            return self.handle_as_controller(request);
        }
        let mut service = self.service.lock();
        let Answer { response, keep } =
            service.answer(self.now_ms(), request.connection.id(), &request.command);
        let kept = keep.and_then(|keep| self.keep(service.kv_path(), keep));
        drop(service);
        let Some(kept) = kept else { return request.responder.respond(response) };
        // Operators' changes are rare: one task each is fine.
        tokio::spawn(async move {
            let response = match kept.await {
                Ok(()) => response,
                Err(problem) => {
                    error!(problem, "a change by an operator could not be kept");
                    let remark = format!("changed until the next start only: {problem}");
                    RemotingCommand::error(response::SYSTEM_ERROR, remark)
                }
            };
            request.responder.respond(response);
        });
    }

    fn connection_closed(&self, connection: &Arc<Connection>) {
        self.service.lock().connection_closed(connection.id());
    }
}
