//! One run: a cluster under load, first with faults, then without, then taken apart and judged.
//!
//! Invariant: a run ends. Either everything that was asked of the cluster came true within its bounds,
//! or there is a finding that says what did not.

mod dark;
mod inspect;
mod liveness;

use std::sync::Arc;
use std::time::Duration;

use madsim::runtime::{Handle, Runtime};
use madsim::task::NodeId;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::cluster::{self, Cluster, NAME_SERVER};
use crate::dice::Dice;
use crate::faults::{self, Counts};
use crate::history::{History, Outcome};
use crate::invariants::kept_topics::KeptTopics;
use crate::invariants::no_gap::NoGap;
use crate::invariants::one_holder::OneHolder;
use crate::invariants::quorum_durable::QuorumDurable;
use crate::invariants::{Finding, Findings};
use crate::machine::Flaw;
use crate::parameters::Parameters;
use crate::record::Record;
use crate::scenarios::Scenario;
use crate::sweep::CHOICE;
use crate::trace::{Telling, Trace};
use crate::workload::{
    Consume, Consumers, GivenUp, KeepBooks, Kind as ConsumerKind, Lock, Operate, Produce, SetBack,
    keep_books, lock_queues, operate, produce, set_back,
};
use inspect::Inspector;
pub use liveness::Took;

/// A run whose virtual time passes this hangs.
const VIRTUAL_LIMIT: Duration = Duration::from_secs(3_600);
/// How long a producer may take to notice that it shall stop.
const PRODUCERS_STOP: Duration = Duration::from_secs(30);
/// How often the run looks at its members.
const LOOK: Duration = Duration::from_millis(25);

/// What a run came to.
#[derive(Debug, Clone)]
pub struct Report {
    /// Hash of its trace.
    pub hash: u64,
    /// Events in it.
    pub events: u64,
    /// Virtual time it took.
    pub simulated: Duration,
    /// Faults, as `kind=count` with spaces between.
    pub faults: String,
    /// What the broker was made to choose, as `choice:point=count` with spaces between.
    pub choices: String,
    /// Sends that were acknowledged, failed, and are unknown.
    pub sends: [usize; 3],
    /// Deliveries.
    pub deliveries: usize,
    /// Terms in which somebody led.
    pub terms: usize,
    /// Indexes at which states were compared.
    pub indexes: usize,
    /// How long its recovery took.
    pub took: Took,
    /// What must not be.
    pub findings: Vec<Finding>,
    /// What there is to be read of it.
    pub record: Record,
}

/// What happens during the first phase.
pub enum Plan {
    /// Faults of the seed's choice.
    Swarm,
    /// A story.
    Scenario(&'static Scenario),
}

/// Plays a run on a thread of its own; a panic in it is its finding.
pub fn play(parameters: Parameters, plan: Plan, telling: Telling) -> Report {
    let seed = parameters.seed;
    let record = Record::default();
    let kept = record.clone();
    let body = move || {
        let mut runtime = Runtime::with_seed_and_config(seed, madsim::Config::default());
        runtime.set_time_limit(VIRTUAL_LIMIT);
        runtime.block_on(whole(Arc::new(parameters), plan, telling, kept))
    };
    #[allow(clippy::disallowed_methods, reason = "the runtime wants a thread of its own")]
    let outcome = std::thread::spawn(body).join();
    outcome.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Report {
            hash: 0,
            events: 0,
            simulated: Duration::ZERO,
            faults: String::new(),
            choices: String::new(),
            sends: [0; 3],
            deliveries: 0,
            terms: 0,
            indexes: 0,
            took: Took::default(),
            findings: vec![Finding {
                invariant: "no process panics",
                what: text.unwrap_or_else(|| "a panic without words".to_owned()),
            }],
            record,
        }
    })
}

/// Everything a run is made of.
struct World {
    parameters: Arc<Parameters>,
    trace: Trace,
    findings: Findings,
    history: History,
    /// By group.
    topics: Vec<KeptTopics>,
    no_gap: NoGap,
    counts: Counts,
    cluster: Arc<Cluster>,
    producers: Vec<NodeId>,
    consumers: Consumers,
    stop_producing: watch::Sender<bool>,
    producing: Vec<tokio::task::JoinHandle<()>>,
}

async fn whole(
    parameters: Arc<Parameters>,
    plan: Plan,
    telling: Telling,
    record: Record,
) -> Report {
    // A run of this thread before may have left some.
    drop(raftmq::observe::take_applied());
    drop(raftmq::observe::take_digests());
    drop(raftmq::observe::take_masteries());
    drop(raftmq::observe::take_held());
    raftmq::mischief::stop();
    raftmq::buggify::begin(parameters.apply_lag_ms, parameters.buggify);
    raftmq::mistake::make(parameters.flaw.and_then(Flaw::mistake));
    let trace = Trace::begin(telling, record.clone());
    let mut world = World::begin(parameters, trace);
    let inspector = Inspector::start(&world);
    liveness::first_topic(&world).await;
    world.start_clients();
    liveness::first_acknowledgement(&world).await;
    match plan {
        Plan::Swarm => world.safety_phase().await,
        Plan::Scenario(scenario) => (scenario.play)(world.stage()).await,
    }
    let mut took = Took::default();
    let mut left = None;
    if world.findings.is_empty() && world.parameters.ends_dark {
        left = world.all_power_goes(&inspector, &mut took).await;
    } else if world.findings.is_empty() {
        world.liveness_phase(&mut took).await;
    }
    if world.findings.is_empty() {
        inspector.until_mended(&world).await;
    }
    let simulated = world.trace.elapsed();
    inspector.look(&world);
    world.cluster.end();
    world.producers.iter().for_each(|node| Handle::current().kill(*node));
    world.consumers.end();
    // Whatever was killed is dropped before the disks are looked at.
    sleep(Duration::from_millis(1)).await;
    inspector.examine(&world, left.as_ref());
    Report { took, record, ..world.report(simulated, &inspector) }
}

/// What a scenario works with.
pub struct Stage {
    /// The cluster.
    pub cluster: Arc<Cluster>,
    /// The run's parameters.
    pub parameters: Arc<Parameters>,
    /// What clients were told so far.
    pub history: History,
    /// Faults to be counted.
    pub counts: Counts,
}

impl World {
    fn begin(parameters: Arc<Parameters>, trace: Trace) -> World {
        let client = |what: &str, subnet: usize, number: usize| {
            let ip = format!("10.0.{subnet}.{}", number + 1).parse().expect("an address");
            let name = format!("{what}-{number}");
            Handle::current().create_node().name(name).ip(ip).build().id()
        };
        let producers: Vec<NodeId> =
            (0..parameters.producers).map(|number| client("producer", 2, number)).collect();
        let kinds = [
            vec![ConsumerKind::Concurrent; parameters.consumers],
            vec![ConsumerKind::InOrder; parameters.in_order],
            vec![ConsumerKind::Polled; parameters.polled],
        ]
        .concat();
        let consuming: Vec<NodeId> =
            (0..kinds.len()).map(|number| client("consumer", 3, number)).collect();
        let findings = Findings::default();
        let topics = (0..parameters.groups).map(|_| KeptTopics::default()).collect();
        let clients = [producers.clone(), consuming.clone()].concat();
        let cluster =
            Cluster::start(Arc::clone(&parameters), &clients, trace.clone(), findings.clone());
        let history = History::default();
        let (no_gap, members) = (NoGap::default(), Arc::clone(&cluster));
        let given_up: GivenUp = Arc::new(move |group| members.given_up(group));
        let consumers = Consumers::new(&consuming, |number| Consume {
            number,
            kind: kinds[number],
            no_gap: no_gap.clone(),
            given_up: Arc::clone(&given_up),
            parameters: Arc::clone(&parameters),
            name_server: NAME_SERVER.to_owned(),
            history: history.clone(),
            trace: trace.clone(),
            findings: findings.clone(),
        });
        World {
            parameters,
            trace,
            findings,
            history,
            topics,
            no_gap,
            counts: Counts::default(),
            cluster,
            producers,
            consumers,
            stop_producing: watch::Sender::new(false),
            producing: Vec::new(),
        }
    }

    fn stage(&self) -> Stage {
        Stage {
            cluster: Arc::clone(&self.cluster),
            parameters: Arc::clone(&self.parameters),
            history: self.history.clone(),
            counts: self.counts.clone(),
        }
    }

    fn start_clients(&mut self) {
        let durable: Vec<QuorumDurable> =
            (0..self.parameters.groups).map(|group| self.quorum_durable(group)).collect();
        for (number, &node) in self.producers.iter().enumerate() {
            let with = Produce {
                number,
                parameters: Arc::clone(&self.parameters),
                name_server: NAME_SERVER.to_owned(),
                history: self.history.clone(),
                trace: self.trace.clone(),
                durable: durable.clone(),
                stop: self.stop_producing.subscribe(),
            };
            let node = Handle::current().get_node(node).expect("it was made");
            self.producing.push(node.spawn(produce(with)));
        }
        self.consumers.start_all();
        let operator = Handle::current().get_node(self.cluster.operator).expect("it was made");
        for group in 0..self.parameters.groups {
            let members = 0..self.parameters.members;
            let with = KeepBooks {
                parameters: Arc::clone(&self.parameters),
                group,
                members: members.map(|number| cluster::client_address(group, number)).collect(),
                trace: self.trace.clone(),
                findings: self.findings.clone(),
            };
            drop(operator.spawn(keep_books(with)));
            let with = Operate {
                group,
                parameters: Arc::clone(&self.parameters),
                trace: self.trace.clone(),
                topics: self.topics[group].clone(),
            };
            drop(operator.spawn(operate(with)));
            let set_back_at_work = self.parameters.in_order + self.parameters.polled > 0;
            if self.parameters.resets && set_back_at_work {
                let with = SetBack {
                    parameters: Arc::clone(&self.parameters),
                    group,
                    trace: self.trace.clone(),
                    history: self.history.clone(),
                    no_gap: self.no_gap.clone(),
                };
                drop(operator.spawn(set_back(with)));
            }
        }
        self.start_lockers(&operator);
    }

    fn start_lockers(&self, node: &madsim::runtime::NodeHandle) {
        let holders = OneHolder::default();
        for group in 0..self.parameters.groups {
            for number in 0..self.parameters.lockers {
                let with = Lock {
                    number,
                    group,
                    parameters: Arc::clone(&self.parameters),
                    trace: self.trace.clone(),
                    holders: holders.clone(),
                    findings: self.findings.clone(),
                };
                drop(node.spawn(lock_queues(with)));
            }
        }
    }

    fn quorum_durable(&self, group: usize) -> QuorumDurable {
        let members = self.cluster.members.iter();
        let logs = members.map(|member| (member.machine.clone(), member.log_dirs[group].clone()));
        QuorumDurable::new(
            logs.collect(),
            self.parameters.segment_bytes,
            self.parameters.body_bytes_max,
            self.findings.clone(),
        )
    }

    /// Faults strike for a while, whoever leads.
    async fn safety_phase(&self) {
        let stop = watch::Sender::new(false);
        let tormentors = 1 + self.parameters.seed % 2;
        let torments: Vec<_> = (0..tormentors)
            .map(|number| {
                tokio::spawn(faults::torment(
                    Arc::clone(&self.cluster),
                    self.consumers.clone(),
                    Arc::clone(&self.parameters),
                    self.counts.clone(),
                    Dice::of(self.parameters.seed, &format!("nemesis {number}")),
                    stop.subscribe(),
                ))
            })
            .collect();
        let end = self.trace.elapsed() + Duration::from_secs(self.parameters.safety_seconds);
        while self.trace.elapsed() < end && self.findings.is_empty() {
            sleep(LOOK).await;
        }
        stop.send_replace(true);
        for torment in torments {
            // Its panic has ended the run already.
            let _ = torment.await;
        }
    }

    /// Nothing goes wrong any more, and a majority is there; everybody else comes later.
    async fn liveness_phase(&mut self, took: &mut Took) {
        self.history.calm_down();
        faults::heal(&self.cluster, &self.consumers, &self.parameters);
        let members = self.cluster.members.len();
        let mut dice = Dice::of(self.parameters.seed, "liveness");
        let missing = dice.below(members.div_ceil(2));
        // One that lost its disk cannot do without the others until it has everything again.
        let all_remember = self.cluster.members.iter().all(|member| member.machine.remembers_all());
        let missing = if all_remember { missing } else { 0 };
        let first = dice.below(members);
        for at in 0..members {
            let number = (first + at) % members;
            if at < missing {
                self.cluster.kill(number);
            } else {
                self.cluster.start_again(number);
            }
        }
        if liveness::recovers(self, took).await.is_none() {
            return;
        }
        (0..members).for_each(|number| self.cluster.start_again(number));
        if self.stop_producers().await.is_some() {
            // What is missing is reported.
            let _ = liveness::settles(self, took).await;
        }
    }

    /// None when one does not come back, which is reported.
    async fn stop_producers(&mut self) -> Option<()> {
        self.stop_producing.send_replace(true);
        let producing = std::mem::take(&mut self.producing);
        let all = async {
            for producer in producing {
                // Its panic has ended the run already.
                let _ = producer.await;
            }
        };
        if timeout(PRODUCERS_STOP, all).await.is_err() {
            self.findings.report("calls return", "a producer does not come back".to_owned());
            return None;
        }
        Some(())
    }

    fn report(&self, simulated: Duration, inspector: &Inspector) -> Report {
        let sends = self.history.sends(simulated);
        let count = |matches: fn(&Outcome) -> bool| {
            sends.iter().filter(|send| matches(&send.outcome)).count()
        };
        let (terms, indexes) = inspector.looked_at();
        let chosen = raftmq::buggify::chosen().into_iter();
        let choices: Vec<String> =
            chosen.map(|(point, count)| format!("{CHOICE}{}={count}", point.name())).collect();
        let choices = choices.join(" ");
        Report {
            hash: self.trace.hash(),
            events: self.trace.events(),
            simulated,
            faults: self.counts.to_string(),
            choices,
            sends: [
                sends.iter().filter(|send| send.acknowledged().is_some()).count(),
                count(|outcome| *outcome == Outcome::Failed),
                count(|outcome| *outcome == Outcome::Unknown),
            ],
            deliveries: self.history.delivery_count(),
            terms,
            indexes,
            took: Took::default(),
            findings: self.findings.all(),
            record: Record::default(),
        }
    }
}
