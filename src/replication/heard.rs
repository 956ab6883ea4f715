//! Keeps what the peers claimed of themselves in its file, away from everything that hurries.
//!
//! Invariant: a peer's new process and new term are in the file within moments, its newest entry after a
//! while; nobody waits for either.

use raft_log::{Disk, HeardFile, HeardOf};
use tokio::time::{Duration, Instant, sleep};

use super::peers::PeerTable;

/// How often it is looked for something to write.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long a newer entry of a peer's may wait.
const ENTRY_PATIENCE: Duration = Duration::from_secs(10);

/// What all peers claimed.
pub(super) fn all(table: &PeerTable) -> HeardOf {
    table.iter().map(|(&id, peer)| (id, peer.heard())).collect()
}

/// Writes what changed until it is dropped. `kept` is what the file holds.
pub(super) async fn keep<D: Disk>(table: PeerTable, file: HeardFile<D>, mut kept: HeardOf) {
    let mut written_at = Instant::now();
    loop {
        sleep(LOOK_EVERY).await;
        let now = all(&table);
        let much =
            now.iter().any(|(id, heard)| kept.get(id).is_none_or(|kept| heard.differs_much(kept)));
        if !much && (now == kept || written_at.elapsed() < ENTRY_PATIENCE) {
            continue;
        }
        // What failed for good is the log's failure too, and the member's owner ends.
        if file.store(&now).await.is_ok() {
            kept = now;
        }
        written_at = Instant::now();
    }
}
