//! The `raftmq` program: reads the command line and calls one function per subcommand.
//!
//! Exit codes: 0 done, 1 failed, 2 to 9 a broker's log cannot go on (`raft_log::Fatal` says which
//! and what to do; only 9 is cured by another start), 64 wrong usage, 78 wrong configuration.

use std::ffi::OsString;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, CommandFactory as _, Parser, Subcommand};
use raftmq::broker::BrokerError;
use raftmq::config::{self, BrokerConfig, ConfigError, Configuration, NamesrvConfig};
use raftmq::namesrv::{NameServer, NamesrvError};
use raftmq::stop::StopRequest;
use raftmq::{admin, bench, quickstart, watchdog};
use tracing_subscriber::EnvFilter;

const EXIT_USAGE: u8 = 64;
const EXIT_CONFIGURATION: u8 = 78;

/// A message broker that speaks RocketMQ's protocols; its CommitLog is a Raft log.
#[derive(Debug, Parser)]
#[command(name = "raftmq", version)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs a name server.
    Namesrv(NamesrvArgs),
    /// Runs one broker, or several of different groups, in this process.
    Broker(BrokerArgs),
    /// Looks at a cluster and changes it.
    Admin(admin::AdminArgs),
    /// Measures throughput, latency and failover.
    Bench(bench::BenchArgs),
    /// Starts a name server and a group of three brokers, each a child process of this one.
    Quickstart(quickstart::QuickstartArgs),
    /// Kills the process that started it when that stands still; brokers run it by themselves.
    #[command(name = watchdog::SUBCOMMAND, hide = true)]
    Watchdog(WatchdogArgs),
    /// Prints what a shell needs to complete this program's commands and flags.
    Completion(CompletionArgs),
}

#[derive(Debug, Args)]
struct WatchdogArgs {
    /// How long it may stand still.
    limit_ms: std::num::NonZeroU64,
}

#[derive(Debug, Args)]
struct CompletionArgs {
    /// For this shell; bash: `source <(raftmq completion bash)`.
    shell: clap_complete::Shell,
}

#[derive(Debug, Args)]
struct NamesrvArgs {
    /// Configuration file.
    #[arg(short = 'c', long = "configFile", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Prints the configuration in effect and exits; without a file, every key with its meaning.
    #[arg(short = 'p', long = "printConfigItem")]
    print: bool,
    /// Taken for the sake of RocketMQ's scripts; name servers do not talk to each other.
    #[arg(short = 'n', long = "namesrvAddr", value_name = "ADDRS", hide = true)]
    _namesrv_addr: Option<String>,
    #[command(flatten)]
    owner: OwnerArgs,
}

#[derive(Debug, Args)]
struct BrokerArgs {
    /// Configuration file; give one for each broker of this process.
    #[arg(short = 'c', long = "configFile", value_name = "FILE")]
    config: Vec<PathBuf>,
    /// Name servers, host:port;host:port; goes over the file's namesrvAddr.
    #[arg(short = 'n', long = "namesrvAddr", value_name = "ADDRS")]
    namesrv_addr: Option<String>,
    /// Prints the configuration in effect and exits; without a file, every key with its meaning.
    #[arg(short = 'p', long = "printConfigItem")]
    print: bool,
    /// Prints the most important part of the configuration in effect and exits.
    #[arg(short = 'm', long = "printImportantConfig")]
    print_important: bool,
    #[command(flatten)]
    owner: OwnerArgs,
}

#[derive(Debug, Args)]
struct OwnerArgs {
    /// Stops in good order when standard input ends: the process that started this one is gone.
    #[arg(long = quickstart::OWNED_FLAG, hide = true)]
    owned: bool,
}

fn main() -> ExitCode {
    let command_line = match CommandLine::try_parse_from(arguments(std::env::args_os())) {
        Ok(command_line) => command_line,
        Err(error) => {
            // Also help and version come this way; only what goes to standard error is a mistake.
            let mistaken = error.use_stderr();
            let _ = error.print();
            return if mistaken { ExitCode::from(EXIT_USAGE) } else { ExitCode::SUCCESS };
        }
    };
    start_logging();
    match command_line.command {
        Command::Namesrv(arguments) => namesrv(&arguments),
        Command::Broker(arguments) => broker(&arguments),
        Command::Admin(arguments) => admin::run(arguments),
        Command::Bench(arguments) => bench::run(arguments),
        Command::Quickstart(arguments) => quickstart::run(arguments),
        Command::Watchdog(arguments) => {
            watchdog::run(Duration::from_millis(arguments.limit_ms.get()))
        }
        Command::Completion(arguments) => completion(&arguments),
    }
}

fn completion(arguments: &CompletionArgs) -> ExitCode {
    let mut command = CommandLine::command();
    clap_complete::generate(arguments.shell, &mut command, "raftmq", &mut std::io::stdout());
    ExitCode::SUCCESS
}

/// Called as `mqnamesrv`, `mqbroker` or `mqadmin`, the program is that subcommand.
fn arguments(given: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = given.collect();
    let name = arguments.first().and_then(|path| Path::new(path).file_stem());
    let subcommand = match name.and_then(|name| name.to_str()) {
        Some("mqnamesrv") => Some("namesrv"),
        Some("mqbroker") => Some("broker"),
        Some("mqadmin") => Some("admin"),
        _ => None,
    };
    if let Some(subcommand) = subcommand {
        arguments[0] = "raftmq".into();
        arguments.insert(1, subcommand.into());
    }
    if arguments.get(2).is_some_and(|command| command == "electMaster") {
        // Short flags have one letter here.
        let flags = arguments.iter_mut().filter(|word| *word == admin::BROKER_NAME_FLAG);
        flags.for_each(|flag| *flag = admin::BROKER_NAME_LONG_FLAG.into());
    }
    arguments
}

/// Standard output belongs to the lines that scripts wait for; the log goes to standard error.
/// A filter's target is a prefix: `raft` alone would silence this program's own crates too.
fn start_logging() {
    let filter = EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| EnvFilter::new("info,raft=warn,raftmq=info,raft_log=info,sled=warn"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
}

fn namesrv(arguments: &NamesrvArgs) -> ExitCode {
    if arguments.print && arguments.config.is_none() {
        print!("{}", config::reference("Every key of a name server", NamesrvConfig::KEYS));
        return ExitCode::SUCCESS;
    }
    let loaded = match &arguments.config {
        Some(path) => NamesrvConfig::load(path, &[]).inspect(|_| announce(path)),
        None => NamesrvConfig::without_file(&[]),
    };
    let settings = match loaded {
        Ok(settings) => settings,
        Err(error) => return misconfigured(&error),
    };
    if arguments.print {
        print!("{}", config::effective(&settings.effective(), false));
        return ExitCode::SUCCESS;
    }
    let file = arguments.config.clone();
    let owned = arguments.owner.owned;
    let server = async move {
        let stop = StopRequest::listen(owned);
        let server = NameServer::start(settings, file).await?;
        let address = server.local_addr();
        println!("The Name Server boot success. serializeType=JSON, address {address}");
        stop.received().await;
        server.shutdown().await;
        Ok::<(), NamesrvError>(())
    };
    run(server, |_| 1)
}

fn broker(arguments: &BrokerArgs) -> ExitCode {
    if arguments.config.is_empty() && (arguments.print || arguments.print_important) {
        print!("{}", config::reference("Every key of a broker", BrokerConfig::KEYS));
        return ExitCode::SUCCESS;
    }
    let brokers = match load_brokers(arguments) {
        Ok(brokers) => brokers,
        Err(error) => return misconfigured(&error),
    };
    if arguments.print || arguments.print_important {
        for (origin, settings) in &brokers {
            let mut values = settings.effective();
            if !arguments.print {
                values.retain(|(spec, _)| config::IMPORTANT_KEYS.contains(&spec.key));
            }
            print!("# {origin}\n{}", config::effective(&values, false));
        }
        return ExitCode::SUCCESS;
    }
    let settings: Vec<_> = brokers.into_iter().map(|(_, settings)| settings).collect();
    watch_over(&settings);
    let owned = arguments.owner.owned;
    let brokers = async move {
        let stop = StopRequest::listen(owned);
        raftmq::broker::run(settings, stop.received()).await
    };
    run(brokers, BrokerError::exit_code)
}

/// Has this process killed when it stands still, if any of its brokers wants that.
fn watch_over(settings: &[BrokerConfig]) {
    let limits = settings.iter().map(|settings| settings.watchdog_timeout_ms);
    let Some(limit_ms) = limits.filter(|limit_ms| *limit_ms > 0).min() else { return };
    if let Err(error) = watchdog::start(Duration::from_millis(limit_ms)) {
        tracing::warn!(%error, "watchdogTimeoutMs: there is no watchdog");
    }
}

fn load_brokers(arguments: &BrokerArgs) -> Result<Vec<(String, BrokerConfig)>, ConfigError> {
    let addresses = arguments.namesrv_addr.as_deref();
    let overrides: Vec<(&str, &str)> =
        addresses.map(|addresses| ("namesrvAddr", addresses)).into_iter().collect();
    if arguments.config.is_empty() {
        let settings = BrokerConfig::without_file(&overrides)?;
        return Ok(vec![("command line".to_owned(), settings)]);
    }
    let mut brokers = Vec::with_capacity(arguments.config.len());
    for path in &arguments.config {
        let settings = BrokerConfig::load(path, &overrides)?;
        if !arguments.print && !arguments.print_important {
            announce(path);
        }
        brokers.push((path.display().to_string(), settings));
    }
    config::check_together(&brokers)?;
    Ok(brokers)
}

/// RocketMQ's line for a file that was read.
fn announce(path: &Path) {
    println!("load config properties file OK, {}", path.display());
}

fn misconfigured(error: &ConfigError) -> ExitCode {
    eprintln!("raftmq: {error}");
    ExitCode::from(EXIT_CONFIGURATION)
}

/// Runs a server to its end; what made it fail decides the exit code.
fn run<E: std::error::Error>(
    server: impl Future<Output = Result<(), E>>,
    exit_code: impl FnOnce(&E) -> i32,
) -> ExitCode {
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("raftmq: the runtime did not start: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(server) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("raftmq: {error}");
            u8::try_from(exit_code(&error)).map_or(ExitCode::FAILURE, ExitCode::from)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<CommandLine, clap::Error> {
        CommandLine::try_parse_from(arguments(line.split(' ').map(OsString::from)))
    }

    #[test]
    fn the_command_line_is_consistent() {
        CommandLine::command().debug_assert();
    }

    #[test]
    fn completion_knows_the_commands_of_the_operators() {
        let Command::Completion(arguments) = parse("raftmq completion bash").unwrap().command
        else {
            panic!("not a completion")
        };
        let mut script = Vec::new();
        let mut command = CommandLine::command();
        clap_complete::generate(arguments.shell, &mut command, "raftmq", &mut script);
        let script = String::from_utf8(script).unwrap();
        assert!(
            ["clusterList", "doctor", "--namesrvAddr"].iter().all(|word| script.contains(word))
        );
    }

    #[test]
    fn rocketmqs_names_and_flags_work() {
        let parsed = parse("/usr/bin/mqbroker -c a.conf -c b.conf -n h:1;i:2 -m").unwrap();
        let Command::Broker(broker) = parsed.command else { panic!("not a broker") };
        assert_eq!(broker.config, [Path::new("a.conf"), Path::new("b.conf")]);
        assert_eq!(broker.namesrv_addr.as_deref(), Some("h:1;i:2"));
        assert!(broker.print_important && !broker.print);
        let parsed = parse("mqnamesrv -c n.conf -p").unwrap();
        assert!(matches!(parsed.command, Command::Namesrv(NamesrvArgs { print: true, .. })));
        assert!(matches!(parse("mqadmin clusterList -n h:1").unwrap().command, Command::Admin(_)));
        for words in [
            "raftmq admin electMaster -a h:1 -b 2 -bn b -c c",
            "mqadmin electMaster -bn b -b 2 -c c -a h:1",
        ] {
            let Command::Admin(arguments) = parse(words).unwrap().command else {
                panic!("{words}")
            };
            let admin::AdminCommand::ElectMaster(elect) = arguments.command else {
                panic!("{words}")
            };
            assert_eq!((elect.broker_name.as_str(), elect.broker_id), ("b", 2));
        }
        assert!(matches!(parse("raftmq quickstart").unwrap().command, Command::Quickstart(_)));
        assert!(parse("raftmq").is_err());
    }
}
