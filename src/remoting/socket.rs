//! Opens sockets the way a broker needs them.
//!
//! Invariant: every connection has Nagle's algorithm off; addresses of listening sockets can be
//! taken again at once after a restart.

use std::io;
use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpStream};

/// Listens on an address; port zero takes a free one.
#[cfg(not(madsim))]
pub(super) async fn listen(addr: SocketAddr) -> io::Result<TcpListener> {
    use tokio::net::TcpSocket;
    let socket = if addr.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(addr)?;
    socket.listen(super::limits::LISTEN_BACKLOG)
}

/// Listens on an address; the simulated network has no options to set.
#[cfg(madsim)]
pub(super) async fn listen(addr: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::bind(addr).await
}

/// Connects to `host:port`.
pub(super) async fn connect(addr: &str) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(addr).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Closes with a reset instead of an orderly end: clients that wait for answers fail at once only
/// then.
#[cfg(not(madsim))]
pub(super) fn reset(stream: TcpStream) {
    let zero = Some(std::time::Duration::ZERO);
    if let Err(error) = socket2::SockRef::from(&stream).set_linger(zero) {
        tracing::debug!(%error, "cannot close a connection with a reset");
    }
}

/// Closes; the simulated network decides how.
#[cfg(madsim)]
pub(super) fn reset(stream: TcpStream) {
    drop(stream);
}
