//! Stories by name, told as a timeline.
//!
//! Invariant: a scenario only makes things go wrong and tells of it; what must hold is checked in every
//! run alike.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use raftmq::replication::{ReplicaStatus, Role};
use tokio::time::{Instant, sleep};

use crate::dice::Dice;
use crate::faults::{self, Kind, Rot};
use crate::machine::Backup;
use crate::parameters::Parameters;
use crate::run::Stage;

/// A story has one group.
const GROUP: usize = 0;

type Playing = Pin<Box<dyn Future<Output = ()>>>;

/// A story.
pub struct Scenario {
    /// As it is asked for.
    pub name: &'static str,
    /// What a user would ask.
    pub question: &'static str,
    /// What it begins with, by the seed.
    pub parameters: fn(u64) -> Parameters,
    /// Plays it.
    pub play: fn(Stage) -> Playing,
}

/// All stories.
pub const ALL: &[Scenario] = &[
    Scenario {
        name: "calm-minute",
        question: "Nothing goes wrong for a minute, at two hundred operations a second: does the leader stay?",
        parameters: Parameters::unhurried,
        play: |stage| Box::pin(calm_minute(stage)),
    },
    Scenario {
        name: "leader-killed",
        question: "The leader's process is killed: how long until sends are acknowledged again, and \
                   is anything lost?",
        parameters: Parameters::calm,
        play: |stage| Box::pin(leader_killed(stage)),
    },
    Scenario {
        name: "minority-partition",
        question: "The leader is cut off from everybody for ten seconds: who serves, and what becomes \
                   of the old leader?",
        parameters: Parameters::calm,
        play: |stage| Box::pin(minority_partition(stage)),
    },
    Scenario {
        name: "all-power-loss",
        question: "All machines lose power at once, with whatever their disks had not synced: what is \
                   left?",
        parameters: Parameters::calm,
        play: |stage| Box::pin(all_power_loss(stage)),
    },
    Scenario {
        name: "rolling-restart",
        question: "Members are stopped and started one after the other: does a client notice?",
        parameters: Parameters::calm,
        play: |stage| Box::pin(rolling_restart(stage)),
    },
    Scenario {
        name: "name-server-lost",
        question: "The name server is gone for twenty seconds and comes back empty: do clients go on, \
                   and what if the leader dies meanwhile?",
        parameters: Parameters::calm,
        play: |stage| Box::pin(name_server_lost(stage)),
    },
    Scenario {
        name: "slow-disk",
        question: "The leader's disk takes up to half a second for each sync: what do clients get?",
        parameters: Parameters::calm,
        play: |stage| Box::pin(slow_disk(stage)),
    },
    Scenario {
        name: "lost-disk",
        question: "A member's disk is lost, later another's together with the leader's process: who may \
                   vote, and is anything lost?",
        parameters: Parameters::calm,
        play: |stage| Box::pin(lost_disk(stage)),
    },
    Scenario {
        name: "older-copy",
        question: "A member's disk is put back from a copy that is some time old, later the leader's while \
                   another member is away: who notices, and is anything lost?",
        parameters: Parameters::calm,
        play: |stage| Box::pin(older_copy(stage)),
    },
    Scenario {
        name: "bit-rot",
        question: "Bits flip in the members' logs, on disks at rest and in use: is damage ever taken \
                   for data, and who mends it?",
        parameters: Parameters::calm,
        play: |stage| Box::pin(bit_rot(stage)),
    },
];

/// The story of that name.
pub fn named(name: &str) -> Option<&'static Scenario> {
    ALL.iter().find(|scenario| scenario.name == name)
}

impl Stage {
    fn tell(&self, text: &str) {
        let acknowledged = self.history.acknowledged();
        self.cluster.trace.tell(format_args!("{text} ({acknowledged} acknowledged so far)"));
    }

    async fn pass(&self, seconds: u64) {
        sleep(Duration::from_secs(seconds)).await;
    }

    /// Waits for a leader, for as long as the cluster may take; the checks complain when none comes.
    async fn leader(&self) -> usize {
        loop {
            if let Some(leader) = self.cluster.leader(GROUP) {
                return leader;
            }
            sleep(Duration::from_millis(5)).await;
        }
    }

    fn lose_disk(&self, number: usize) {
        if self.cluster.lose_disk(number) {
            self.counts.struck(Kind::LostDisk);
        }
    }

    /// A copy of a member's disk, made while all is well, when the others have it on theirs that the member
    /// has gone on since.
    async fn outdated_copy(&self, number: usize) -> Option<Backup> {
        let began = Instant::now();
        let copy = || self.cluster.back_up(number);
        let (backup, reach) = self.until(began, copy).await?;
        let heard = || self.cluster.is_known_to_have_more(number, &reach).then_some(());
        self.until(began, heard).await?;
        let waited_ms = began.elapsed().as_millis();
        self.tell(&format!(
            "the copy of n{number}'s disk is {waited_ms} ms old, and the others have noted that n{number} \
             holds more by now"
        ));
        Some(backup)
    }

    /// Looks now and then until something is found, for a minute since `began`.
    async fn until<T>(&self, began: Instant, mut find: impl FnMut() -> Option<T>) -> Option<T> {
        while began.elapsed() < Duration::from_secs(60) {
            if let Some(found) = find() {
                return Some(found);
            }
            sleep(Duration::from_millis(100)).await;
        }
        None
    }

    fn put_back(&self, number: usize, backup: &Backup) {
        self.counts.struck(Kind::OlderCopy);
        self.cluster.restore(number, backup);
    }

    /// Waits until a member that lost its disk takes part again, and tells of the steps.
    async fn whole_again(&self, number: usize) {
        let (member, began) = (&self.cluster.members[number], Instant::now());
        let mut told = false;
        while !member.machine.remembers_all() && began.elapsed() < Duration::from_secs(60) {
            let recovering = |status: &ReplicaStatus| status.role == Role::Recovering;
            if !told && member.status(GROUP).as_ref().is_some_and(recovering) {
                told = true;
                self.tell(&format!("n{number} knows that it has forgotten, and asks"));
            }
            sleep(Duration::from_millis(1)).await;
        }
        let waited_ms = began.elapsed().as_millis();
        self.tell(&format!("n{number} has everything and may vote again, {waited_ms} ms later"));
    }

    /// Waits until a send that is called from now on is acknowledged, and tells how long it took.
    async fn acknowledgement(&self) {
        let (called, began) = (self.cluster.trace.elapsed(), Instant::now());
        while self.history.last_acknowledged_call() < Some(called)
            && began.elapsed() < Duration::from_secs(60)
        {
            sleep(Duration::from_millis(1)).await;
        }
        let waited_ms = began.elapsed().as_millis();
        self.cluster.trace.tell(format_args!("a new send is acknowledged {waited_ms} ms later"));
    }
}

impl Stage {
    /// A member that has forgotten comes back five seconds before the one that may have the newest.
    async fn back_without_the_newest(&self, forgot: usize, newest: usize) {
        self.cluster.start_again(forgot);
        self.pass(5).await;
        self.tell(&match self.cluster.leader(GROUP) {
            None => format!("nobody leads: n{newest} may be the only one that has the newest"),
            Some(other) => format!("n{other} leads"),
        });
        self.cluster.start_again(newest);
        self.acknowledgement().await;
        self.whole_again(forgot).await;
        self.pass(3).await;
        self.tell("and sends go on");
    }

    /// Bits flip on a member's disk, if there is a full segment to hit.
    fn rot(&self, number: usize, dice: &mut Dice, index_too: bool) -> Option<Rot> {
        let rot = faults::rot(&self.cluster, number, GROUP, dice, index_too)?;
        self.counts.struck(Kind::BitRot);
        Some(rot)
    }

    /// Waits until the member serves its part again.
    async fn joined(&self, number: usize) {
        let began = Instant::now();
        while self.cluster.members[number].live(GROUP).is_none()
            && began.elapsed() < Duration::from_secs(60)
        {
            sleep(Duration::from_millis(1)).await;
        }
        let waited_ms = began.elapsed().as_millis();
        self.tell(&format!("n{number} takes part again after {waited_ms} ms, its log mended"));
    }
}

async fn calm_minute(stage: Stage) {
    let leader = stage.leader().await;
    stage.tell(&format!("n{leader} leads"));
    stage.pass(60).await;
    let leader = stage.leader().await;
    stage.tell(&format!("a minute later n{leader} leads"));
}

async fn leader_killed(stage: Stage) {
    stage.pass(3).await;
    let leader = stage.leader().await;
    stage.tell("all is well");
    stage.counts.struck(Kind::KillLeader);
    stage.cluster.kill(leader);
    stage.acknowledgement().await;
    stage.pass(5).await;
    stage.cluster.start_again(leader);
    stage.pass(5).await;
    stage.tell("the old leader is back as a follower");
}

async fn minority_partition(stage: Stage) {
    stage.pass(3).await;
    let leader = stage.leader().await;
    stage.counts.struck(Kind::IsolateLeader);
    stage.tell(&format!("n{leader} is cut off from everybody"));
    stage.cluster.network.isolate(stage.cluster.members[leader].node);
    stage.acknowledgement().await;
    stage.pass(10).await;
    let status = stage.cluster.members[leader].status(GROUP);
    let serving = status.is_some_and(|status| status.serving);
    stage.tell(if serving {
        "the old leader still serves"
    } else {
        "the old leader serves no more"
    });
    stage.cluster.network.heal();
    stage.tell("the network is whole again");
    let began = Instant::now();
    let follows = || {
        stage.cluster.members[leader]
            .status(GROUP)
            .is_some_and(|status| status.leader.is_some_and(|now| now != leader as u64 + 1))
    };
    while !follows() && began.elapsed() < Duration::from_secs(30) {
        sleep(Duration::from_millis(5)).await;
    }
    let waited_ms = began.elapsed().as_millis();
    stage.tell(&format!("the old leader follows the new one {waited_ms} ms later"));
    stage.pass(5).await;
}

async fn all_power_loss(stage: Stage) {
    stage.pass(3).await;
    for round in 1..=3 {
        stage.tell(&format!("power goes, time {round}"));
        stage.counts.struck(Kind::PowerAll);
        let members = stage.cluster.members.len();
        (0..members).for_each(|number| stage.cluster.lose_power(number));
        stage.pass(2).await;
        (0..members).for_each(|number| stage.cluster.start_again(number));
        stage.acknowledgement().await;
        stage.pass(3).await;
    }
}

async fn rolling_restart(stage: Stage) {
    stage.pass(3).await;
    stage.tell("all is well");
    for number in 0..stage.cluster.members.len() {
        stage.leader().await;
        stage.counts.struck(Kind::Stop);
        stage.cluster.stop(number).await;
        stage.acknowledgement().await;
        stage.pass(1).await;
        stage.cluster.start_again(number);
        stage.pass(4).await;
        stage.tell(&format!("n{number} is done"));
    }
}

async fn name_server_lost(stage: Stage) {
    stage.pass(3).await;
    stage.tell("all is well");
    stage.counts.struck(Kind::NameServer);
    stage.cluster.kill_name_server();
    stage.pass(10).await;
    stage.tell("clients go on without it");
    let leader = stage.leader().await;
    stage.counts.struck(Kind::KillLeader);
    stage.cluster.kill(leader);
    stage.pass(10).await;
    stage.tell("without it nobody tells clients of the new leader");
    stage.cluster.start_name_server_again();
    stage.acknowledgement().await;
    stage.tell("brokers have told it who leads, and clients have asked it");
    stage.cluster.start_again(leader);
    stage.pass(5).await;
    stage.tell("the old leader is back as a follower");
}

async fn slow_disk(stage: Stage) {
    stage.pass(3).await;
    let leader = stage.leader().await;
    stage.counts.struck(Kind::SlowDisk);
    stage.tell(&format!("n{leader}'s disk becomes slow"));
    let pace = &stage.cluster.members[leader].machine.pace;
    let began = Instant::now();
    pace.set(|pace| pace.most_us = 500_000);
    while stage.cluster.leader(GROUP) == Some(leader) && began.elapsed() < Duration::from_secs(10) {
        sleep(Duration::from_millis(5)).await;
    }
    let waited_ms = began.elapsed().as_millis();
    stage.tell(&match stage.cluster.leader(GROUP) {
        Some(same) if same == leader => format!("n{leader} still leads"),
        _ => format!("n{leader} gives leadership away after {waited_ms} ms"),
    });
    stage.acknowledgement().await;
    stage.pass(10).await;
    stage.tell("ten seconds with the slow disk under a follower");
    pace.set(|pace| *pace = stage.parameters.disk.clone());
    stage.tell("the disk is as before");
    stage.pass(3).await;
}

async fn lost_disk(stage: Stage) {
    stage.pass(3).await;
    let leader = stage.leader().await;
    let members = stage.cluster.members.len();
    let (first, second) = ((leader + 1) % members, (leader + 2) % members);
    stage.tell("all is well");
    stage.lose_disk(first);
    stage.pass(2).await;
    stage.cluster.start_again(first);
    stage.whole_again(first).await;
    stage.pass(3).await;

    stage.tell(&format!(
        "now n{leader}, which leads, is killed just after n{second}'s disk is lost"
    ));
    stage.lose_disk(second);
    stage.cluster.kill(leader);
    stage.back_without_the_newest(second, leader).await;
}

async fn older_copy(stage: Stage) {
    stage.pass(3).await;
    let leader = stage.leader().await;
    let members = stage.cluster.members.len();
    let first = (leader + 1) % members;
    stage.tell("all is well");
    let Some(backup) = stage.outdated_copy(first).await else { return };
    stage.put_back(first, &backup);
    stage.cluster.start_again(first);
    stage.whole_again(first).await;
    stage.acknowledgement().await;
    stage.pass(3).await;

    let leader = stage.leader().await;
    let away = (leader + 1) % members;
    let Some(backup) = stage.outdated_copy(leader).await else { return };
    stage.tell(&format!(
        "now n{leader}, which leads, goes back to its copy just after n{away} is killed"
    ));
    stage.cluster.kill(away);
    stage.put_back(leader, &backup);
    stage.back_without_the_newest(leader, away).await;
}

async fn bit_rot(stage: Stage) {
    let cluster = &stage.cluster;
    let mut dice = Dice::of(stage.parameters.seed, "bits of the story");
    stage.pass(20).await;
    let leader = stage.leader().await;
    let follower = (leader + 1) % cluster.members.len();
    cluster.kill(follower);
    stage.rot(follower, &mut dice, true);
    cluster.start_again(follower);
    stage.joined(follower).await;
    stage.acknowledgement().await;
    stage.pass(5).await;

    stage.tell("all machines lose power, and on each of them something else is damaged");
    let members = cluster.members.len();
    (0..members).for_each(|number| cluster.lose_power(number));
    (0..members).for_each(|number| drop(stage.rot(number, &mut dice, true)));
    (0..members).for_each(|number| cluster.start_again(number));
    for number in 0..members {
        stage.joined(number).await;
    }
    stage.acknowledgement().await;
    stage.pass(5).await;

    let leader = stage.leader().await;
    stage.tell(&format!("n{leader} leads, and a bit flips under it where nobody reads"));
    let disk = &cluster.members[leader].machine.disk;
    let (rot, began) = (stage.rot(leader, &mut dice, false), Instant::now());
    if let Some(rot) = rot {
        while !rot.is_mended(disk) && began.elapsed() < Duration::from_secs(60) {
            sleep(Duration::from_millis(5)).await;
        }
        let waited_ms = began.elapsed().as_millis();
        stage.tell(&format!("found and mended {waited_ms} ms later"));
    }
    stage.pass(5).await;
}
