//! What the command line asks for, and how a run is reported.
//!
//! Invariant: see `main`.

use std::ops::Range;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use simulation::flaws::find_flaws;
use simulation::machine::Flaw;
use simulation::parameters::Parameters;
use simulation::record;
use simulation::run::{Plan, Report, play};
use simulation::scenarios;
use simulation::sweep::{FIGURES, FOUND, Sweep};
use simulation::trace::Telling;

/// Plays clusters from seeds, with faults, and checks what must hold.
#[derive(Debug, Parser)]
#[command(name = "cargo sim --")]
struct Arguments {
    /// Play this seed.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Play the seeds from A up to but without B, each in a process of its own.
    #[arg(long, value_name = "A..B", value_parser = range)]
    seeds: Option<Range<u64>>,
    /// Processes at a time.
    #[arg(long, default_value_t = 1)]
    jobs: usize,
    /// Fail when a kind of fault struck less often than this in all --seeds together.
    #[arg(long, value_name = "TIMES", default_value_t = 0)]
    at_least: u64,
    /// Begin no seed after this many minutes.
    #[arg(long)]
    minutes: Option<f64>,
    /// Tell a story; without a name, list them.
    #[arg(long, value_name = "NAME", num_args = 0..=1, default_missing_value = "")]
    scenario: Option<String>,
    /// Put this mistake in on purpose; without a name, list them.
    #[arg(long, value_name = "NAME", num_args = 0..=1, default_missing_value = "")]
    flaw: Option<String>,
    /// For each mistake, or for the one of --flaw, play seeds until it is found, at most this many.
    #[arg(long, value_name = "SEEDS")]
    flaws: Option<u64>,
    /// Print the story of a seed while it is played.
    #[arg(long)]
    story: bool,
    /// Print the brokers' own log lines, by this filter, to standard error.
    #[arg(long, value_name = "FILTER")]
    log: Option<String>,
    /// When something is found, print the whole story and the last events.
    #[arg(long)]
    record: bool,
    /// Keep the record of each of --seeds that fails in this folder.
    #[arg(long, value_name = "FOLDER", default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/target/failed"))]
    keep: PathBuf,
    /// Print every event.
    #[arg(long)]
    trace: bool,
}

fn range(text: &str) -> Result<Range<u64>, String> {
    let parsed =
        text.split_once("..").and_then(|(begin, end)| Some(begin.parse().ok()?..end.parse().ok()?));
    parsed.ok_or_else(|| format!("{text:?} is not like 0..500"))
}

/// Does what the command line asks for.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Some(filter) = &arguments.log {
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    }
    if let Some(seeds) = arguments.seeds {
        let limit = arguments.minutes.map(|minutes| Duration::from_secs_f64(minutes * 60.0));
        let (jobs, at_least) = (arguments.jobs.max(1), arguments.at_least);
        let (keep, flaw) = (arguments.keep, arguments.flaw);
        let sweep = Sweep { seeds, jobs, limit, at_least, keep, flaw };
        return sweep.run().unwrap_or_else(|error| {
            eprintln!("the sweep cannot run: {error}");
            ExitCode::FAILURE
        });
    }
    if let Some(name) = &arguments.scenario {
        return tell(name, &arguments);
    }
    if let Some(seeds) = arguments.flaws {
        let found = find_flaws(seeds, arguments.jobs.max(1), arguments.flaw.as_deref());
        return found.unwrap_or_else(|error| {
            eprintln!("the mistakes cannot be looked for: {error}");
            ExitCode::FAILURE
        });
    }
    let flaw = match flaw(&arguments) {
        Ok(flaw) => flaw,
        Err(code) => return code,
    };
    let parameters = Parameters { flaw, ..Parameters::of(arguments.seed) };
    let again = again(&format!("--seed {}", arguments.seed), flaw);
    println!("{parameters}");
    let report = play(parameters, Plan::Swarm, telling(&arguments, Telling::Silent));
    finish(&report, &again, arguments.record)
}

/// The mistake that is asked for. Where its name is none, those that there are get listed, and the exit
/// code says whether that was asked for.
fn flaw(arguments: &Arguments) -> Result<Option<Flaw>, ExitCode> {
    let Some(name) = &arguments.flaw else { return Ok(None) };
    let flaw = Flaw::named(name);
    if flaw.is_none() {
        Flaw::ALL.iter().for_each(|flaw| println!("{}", flaw.name()));
        return Err(if name.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    Ok(flaw)
}

/// What plays the same once more.
fn again(plan: &str, flaw: Option<Flaw>) -> String {
    match flaw {
        Some(flaw) => format!("{plan} --flaw {}", flaw.name()),
        None => plan.to_owned(),
    }
}

fn telling(arguments: &Arguments, otherwise: Telling) -> Telling {
    match (arguments.trace, arguments.story) {
        (true, _) => Telling::Everything,
        (_, true) => Telling::Story,
        _ => otherwise,
    }
}

fn tell(name: &str, arguments: &Arguments) -> ExitCode {
    let Some(scenario) = scenarios::named(name) else {
        for scenario in scenarios::ALL {
            println!("{:<20} {}", scenario.name, scenario.question);
        }
        return if name.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    };
    let flaw = match flaw(arguments) {
        Ok(flaw) => flaw,
        Err(code) => return code,
    };
    let parameters = Parameters { flaw, ..(scenario.parameters)(arguments.seed) };
    let again = again(&format!("--scenario {name} --seed {}", arguments.seed), flaw);
    println!("{}", scenario.question);
    println!("{parameters}");
    let report = play(parameters, Plan::Scenario(scenario), telling(arguments, Telling::Story));
    finish(&report, &again, arguments.record)
}

fn finish(report: &Report, again: &str, with_record: bool) -> ExitCode {
    if with_record && !report.findings.is_empty() {
        print!("{}", report.record);
        println!("{}", record::END);
    }
    let [acknowledged, failed, unknown] = report.sends;
    println!(
        "{acknowledged} sends acknowledged, {failed} refused, {unknown} unknown; {} deliveries; {} \
         terms with a leader; states compared at {} indexes",
        report.deliveries, report.terms, report.indexes
    );
    println!(
        "{FIGURES}simulated_ms={} events={} acknowledged={acknowledged} unknown={unknown} terms={} \
         slowest_leader_ms={} slowest_acknowledgement_ms={} slowest_convergence_ms={} {} {}",
        report.simulated.as_millis(),
        report.events,
        report.terms,
        report.took.leader.as_millis(),
        report.took.acknowledgement.as_millis(),
        report.took.convergence.as_millis(),
        report.faults,
        report.choices
    );
    if report.findings.is_empty() {
        println!("trace {:016x}", report.hash);
        return ExitCode::SUCCESS;
    }
    for finding in &report.findings {
        println!("{FOUND}{finding}");
    }
    println!("{}", record::again(again));
    ExitCode::FAILURE
}
