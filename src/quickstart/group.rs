//! The four processes of a quickstart.
//!
//! Invariant: every process started here is killed when the group is dropped, and stops by itself
//! when this process ends without dropping it.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::process::{Child, ChildStdin, Command};
use tokio::time::{Instant, sleep};

use super::layout::{BROKER_NAME, Layout, MEMBERS};
use super::{OWNED_FLAG, QuickstartError};
use crate::client::{Admin, Client, ClientOptions};
use crate::protocol::route::MASTER_ID;

const LEADER_LIMIT: Duration = Duration::from_secs(60);
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// A running NameServer and its brokers.
pub(super) struct Group {
    pub layout: Layout,
    pub client: Client,
    name_server: Process,
    brokers: Vec<Process>,
}

struct Process {
    role: String,
    log: PathBuf,
    child: Child,
    /// Never written to: its end tells the child that this process is gone.
    _tie: Option<ChildStdin>,
    reported: bool,
}

/// Who is what, as the NameServer shows it: broker id by member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Roles(BTreeMap<u16, i64>);

impl Roles {
    pub(super) fn leader(&self) -> Option<u16> {
        self.0.iter().find(|(_, id)| **id == MASTER_ID).map(|(member, _)| *member)
    }

    /// One line a member.
    pub(super) fn describe(&self, layout: &Layout) -> String {
        let line = |member: u16| {
            let role = match self.0.get(&member) {
                Some(&MASTER_ID) => "leader",
                Some(_) => "follower",
                None => "not registered",
            };
            format!("broker n{member}   {}  {role}\n", layout.client_address(member))
        };
        (0..MEMBERS).map(line).collect()
    }
}

impl Group {
    /// Starts everything. The brokers may still be electing their leader.
    pub(super) async fn start(layout: Layout) -> Result<Group, QuickstartError> {
        for (port, role) in layout.ports() {
            if TcpListener::bind(("127.0.0.1", port)).await.is_err() {
                return Err(QuickstartError::PortInUse { port, role });
            }
        }
        layout.write()?;
        let name_server = spawn("namesrv", "NameServer", &layout.name_server_config())?;
        let mut brokers = Vec::new();
        for member in 0..MEMBERS {
            let role = format!("broker n{member}");
            brokers.push(spawn("broker", &role, &layout.broker_config(member))?);
        }
        let options = ClientOptions::new(&layout.name_server()).with_instance_name("quickstart");
        let client = Client::start(options).await?;
        Ok(Group { layout, client, name_server, brokers })
    }

    /// Who is what now.
    pub(super) async fn roles(&self) -> Result<Roles, QuickstartError> {
        let brokers = Admin::new(&self.client).brokers(None).await?;
        let mut roles = BTreeMap::new();
        for broker in brokers.iter().filter(|broker| broker.broker_name == BROKER_NAME) {
            let member = (0..MEMBERS).find(|m| self.layout.client_address(*m) == broker.address);
            if let Some(member) = member {
                roles.insert(member, broker.broker_id);
            }
        }
        Ok(Roles(roles))
    }

    /// Waits for a leader, and for every member to be registered.
    pub(super) async fn await_leader(&mut self) -> Result<Roles, QuickstartError> {
        let started = Instant::now();
        loop {
            self.check_running()?;
            if let Ok(roles) = self.roles().await
                && roles.leader().is_some()
                && roles.0.len() == usize::from(MEMBERS)
            {
                return Ok(roles);
            }
            if started.elapsed() > LEADER_LIMIT {
                return Err(QuickstartError::NoLeader(LEADER_LIMIT, self.layout.dir.clone()));
            }
            sleep(LOOK_AGAIN).await;
        }
    }

    fn check_running(&mut self) -> Result<(), QuickstartError> {
        for process in std::iter::once(&mut self.name_server).chain(&mut self.brokers) {
            if let Some(status) = process.child.try_wait()? {
                let (role, log) = (process.role.clone(), process.log.clone());
                return Err(QuickstartError::Ended { role, status: status.to_string(), log });
            }
        }
        Ok(())
    }

    /// A line for every broker that has ended since the last call.
    pub(super) fn ended_brokers(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        for process in self.brokers.iter_mut().filter(|process| !process.reported) {
            if let Ok(Some(status)) = process.child.try_wait() {
                process.reported = true;
                lines.push(format!("{} ended ({status})", process.role));
            }
        }
        lines
    }

    /// Kills a broker as a power failure would: at once, without a word to anyone.
    pub(super) fn kill_broker(&mut self, member: u16) -> Result<(), QuickstartError> {
        Ok(self.brokers[usize::from(member)].child.start_kill()?)
    }

    /// Ends every process and waits until they are gone.
    pub(super) async fn stop(mut self) {
        for process in self.brokers.iter_mut().chain([&mut self.name_server]) {
            if let Err(error) = process.child.kill().await {
                tracing::warn!(role = process.role, %error, "process not stopped");
            }
        }
    }
}

fn spawn(subcommand: &str, role: &str, config: &Path) -> Result<Process, QuickstartError> {
    let failed = |source| QuickstartError::Spawn { role: role.to_owned(), source };
    let log = config.with_extension("log");
    let output =
        File::create(&log).map_err(|source| QuickstartError::File { path: log.clone(), source })?;
    let errors = output.try_clone().map_err(failed)?;
    let mut child = Command::new(std::env::current_exe().map_err(failed)?)
        .arg(subcommand)
        .arg(format!("--{OWNED_FLAG}"))
        .arg("-c")
        .arg(config)
        .stdin(Stdio::piped())
        .stdout(output)
        .stderr(errors)
        .kill_on_drop(true)
        .spawn()
        .map_err(failed)?;
    // Waiting for the child would close a pipe that is still the child's.
    let tie = child.stdin.take();
    Ok(Process { role: role.to_owned(), log, child, _tie: tie, reported: false })
}
