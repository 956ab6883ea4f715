//! A leader on a disk that is slower than its followers'.

use std::future::Future;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use raft_log::fault::{SimDisk, SimFile, SimLock};
use raft_log::{Disk, Lane};
use tokio::time::{Duration, Instant, sleep, timeout};

use super::append_many;
use super::cluster::{Cluster, Settings};
use crate::replication::Role;
use crate::replication::machine::Refusal;

/// A disk whose syncs take longer by what a test says.
#[derive(Clone, Default)]
struct LateDisk {
    disk: SimDisk,
    late_ms: Arc<AtomicU64>,
}

impl LateDisk {
    fn delay(&self, late_ms: u64) {
        self.late_ms.store(late_ms, Ordering::Relaxed);
    }
}

impl Disk for LateDisk {
    type File = SimFile;
    type Lock = SimLock;

    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.disk.create_dir_all(dir)
    }

    fn create(&self, path: &Path) -> io::Result<SimFile> {
        self.disk.create(path)
    }

    fn open(&self, path: &Path) -> io::Result<SimFile> {
        self.disk.open(path)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.disk.exists(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.disk.list(dir)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.disk.remove(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.disk.sync_dir(dir)
    }

    fn lock(&self, path: &Path) -> io::Result<SimLock> {
        self.disk.lock(path)
    }

    fn offload<T: Send + 'static>(
        &self,
        lane: Lane,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> impl Future<Output = io::Result<T>> + Send + 'static {
        let late_ms = match lane {
            Lane::Sync => self.late_ms.load(Ordering::Relaxed),
            Lane::Prepare => 0,
        };
        let done = self.disk.offload(lane, work);
        async move {
            if late_ms > 0 {
                sleep(Duration::from_millis(late_ms)).await;
            }
            done.await
        }
    }
}

/// Proposes once, to a member that may or may not lead, and waits for the outcome.
async fn load(cluster: &Cluster<LateDisk>, leader: u64, value: &mut u64) {
    let (proposal, answer) = super::app::Append::new(*value, 100);
    *value += 1;
    match cluster.handle(leader).propose(proposal) {
        // Whether it is stored or not is not what is asked here.
        Ok(()) => drop(answer.await),
        Err((_, Refusal::NotLeader { .. } | Refusal::Overloaded)) => tokio::task::yield_now().await,
        Err((_, refusal)) => panic!("refused: {refusal}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_on_a_slow_disk_lets_another_lead_and_does_not_ask_it_back() {
    // A handover has as long as may be, and followers a quarter of what a sync takes.
    let settings =
        Settings { election_timeout_ms: 20_000, slow_sync_ms: 100, ..Settings::default() };
    let mut cluster = Cluster::prepare_on(settings, |_| LateDisk::default()).await;
    cluster.start_all().await;
    let slow = cluster.leader().await;
    assert_eq!(append_many(&cluster, slow, 0, 100, 100).await.len(), 100);
    cluster.disk(slow).delay(1_500);
    let (began, mut value) = (Instant::now(), 100);
    while cluster.handle(slow).status().borrow().serving {
        assert!(began.elapsed() < Duration::from_secs(60), "it goes on leading");
        load(&cluster, slow, &mut value).await;
    }
    println!("leadership given away after {:?}", began.elapsed());
    let next = cluster.leader_except(slow).await;
    let reluctant = |status: &super::super::ReplicaStatus| {
        status.peers.iter().any(|peer| peer.id == slow && !peer.may_lead)
    };
    cluster.wait_status(next, "to hear that it would rather not lead", reluctant).await;
    // Its turn to stop: who had the slow disk is passed over for the third.
    let third = (1..=3).find(|&id| id != slow && id != next).unwrap();
    assert_eq!(cluster.handle(next).transfer_leader(None).await, Ok(third));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_all_disks_are_slow_nobody_gives_way() {
    let settings = Settings { slow_sync_ms: 100, ..Settings::default() };
    let mut cluster = Cluster::prepare_on(settings, |_| LateDisk::default()).await;
    cluster.start_all().await;
    let leader = cluster.leader().await;
    assert_eq!(append_many(&cluster, leader, 0, 100, 100).await.len(), 100);
    let term = cluster.handle(leader).status().borrow().term;
    (1..=3).for_each(|id| cluster.disk(id).delay(200));
    let (began, mut value) = (Instant::now(), 100);
    while began.elapsed() < Duration::from_secs(4) {
        load(&cluster, leader, &mut value).await;
    }
    let status = cluster.handle(leader).status().borrow().clone();
    assert!(status.serving && status.term == term, "{status:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_stops_stays_until_a_slow_successor_leads() {
    let settings = Settings { election_timeout_ms: 20_000, ..Settings::default() };
    let mut cluster = Cluster::prepare_on(settings, |_| LateDisk::default()).await;
    cluster.start_all().await;
    let leader = cluster.leader().await;
    assert_eq!(append_many(&cluster, leader, 0, 100, 100).await.len(), 100);
    cluster.converge(leader).await;
    let others: Vec<u64> = (1..=3).filter(|&id| id != leader).collect();
    // Who is to lead has to store its vote first, and needs the old leader's: the third one's takes longer.
    others.iter().for_each(|&id| cluster.disk(id).delay(3_000));
    cluster.stop(leader).await;
    let leads = others.iter().map(|&id| {
        let mut status = cluster.handle(id).status();
        Box::pin(async move { status.wait_for(|status| status.role == Role::Leader).await.is_ok() })
    });
    let leads = timeout(Duration::from_secs(1), futures_util::future::select_all(leads)).await;
    assert!(leads.is_ok_and(|(leads, ..)| leads), "it went before anybody led");
}
