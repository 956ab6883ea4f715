//! Shows that the checks can fail: for each mistake made on purpose, the seed and the check that find it.
//!
//! Invariant: a mistake that no seed finds makes this fail: it is a hole in the simulation.

use std::io;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use crate::machine::Flaw;
use crate::sweep::{FOUND, play_apart};

/// For each mistake, or the one of that name, plays seeds until one finds it, at most that many. Each
/// play has a process of its own, so that the seed alone plays it again.
///
/// # Errors
/// When this program cannot be started again.
pub fn find_flaws(seeds: u64, jobs: usize, only: Option<&str>) -> io::Result<ExitCode> {
    let program = std::env::current_exe()?;
    let wanted = |flaw: &&Flaw| only.is_none_or(|name| flaw.name() == name);
    let flaws: Vec<Flaw> = Flaw::ALL.iter().filter(wanted).copied().collect();
    let (next, missed) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let began = Instant::now();
    std::thread::scope(|scope| {
        let work = || {
            while let Some(&flaw) = flaws.get(next.fetch_add(1, Ordering::Relaxed)) {
                if !is_found(&program, flaw, seeds)? {
                    missed.lock().unwrap_or_else(PoisonError::into_inner).push(flaw.name());
                }
            }
            Ok(())
        };
        let workers: Vec<_> = (0..jobs).map(|_| scope.spawn(work)).collect();
        let ended =
            workers.into_iter().map(|worker| worker.join().expect("a worker does not panic"));
        ended.collect::<io::Result<Vec<()>>>()
    })?;
    let missed = missed.into_inner().unwrap_or_else(PoisonError::into_inner);
    let found = flaws.len() - missed.len();
    println!("{found} of {} mistakes found in {} s", flaws.len(), began.elapsed().as_secs());
    let good = missed.is_empty() && found > 0;
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn is_found(program: &Path, flaw: Flaw, seeds: u64) -> io::Result<bool> {
    let name = flaw.name();
    for seed in 0..seeds {
        if let Some(invariant) = finding(program, flaw, seed)? {
            println!("{name:<24} {:>3} seeds  {invariant}", seed + 1);
            return Ok(true);
        }
    }
    println!("{name:<24} NOT FOUND by {seeds} seeds");
    Ok(false)
}

/// Which check noticed that mistake in that seed first.
fn finding(program: &Path, flaw: Flaw, seed: u64) -> io::Result<Option<String>> {
    let output = play_apart(program, seed, Some(flaw.name()))?;
    if output.status.success() {
        return Ok(None);
    }
    let printed = String::from_utf8_lossy(&output.stdout);
    let found = printed.lines().find_map(|line| line.strip_prefix(FOUND));
    let invariant = found.and_then(|found| Some(found.split_once(": ")?.0.to_owned()));
    Ok(Some(invariant.unwrap_or_else(|| format!("the process ended with {}", output.status))))
}
