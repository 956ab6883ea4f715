//! Shows that the checks can fail: for each mistake made on purpose, the seed and the check that find it.
//!
//! Invariant: a mistake that no seed finds makes this fail: it is a hole in the simulation.

use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use crate::invariants::Finding;
use crate::machine::Flaw;
use crate::parameters::Parameters;
use crate::run::{Plan, play};
use crate::trace::Telling;

/// For each mistake, or the one of that name, plays seeds until one finds it, at most that many.
pub fn find_flaws(seeds: u64, jobs: usize, only: Option<&str>) -> ExitCode {
    // A panic of the broker is how some mistakes are found; its words are in the finding.
    std::panic::set_hook(Box::new(|_| {}));
    let wanted = |flaw: &&Flaw| only.is_none_or(|name| flaw.name() == name);
    let flaws: Vec<Flaw> = Flaw::ALL.iter().filter(wanted).copied().collect();
    let (next, missed) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let began = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                while let Some(&flaw) = flaws.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if !is_found(flaw, seeds) {
                        missed.lock().unwrap_or_else(PoisonError::into_inner).push(flaw.name());
                    }
                }
            });
        }
    });
    let missed = missed.into_inner().unwrap_or_else(PoisonError::into_inner);
    let found = flaws.len() - missed.len();
    println!("{found} of {} mistakes found in {} s", flaws.len(), began.elapsed().as_secs());
    if missed.is_empty() && found > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn is_found(flaw: Flaw, seeds: u64) -> bool {
    let name = flaw.name();
    match (0..seeds).find_map(|seed| Some((seed, finding(flaw, seed)?))) {
        Some((seed, finding)) => {
            println!("{name:<24} {:>3} seeds  {}", seed + 1, finding.invariant);
            true
        }
        None => {
            println!("{name:<24} NOT FOUND by {seeds} seeds");
            false
        }
    }
}

fn finding(flaw: Flaw, seed: u64) -> Option<Finding> {
    let parameters = Parameters { flaw: Some(flaw), ..Parameters::of(seed) };
    play(parameters, Plan::Swarm, Telling::Silent).findings.into_iter().next()
}
