//! What a broker does of its own accord, beside answering requests.
//!
//! Invariant: a change of role is acted on here and nowhere else: clients that wait are released,
//! what is gathered is given up, and the name servers are told.

use std::sync::Arc;

use tokio::time::{Duration, Instant, interval, sleep};

use super::core::Core;
use super::group::{Arrival, EffectsSink};
use super::long_polling::LongPolling;
use super::namesrv_client::Registrar;
use super::pull::Pull;
use super::schedule;
use crate::metrics::history::SAMPLE_PERIOD;
use crate::replication::machine::Refusal;
use crate::state::{Command, CommittedOffset, DefaultTopics, default_groups, default_topics};

/// How far a parked pull may outstay its deadline.
const SWEEP_PERIOD: Duration = Duration::from_millis(50);
/// Pause before the default topics are proposed again.
const BOOTSTRAP_RETRY: Duration = Duration::from_millis(100);

/// Wakes who waits for what entries bring about.
#[derive(Clone)]
pub struct Effects {
    /// Parked pulls.
    pub long_polling: Arc<LongPolling<Pull>>,
    /// Registration of topics.
    pub registrar: Arc<Registrar>,
}

impl EffectsSink for Effects {
    fn messages_arrived(&self, arrivals: &[Arrival]) {
        for arrival in arrivals {
            self.long_polling.arrived(&arrival.topic, arrival.queue_id, arrival.max_offset);
        }
    }

    fn topics_changed(&self, _topics: &[Arc<str>]) {
        self.registrar.changed();
    }

    fn state_replaced(&self) {
        self.registrar.changed();
        self.long_polling.release_all();
    }
}

/// Answers pulls whose time is over, expires clients, samples totals.
pub async fn sweep(core: Arc<Core>) {
    let mut sweeps = interval(SWEEP_PERIOD);
    let mut sampled_at = Instant::now();
    loop {
        sweeps.tick().await;
        let now = Instant::now();
        core.long_polling.expire(now);
        if now.duration_since(sampled_at) >= SAMPLE_PERIOD {
            sampled_at = now;
            core.clients.expire(now);
            sample(&core);
        }
    }
}

/// Takes the samples from which rates come, and forgets counters of what no longer exists.
fn sample(core: &Core) {
    let (traffic, now_ms) = (core.view.traffic(), crate::clock::now_ms());
    core.stats.sample();
    traffic.sample(now_ms);
    let totals = (traffic.put.totals().messages, traffic.get.totals().messages);
    core.stats.observe_day(now_ms, totals);
    traffic.retain_groups(|counted| {
        core.view.group(&counted.group).is_some() && core.view.topic(&counted.topic).is_some()
    });
}

/// Proposes gathered offset commits.
pub async fn flush_commits(core: Arc<Core>) {
    loop {
        let flush = core.commits.next_flush().await;
        let offsets = flush.commits.iter().map(|(key, offset)| CommittedOffset {
            group: key.group.clone(),
            topic: key.topic.clone(),
            queue_id: key.queue_id,
            offset: *offset,
        });
        let outcome = core.propose(Command::commit_offsets(offsets.collect())).await;
        if let Err(refusal) = &outcome {
            tracing::debug!(%refusal, commits = flush.commits.len(), "offset commits were lost");
        }
        core.commits.done(flush, &outcome);
    }
}

/// Follows this member's role.
pub async fn follow_role(core: Arc<Core>) {
    let mut status = core.status.clone();
    let mut before = (false, None, raft_log::Term(0));
    loop {
        let now = {
            let status = status.borrow_and_update();
            (status.serving, status.leader, status.term)
        };
        if now != before {
            let (serving, leader, term) = now;
            let (served, led_by, _) = before;
            if serving != served || leader != led_by {
                tracing::info!(
                    broker = core.config.broker_name, serving, ?leader, %term, "role changed"
                );
                core.registrar.changed();
            }
            if served && !serving {
                core.commits.abandon(&Refusal::NotLeader { leader });
                core.reset_news.clear();
                core.long_polling.release_all();
            }
            if serving && (!served || term != before.2) {
                tokio::spawn(bootstrap(core.clone(), term));
                tokio::spawn(schedule::deliver(core.clone(), term));
            }
            before = now;
        }
        if status.changed().await.is_err() {
            return;
        }
    }
}

/// Creates the topics and groups that every broker group has, as long as this member leads.
async fn bootstrap(core: Arc<Core>, term: raft_log::Term) {
    loop {
        let topics = default_topics(&DefaultTopics {
            cluster_name: &core.config.broker_cluster_name,
            broker_name: &core.config.broker_name,
            auto_create_topic_enable: core.live.auto_create_topic_enable(),
            default_topic_queue_nums: core.config.default_topic_queue_nums,
        });
        let missing = topics.iter().filter(|topic| core.view.topic(&topic.topic_name).is_none());
        let mut commands: Vec<Command> = missing.map(Command::create_topic_if_absent).collect();
        let groups = default_groups();
        let missing = groups.iter().filter(|group| core.view.group(&group.group_name).is_none());
        commands.extend(missing.map(Command::create_group_if_absent));
        // Proposed together, so that they share one entry.
        let proposed: Vec<_> = commands.into_iter().map(|command| core.propose(command)).collect();
        let outcomes = futures_util::future::join_all(proposed).await;
        let failed = outcomes.into_iter().any(|outcome| outcome.is_err());
        let leads_on = {
            let status = core.status.borrow();
            status.serving && status.term == term
        };
        if !failed || !leads_on {
            return;
        }
        sleep(BOOTSTRAP_RETRY).await;
    }
}
