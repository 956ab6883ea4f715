//! What a configuration takes from the machine it is read on.
//!
//! Invariant: the only place in `config` that looks at the process and the machine, so that tests
//! and the simulation read the same text everywhere the same way.

use std::net::UdpSocket;
use std::path::PathBuf;

/// The machine's part in the defaults.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Environment {
    /// The default of `brokerName`.
    pub host_name: String,
    /// The default of `brokerIP1`.
    pub ip: String,
    /// The directory under which stores lie by default.
    pub home: PathBuf,
    /// The default of `namesrvAddr`.
    pub namesrv_addr: String,
}

impl Environment {
    /// Of this process.
    pub fn of_process() -> Environment {
        let home = std::env::var_os("HOME").map_or_else(|| PathBuf::from("."), PathBuf::from);
        Environment {
            host_name: host_name(),
            ip: outward_ip().unwrap_or_else(|| "127.0.0.1".to_owned()),
            home,
            namesrv_addr: std::env::var("NAMESRV_ADDR").unwrap_or_default(),
        }
    }

    /// One that is the same everywhere.
    pub fn fixed() -> Environment {
        Environment {
            host_name: "localhost".to_owned(),
            ip: "127.0.0.1".to_owned(),
            home: PathBuf::from("."),
            namesrv_addr: String::new(),
        }
    }
}

fn host_name() -> String {
    let from_kernel = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let name = from_kernel.or_else(|| std::env::var("HOSTNAME").ok()).unwrap_or_default();
    let name = name.trim();
    if name.is_empty() { "localhost".to_owned() } else { name.to_owned() }
}

/// The address that packets to the outside leave from. Connecting a datagram socket sends nothing,
/// it only asks for the route.
fn outward_ip() -> Option<String> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    let ip = socket.local_addr().ok()?.ip();
    (!ip.is_unspecified()).then(|| ip.to_string())
}
