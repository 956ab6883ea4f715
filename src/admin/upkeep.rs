//! `cleanExpiredCQ`, `cleanUnusedTopic` and `deleteExpiredCommitLog`: brokers clean up when asked.

use serde_json::json;

use super::arguments::UpkeepArgs;
use super::{AdminError, print};
use crate::client::{Admin, Upkeep};
use crate::protocol::route::MASTER_ID;

pub(super) async fn run(
    admin: &Admin,
    arguments: &UpkeepArgs,
    upkeep: Upkeep,
) -> Result<(), AdminError> {
    let addresses = match &arguments.broker {
        Some(address) => vec![address.clone()],
        None => {
            let mut brokers = admin.brokers(arguments.cluster.as_deref()).await?;
            brokers.retain(|broker| broker.broker_id == MASTER_ID);
            brokers.into_iter().map(|broker| broker.address).collect()
        }
    };
    for address in &addresses {
        admin.upkeep(address, upkeep).await?;
    }
    print(&arguments.common, || "success\n".to_owned(), || json!({"brokers": addresses}))
}
