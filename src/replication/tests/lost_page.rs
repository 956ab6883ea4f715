//! Members that meet a page which their disk cannot read any more, with many entries on it.

use raft_log::LogIndex;
use raft_log::fault::SimDisk;
use tokio::time::{Duration, timeout};

use super::append_many;
use super::cluster::{Cluster, Settings};
use crate::replication::mend_log;

const PAGE_BYTES: u64 = 4096;
const SEGMENT_BYTES: u64 = 64 << 10;

/// Far less than a pause for each entry of the page.
const AT_ONCE: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_with_many_entries_is_mended_at_once() {
    // An entry for each value.
    let settings =
        Settings { segment_bytes: SEGMENT_BYTES, entry_bytes_target: 1, ..Settings::default() };
    let mut cluster = Cluster::prepare_on(settings, |_| SimDisk::new()).await;
    cluster.start_all().await;
    let leader = cluster.leader().await;
    append_many(&cluster, leader, 0, 1500, 40).await;
    cluster.converge(leader).await;
    let lost = cluster.others(leader)[0];
    cluster.kill(lost).await;

    let (log, mut options) = cluster.mended_log(lost).await.unwrap();
    let reader = log.reader();
    assert!(reader.sealed_to() > LogIndex(300), "{}", reader.sealed_to());
    let page_of = |index: &u64| reader.position_of(LogIndex(*index)).unwrap().0 / PAGE_BYTES;
    let page = page_of(&200);
    let on_it: Vec<u64> = (1..=300).filter(|index| page_of(index) == page).collect();
    assert!(on_it.len() > 20, "{on_it:?}");
    let path = cluster.log_dir(lost).join(format!("{:020}", 0));
    let disk = cluster.disk(lost).clone();
    assert!(disk.lose_page(&path, page * PAGE_BYTES));
    // Raft will not ask for those before.
    let applied = LogIndex(on_it[on_it.len() - 5]);
    let mended = timeout(AT_ONCE, mend_log(&log, applied, &mut options)).await;
    mended.expect("what shares a page is known at once").unwrap();
    assert_eq!(reader.damaged(), []);
    assert!(!disk.has_lost_pages(&path));
}
