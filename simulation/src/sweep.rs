//! Many seeds, each in a process of its own.
//!
//! Invariant: a seed that fails is reported, and its record kept in a file of its own, the last line of
//! which is the command that plays it again; the sweep's exit code says whether there was one.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Output};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::faults::Kind;
use crate::record;

/// How a run's line of figures begins; what follows are `key=number` with spaces between. Of those that
/// begin with `slowest_` a sweep keeps the largest, of all others the sum.
pub const FIGURES: &str = "figures: ";
/// How the names of figures begin that count what brokers were made to choose.
pub const CHOICE: &str = "choice:";
/// How a line begins that says what must not be; the check's name follows, then `: ` and what it saw.
pub const FOUND: &str = "FOUND ";
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
    /// Where the records of seeds that fail are kept.
    pub keep: PathBuf,
    /// A mistake made on purpose in all of them.
    pub flaw: Option<String>,
}

/// Plays a seed, with a mistake if one is named, in a process of its own, and keeps what it prints.
pub(crate) fn play_apart(program: &Path, seed: u64, flaw: Option<&str>) -> std::io::Result<Output> {
    let mut command = Command::new(program);
    command.args(["--record", "--seed", &seed.to_string()]);
    if let Some(name) = flaw {
        command.args(["--flaw", name]);
    }
    command.output()
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
        let flaw = self.flaw.as_ref().map(|name| format!(" --flaw {name}")).unwrap_or_default();
        let mut progress_at = PROGRESS;
        let (tell, told) = mpsc::sync_channel::<(u64, std::io::Result<Output>)>(self.jobs);
        std::thread::scope(|scope| {
            for _ in 0..self.jobs {
                let (tell, next, stop, program) = (tell.clone(), &next, &stop, &program);
                let (end, limit, flaw) = (self.seeds.end, self.limit, self.flaw.as_deref());
                scope.spawn(move || {
                    loop {
                        let seed = next.fetch_add(1, Ordering::Relaxed);
                        let late = limit.is_some_and(|limit| began.elapsed() >= limit);
                        if seed >= end || late || stop.load(Ordering::Relaxed) {
                            return;
                        }
                        let output = play_apart(program, seed, flaw);
                        if tell.send((seed, output)).is_err() {
                            return;
                        }
                    }
                });
            }
            drop(tell);
            for (seed, output) in told {
                match output {
                    Ok(output) => totals.take(seed, &output, &flaw, &self.keep),
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

/// What is kept of a run: its output, behind what went to standard error, and at the end the command that
/// plays it again, which a process that was ended from outside could not print.
fn kept(output: &str, errors: &str, again: &str) -> String {
    let output = output.trim_end();
    let last = output.lines().last().unwrap_or_default();
    let missing = if last.starts_with("cargo sim") { "" } else { again };
    let parts = [errors.trim_end(), output, missing];
    let mut text: String =
        parts.iter().filter(|part| !part.is_empty()).map(|part| format!("{part}\n")).collect();
    text.truncate(text.trim_end().len());
    text + "\n"
}

/// A record without its story and events, which are long.
fn short(kept: &str) -> String {
    let end = kept.find(record::END);
    let story = kept.find(record::STORY).filter(|story| end.is_some_and(|end| *story < end));
    match (story, end) {
        (Some(story), Some(end)) => format!("{}{}", &kept[..story], &kept[end..]),
        _ => kept.to_owned(),
    }
    .trim_end()
    .to_owned()
}

impl Totals {
    fn take(&mut self, seed: u64, output: &Output, flaw: &str, folder: &Path) {
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
            let again = record::again(&format!("--seed {seed}{flaw}"));
            let errors = String::from_utf8_lossy(&output.stderr);
            let kept = kept(&text, &errors, &again);
            println!("{}", short(&kept));
            match record::keep(folder, seed, &kept) {
                Ok(path) => println!("its record is kept in {}", path.display()),
                Err(error) => println!("its record is lost: {}: {error}", folder.display()),
            }
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
        let fault =
            |(key, _): &(&String, &u64)| !OWN.contains(&key.as_str()) && !key.starts_with(CHOICE);
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
        let choices = self.figures.iter();
        let choices = choices.filter_map(|(key, count)| Some((key.strip_prefix(CHOICE)?, count)));
        let choices: Vec<String> = choices.map(|(key, count)| format!("{key} {count}")).collect();
        println!("chosen in the broker: {}", choices.join(", "));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_ends_with_the_command_whatever_ended_the_run() {
        let again = "cargo sim -- --seed 3  # at unknown";
        let output =
            format!("seed 3\n{}\nlong\n{}\nFOUND it\n{again}\n", record::STORY, record::END);
        assert_eq!(kept(&output, "", again), output);
        assert_eq!(kept("seed 3\n", "killed\n", again), format!("killed\nseed 3\n{again}\n"));
        assert!(!short(&output).contains("long"));
        assert!(short(&output).ends_with(again) && short(&output).starts_with("seed 3"));
        assert_eq!(short("seed 3\n"), "seed 3");
    }
}
