//! Many seeds, each in a process of its own.
//!
//! Invariant: a seed that fails is reported with its whole output, the last line of which is the
//! command that plays it again; the sweep's exit code says whether there was one.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::ops::Range;
use std::process::{Command, ExitCode, Output};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::faults::Kind;

/// How a run's line of figures begins; what follows are `key=number` with spaces between. Of those that
/// begin with `slowest_` a sweep keeps the largest, of all others the sum.
pub const FIGURES: &str = "figures: ";
/// How often a line of progress is printed.
const PROGRESS: Duration = Duration::from_secs(10);
/// Figures that are no fault's count.
const OWN: &[&str] = &[
    "simulated_ms",
    "events",
    "acknowledged",
    "unknown",
    "terms",
    "slowest_leader_ms",
    "slowest_acknowledgement_ms",
    "slowest_convergence_ms",
];

/// What a sweep is asked to do.
pub struct Sweep {
    /// The seeds.
    pub seeds: Range<u64>,
    /// Processes at a time.
    pub jobs: usize,
    /// No seed is begun after this.
    pub limit: Option<Duration>,
    /// How often each kind of fault has to strike for the sweep to count as one.
    pub at_least: u64,
}

#[derive(Default)]
struct Totals {
    runs: u64,
    failed: Vec<u64>,
    figures: BTreeMap<String, u64>,
}

impl Sweep {
    /// Runs them all.
    ///
    /// # Errors
    /// When this program cannot be started again.
    pub fn run(self) -> std::io::Result<ExitCode> {
        let program = std::env::current_exe()?;
        let (next, stop) = (AtomicU64::new(self.seeds.start), AtomicBool::new(false));
        let began = Instant::now();
        let mut totals = Totals::default();
        let mut progress_at = PROGRESS;
        let (tell, told) = mpsc::sync_channel::<(u64, std::io::Result<Output>)>(self.jobs);
        std::thread::scope(|scope| {
            for _ in 0..self.jobs {
                let (tell, next, stop, program) = (tell.clone(), &next, &stop, &program);
                let (end, limit) = (self.seeds.end, self.limit);
                scope.spawn(move || {
                    loop {
                        let seed = next.fetch_add(1, Ordering::Relaxed);
                        let late = limit.is_some_and(|limit| began.elapsed() >= limit);
                        if seed >= end || late || stop.load(Ordering::Relaxed) {
                            return;
                        }
                        let output =
                            Command::new(program).args(["--seed", &seed.to_string()]).output();
                        if tell.send((seed, output)).is_err() {
                            return;
                        }
                    }
                });
            }
            drop(tell);
            for (seed, output) in told {
                match output {
                    Ok(output) => totals.take(seed, &output),
                    Err(error) => {
                        stop.store(true, Ordering::Relaxed);
                        eprintln!("seed {seed} cannot be run: {error}");
                        totals.failed.push(seed);
                    }
                }
                if began.elapsed() >= progress_at {
                    progress_at = began.elapsed() + PROGRESS;
                    println!("{}", totals.line(began.elapsed()));
                }
            }
        });
        totals.finish(began.elapsed());
        let all_kinds = totals.all_kinds_struck(self.at_least);
        let good = totals.failed.is_empty() && all_kinds;
        Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

impl Totals {
    fn take(&mut self, seed: u64, output: &Output) {
        self.runs += 1;
        let text = String::from_utf8_lossy(&output.stdout);
        let figures = text.lines().find_map(|line| line.strip_prefix(FIGURES));
        for figure in figures.unwrap_or_default().split(' ') {
            if let Some((key, number)) = figure.split_once('=')
                && let Ok(number) = number.parse::<u64>()
            {
                let total = self.figures.entry(key.to_owned()).or_default();
                *total =
                    if key.starts_with("slowest_") { number.max(*total) } else { *total + number };
            }
        }
        if !output.status.success() {
            self.failed.push(seed);
            println!("--- seed {seed} failed");
            // A closed standard output leaves nobody to tell.
            let _ = std::io::stdout().write_all(&output.stderr);
            let _ = std::io::stdout().write_all(&output.stdout);
        }
    }

    /// Whether every kind of fault struck so often; names those that did not.
    fn all_kinds_struck(&self, at_least: u64) -> bool {
        let rare = Kind::ALL.iter().filter(|kind| self.figure(kind.name()) < at_least);
        let names: Vec<&str> = rare.map(|kind| kind.name()).collect();
        if !names.is_empty() {
            println!("fewer than {at_least} times each: {}", names.join(", "));
        }
        names.is_empty()
    }

    fn figure(&self, key: &str) -> u64 {
        self.figures.get(key).copied().unwrap_or(0)
    }

    fn faults(&self) -> impl Iterator<Item = (&String, u64)> {
        let fault = |(key, _): &(&String, &u64)| !OWN.contains(&key.as_str());
        self.figures.iter().filter(fault).map(|(key, count)| (key, *count))
    }

    fn line(&self, wall: Duration) -> String {
        let simulated = self.figure("simulated_ms") as f64 / 1000.0;
        format!(
            "{} seeds, {} failed, {:.2} seeds/s, {:.1} simulated hours ({:.0}x real time), {} faults, \
             {} sends acknowledged",
            self.runs,
            self.failed.len(),
            self.runs as f64 / wall.as_secs_f64(),
            simulated / 3600.0,
            simulated / wall.as_secs_f64(),
            self.faults().map(|(_, count)| count).sum::<u64>(),
            self.figure("acknowledged"),
        )
    }

    fn finish(&self, wall: Duration) {
        for (kind, count) in self.faults() {
            println!("{count:>8}  {kind}");
        }
        println!(
            "once all was well again: a leader after at most {} ms, an acknowledgement {} ms later, all \
             members equal {} ms after all was delivered",
            self.figure("slowest_leader_ms"),
            self.figure("slowest_acknowledgement_ms"),
            self.figure("slowest_convergence_ms"),
        );
        println!("{}", self.line(wall));
        for seed in &self.failed {
            println!("cargo sim -- --seed {seed}");
        }
    }
}
