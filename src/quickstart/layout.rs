//! Files and ports of a quickstart.
//!
//! Invariant: a pure function of folder and base port, so a second start finds the first one's data.

use std::fmt::Write as _;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use super::QuickstartError;

/// Members of the group.
pub(super) const MEMBERS: u16 = 3;
/// Name of the group.
pub(super) const BROKER_NAME: &str = "RaftNode00";
const CLUSTER: &str = "RaftCluster";
/// From a member's client port to its Raft port.
const RAFT_PORT_STEP: u16 = 10;

/// Where everything is.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    pub dir: PathBuf,
    base_port: u16,
}

impl Layout {
    pub(super) fn new(dir: PathBuf, base_port: u16) -> Result<Layout, QuickstartError> {
        if base_port == 0 || base_port.checked_add(MEMBERS + RAFT_PORT_STEP).is_none() {
            return Err(QuickstartError::PortRange(base_port));
        }
        Ok(Layout { dir, base_port })
    }

    /// The NameServer's address.
    pub(super) fn name_server(&self) -> String {
        format!("127.0.0.1:{}", self.base_port)
    }

    /// A member's client port.
    pub(super) fn client_port(&self, member: u16) -> u16 {
        self.base_port + 1 + member
    }

    fn raft_port(&self, member: u16) -> u16 {
        self.client_port(member) + RAFT_PORT_STEP
    }

    /// A member's address for clients.
    pub(super) fn client_address(&self, member: u16) -> String {
        format!("127.0.0.1:{}", self.client_port(member))
    }

    /// Every port with what it is for.
    pub(super) fn ports(&self) -> Vec<(u16, String)> {
        let mut ports = vec![(self.base_port, "NameServer".to_owned())];
        for member in 0..MEMBERS {
            ports.push((self.client_port(member), format!("clients of n{member}")));
            ports.push((self.raft_port(member), format!("Raft transport of n{member}")));
        }
        ports
    }

    /// Configuration of the NameServer.
    pub(super) fn name_server_config(&self) -> PathBuf {
        self.dir.join("namesrv.conf")
    }

    /// Configuration of a member.
    pub(super) fn broker_config(&self, member: u16) -> PathBuf {
        self.dir.join(format!("broker-n{member}.conf"))
    }

    /// Removes everything of an earlier run.
    pub(super) fn clear(&self) -> Result<(), QuickstartError> {
        match fs::remove_dir_all(&self.dir) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(QuickstartError::File { path: self.dir.clone(), source })
            }
            _ => Ok(()),
        }
    }

    /// Writes the configuration files.
    pub(super) fn write(&self) -> Result<(), QuickstartError> {
        let file = |path: &Path, source| QuickstartError::File { path: path.to_owned(), source };
        fs::create_dir_all(&self.dir).map_err(|source| file(&self.dir, source))?;
        let absolute = self.dir.canonicalize().map_err(|source| file(&self.dir, source))?;
        let name_server = format!("listenPort={}\n", self.base_port);
        let path = self.name_server_config();
        write_file(&path, &name_server).map_err(|source| file(&path, source))?;
        for member in 0..MEMBERS {
            let path = self.broker_config(member);
            let text = self.broker_text(member, &absolute);
            write_file(&path, &text).map_err(|source| file(&path, source))?;
        }
        Ok(())
    }

    fn broker_text(&self, member: u16, dir: &Path) -> String {
        let mut peers = String::new();
        for peer in 0..MEMBERS {
            let separator = if peer == 0 { "" } else { ";" };
            let port = self.raft_port(peer);
            write!(peers, "{separator}n{peer}-127.0.0.1:{port}").expect("text can be appended");
        }
        let store = dir.join(format!("store-n{member}"));
        format!(
            "brokerClusterName={CLUSTER}\n\
             brokerName={BROKER_NAME}\n\
             brokerIP1=127.0.0.1\n\
             listenPort={}\n\
             namesrvAddr={}\n\
             storePathRootDir={}\n\
             mappedFileSizeCommitLog=134217728\n\
             enableDLegerCommitLog=true\n\
             dLegerGroup={BROKER_NAME}\n\
             dLegerPeers={peers}\n\
             dLegerSelfId=n{member}\n",
            self.client_port(member),
            self.name_server(),
            store.display(),
        )
    }
}

fn write_file(path: &Path, text: &str) -> io::Result<()> {
    fs::File::create(path)?.write_all(text.as_bytes())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn ports_do_not_collide() {
        let layout = Layout::new(PathBuf::from("d"), 9876).unwrap();
        let ports = layout.ports();
        let distinct: std::collections::BTreeSet<u16> =
            ports.iter().map(|(port, _)| *port).collect();
        assert_eq!(distinct.len(), ports.len());
        assert!(Layout::new(PathBuf::from("d"), 65_530).is_err());
        assert!(Layout::new(PathBuf::from("d"), 0).is_err());
    }

    #[test]
    fn every_member_has_the_same_peers_and_a_store_of_its_own() {
        let layout = Layout::new(PathBuf::from("d"), 9876).unwrap();
        let line = |member, key: &str| {
            let text = layout.broker_text(member, Path::new("d"));
            text.lines().find(|line| line.starts_with(key)).unwrap().to_owned()
        };
        assert_eq!(line(0, "dLegerPeers"), line(2, "dLegerPeers"));
        assert_ne!(line(0, "storePathRootDir"), line(1, "storePathRootDir"));
        assert_eq!(line(1, "dLegerSelfId"), "dLegerSelfId=n1");
    }

    #[test]
    fn written_files_are_cleared_and_clearing_twice_is_fine() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path().join("demo"), 9876).unwrap();
        layout.write().unwrap();
        assert!(layout.broker_config(2).exists() && layout.name_server_config().exists());
        layout.clear().unwrap();
        assert!(!layout.dir.exists());
        layout.clear().unwrap();
    }
}
