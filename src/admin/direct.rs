//! A message that one member of a group is told to consume at once, whoever consumed it before.
//!
//! Invariant: only a member with a listener is told.

use super::connection::brokers_of_group;
use super::track::stored_at;
use super::{AdminError, running};
use crate::client::{Admin, ClientError, ReceivedMessage};
use crate::protocol::body::ConsumedDirectly;

/// What became of it. The member is a group and a client's id.
pub(super) async fn consume(
    admin: &Admin,
    message: &ReceivedMessage,
    (group, client_id): (&str, &str),
) -> Result<ConsumedDirectly, AdminError> {
    let brokers = brokers_of_group(admin, group, None).await?;
    let info = running::ask(admin, &brokers, group, client_id, false).await?;
    if !running::is_push(&info) {
        return Err(AdminError::NoListener(client_id.to_owned()));
    }
    let route = admin.route(&message.topic).await?;
    let leader = stored_at(&route, message).and_then(|broker| broker.master());
    let leader = leader.ok_or_else(|| ClientError::NoLeader(message.broker_name.clone()))?;
    Ok(admin.consume_directly(leader, group, client_id, message).await?)
}
