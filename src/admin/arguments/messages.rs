//! Arguments of the commands about messages.

use clap::Args;

use super::CommonArgs;

/// Arguments of `statsAll`.
#[derive(Debug, Clone, Args)]
pub struct StatsAllArgs {
    #[command(flatten)]
    pub common: CommonArgs,
    /// Only this topic.
    #[arg(short = 't', long = "topic")]
    pub topic: Option<String>,
    /// Only topics that were sent to or read within the last day.
    #[arg(short = 'a', long = "activeTopic")]
    pub active: bool,
}
