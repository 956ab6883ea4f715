//! `cleanExpiredCQ`, `cleanUnusedTopic` and `deleteExpiredCommitLog`: brokers clean up when asked.

use serde_json::json;

use super::arguments::{UpkeepArgs, WhereArgs};
use super::settings::brokers;
use super::{AdminError, print};
use crate::client::{Admin, Upkeep};

pub(super) async fn run(
    admin: &Admin,
    arguments: &UpkeepArgs,
    upkeep: Upkeep,
) -> Result<(), AdminError> {
    let UpkeepArgs { broker, cluster, .. } = arguments;
    let place = WhereArgs { broker: broker.clone(), cluster: cluster.clone() };
    let brokers = brokers(admin, &place, false).await?;
    let addresses: Vec<String> = brokers.into_iter().map(|broker| broker.address).collect();
    for address in &addresses {
        admin.upkeep(address, upkeep).await?;
    }
    print(&arguments.common, || "success\n".to_owned(), || json!({"brokers": addresses}))
}
