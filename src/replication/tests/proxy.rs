//! A TCP relay between two members that a test can cut and mend.

use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// One direction of dialling: from one member to another.
pub struct Link {
    pub address: SocketAddr,
    target: Arc<Mutex<Option<SocketAddr>>>,
    /// Counts cuts; odd while cut.
    cuts: watch::Sender<u64>,
}

impl Link {
    pub async fn new() -> Link {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let target: Arc<Mutex<Option<SocketAddr>>> = Arc::default();
        let (cuts, seen) = watch::channel(0);
        tokio::spawn(relay(listener, Arc::clone(&target), seen));
        Link { address, target, cuts }
    }

    /// Where connections go from now on.
    pub fn lead_to(&self, target: SocketAddr) {
        *self.target.lock() = Some(target);
    }

    /// Closes every connection and refuses new ones until mended.
    pub fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts |= 1);
    }

    pub fn mend(&self) {
        self.cuts.send_modify(|cuts| *cuts = (*cuts | 1) + 1);
    }
}

async fn relay(
    listener: TcpListener,
    target: Arc<Mutex<Option<SocketAddr>>>,
    cuts: watch::Receiver<u64>,
) {
    while let Ok((near, _)) = listener.accept().await {
        let cuts = cuts.clone();
        let target = *target.lock();
        tokio::spawn(async move {
            let Some(target) = target else { return };
            let _ = pass(near, target, cuts).await;
        });
    }
}

async fn pass(
    mut near: TcpStream,
    target: SocketAddr,
    mut cuts: watch::Receiver<u64>,
) -> std::io::Result<()> {
    let count = *cuts.borrow();
    if count % 2 == 1 {
        return Ok(());
    }
    let mut far = TcpStream::connect(target).await?;
    near.set_nodelay(true)?;
    far.set_nodelay(true)?;
    tokio::select! {
        biased;
        _ = cuts.wait_for(|now| *now != count) => {}
        _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
    }
    Ok(())
}
