//! Ports on which a test's servers listen, its own for as long as it wants them.
//!
//! Invariant: whoever asks the system for any free port is not given one of these, whether a server
//! listens on it at the moment or not: a port that is given up, even between two processes of one
//! server, is soon somebody else's.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use tokio::net::TcpSocket;

/// Bound and not listened on. A server that reuses addresses, as ours do, may still listen there.
pub struct HeldPorts(Vec<TcpSocket>);

impl HeldPorts {
    /// So many of those that are free.
    pub fn new(count: usize) -> HeldPorts {
        HeldPorts((0..count).map(|_| hold(0).unwrap()).collect())
    }

    /// One of those that are free, and those so much higher.
    #[allow(dead_code, reason = "most tests choose no ports")]
    pub fn with_steps(steps: &[u16]) -> HeldPorts {
        loop {
            let base = hold(0).unwrap();
            let number = base.local_addr().unwrap().port();
            let above = steps.iter().map(|step| hold(number.checked_add(*step)?).ok());
            if let Some(above) = above.collect::<Option<Vec<_>>>() {
                return HeldPorts([base].into_iter().chain(above).collect());
            }
        }
    }

    pub fn numbers(&self) -> Vec<u16> {
        self.0.iter().map(|socket| socket.local_addr().unwrap().port()).collect()
    }
}

/// Nobody may have it before, and only who asks for this very port may share it after.
fn hold(port: u16) -> io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))?;
    socket.set_reuseaddr(true)?;
    Ok(socket)
}
