//! The ids of a consumer group's clients, by which they share its queues among themselves.
//!
//! Clients tell each member of themselves every half minute. A member that has just started therefore
//! knows few of them, and whoever believed it would take queues that others still consume: it asks the
//! other members, too.
//!
//! Invariant: while the other members can be reached, a restart hides no client that they know.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use tokio::time::Duration;

use super::answer::{Failure, Outcome, success_json};
use super::core::Core;
use super::fields::required;
use super::forward::{HOP, is_forwarded};
use crate::protocol::body::ConsumerIdList;
use crate::protocol::code::response;
use crate::protocol::fastjson::JsonBody;
use crate::remoting::RemotingCommand;

/// Clients that live send a heartbeat within this; by default every thirty seconds.
const ALL_HEARD_AFTER: Duration = Duration::from_secs(45);
/// A client gives its question three seconds.
const PEER_LIMIT: Duration = Duration::from_millis(500);

/// The client ids of a consumer group.
pub async fn list(core: &Core, command: &RemotingCommand) -> Outcome {
    let group = required(command, "consumerGroup")?;
    let mut ids: BTreeSet<String> = core.clients.consumer_ids(group).into_iter().collect();
    if core.started_at.elapsed() < ALL_HEARD_AFTER && !is_forwarded(command) {
        ids.extend(known_to_others(core, command).await);
    }
    if ids.is_empty() {
        let remark = format!("no consumer for this group, {group}");
        return Err(Failure::new(response::SYSTEM_ERROR, remark));
    }
    success_json(&ConsumerIdList { consumer_id_list: ids.into_iter().collect() })
}

async fn known_to_others(core: &Core, command: &RemotingCommand) -> Vec<String> {
    let mut command = command.clone();
    command.ext_fields.insert(HOP, 1);
    let asked = core.members_elsewhere().into_iter().map(|address| {
        let command = command.clone();
        async move {
            // One that knows nobody, or does not answer, adds nothing.
            let answer = core.client.invoke(&address, command, PEER_LIMIT).await.ok()?;
            ConsumerIdList::decode(&answer.body).ok().map(|list| list.consumer_id_list)
        }
    });
    join_all(asked).await.into_iter().flatten().flatten().collect()
}
