//! `consumerConnection`, `producerConnection` and `producer`: who is connected.

use serde_json::json;

use super::arguments::{ConsumerConnectionArgs, ProducerArgs, ProducerConnectionArgs};
use super::table::{Column, left, render};
use super::topic::route_if_any;
use super::{AdminError, print};
use crate::client::{Admin, ClientError};
use crate::protocol::body::{ClientConnection, ConsumerConnection, ProducerInfo};
use crate::protocol::code::response;
use crate::protocol::{names, version};

const CLIENTS: [Column; 4] = [
    left("#ClientId", 36).then(1),
    left("#ClientAddr", 22).then(1),
    left("#Language", 10).then(1),
    left("#Version", 0),
];
const SUBSCRIPTIONS: [Column; 2] = [left("#Topic", 20).then(1), left("#SubExpression", 0)];

pub(super) async fn consumers(
    admin: &Admin,
    arguments: &ConsumerConnectionArgs,
) -> Result<(), AdminError> {
    let group = &arguments.group;
    let found = of_group(admin, group, arguments.broker.as_deref()).await?;
    let found = found.ok_or_else(|| AdminError::NoMembers(group.clone()))?;
    print(&arguments.common, || text(&found), || json!(found))
}

/// The members of a group, as one broker knows them or the first that knows any.
pub(super) async fn of_group(
    admin: &Admin,
    group: &str,
    broker: Option<&str>,
) -> Result<Option<ConsumerConnection>, ClientError> {
    known_to(admin, &brokers_of_group(admin, group, broker).await?, group).await
}

/// The members of a group, as the first of these brokers that knows any knows them.
pub(super) async fn known_to(
    admin: &Admin,
    brokers: &[String],
    group: &str,
) -> Result<Option<ConsumerConnection>, ClientError> {
    for address in brokers {
        if let Some(found) = admin.consumer_connection(address, group).await? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

fn text(found: &ConsumerConnection) -> String {
    let clients: Vec<_> = found.connection_set.iter().map(cells).collect();
    let subscription = |subscription: &crate::protocol::heartbeat::SubscriptionData| {
        vec![subscription.topic.clone(), subscription.sub_string.clone()]
    };
    let subscriptions: Vec<_> = found.subscription_table.values().map(subscription).collect();
    format!(
        "{}\nBelow is subscription:\n{}\nConsumeType: {}\nMessageModel: {}\nConsumeFromWhere: {}\n",
        render(&CLIENTS, &clients),
        render(&SUBSCRIPTIONS, &subscriptions),
        found.consume_type.as_str(),
        found.message_model.as_str(),
        found.consume_from_where.as_str(),
    )
}

fn cells(client: &ClientConnection) -> Vec<String> {
    vec![
        client.client_id.clone(),
        client.client_addr.clone(),
        client.language.clone(),
        version::description(client.version),
    ]
}

pub(super) async fn producers(
    admin: &Admin,
    arguments: &ProducerConnectionArgs,
) -> Result<(), AdminError> {
    let no_route = || ClientError::NoRoute(arguments.topic.clone());
    let addresses = addresses(admin, &arguments.topic).await?.ok_or_else(no_route)?;
    let mut found: Vec<ClientConnection> = Vec::new();
    for address in addresses {
        match admin.producer_connection(&address, &arguments.group).await {
            Ok(connection) => found.extend(connection.connection_set),
            // That broker has none of them.
            Err(error) if error.code() == Some(response::SYSTEM_ERROR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    // Each leader has a connection of its own.
    found.sort_by(|a, b| a.client_id.cmp(&b.client_id));
    found.dedup_by(|a, b| a.client_id == b.client_id);
    if found.is_empty() {
        return Err(AdminError::NoMembers(arguments.group.clone()));
    }
    let line = |(number, client): (usize, &ClientConnection)| {
        format!(
            "{:04}  {:<32} {:<22} {:<8} {}\n",
            number + 1,
            client.client_id,
            client.client_addr,
            client.language,
            version::description(client.version)
        )
    };
    print(&arguments.common, || found.iter().enumerate().map(line).collect(), || json!(found))
}

pub(super) async fn all_producers(
    admin: &Admin,
    arguments: &ProducerArgs,
) -> Result<(), AdminError> {
    let table = admin.all_producers(&arguments.broker).await?.data;
    let of_group = |(group, producers): (&String, &Vec<ProducerInfo>)| -> String {
        let line = |producer: &ProducerInfo| {
            let ProducerInfo { client_id, remote_ip, language, version, last_update_timestamp } =
                producer;
            format!(
                "producer group ({group}) instance : clientId={client_id},remoteIP={remote_ip}, \
                 language={language}, version={version}, lastUpdateTimestamp={last_update_timestamp}\n"
            )
        };
        producers.iter().map(line).collect()
    };
    print(&arguments.common, || table.iter().map(of_group).collect(), || json!(table))
}

/// The brokers to ask about a group: the one that was named, or the leaders of what it retries.
pub(super) async fn brokers_of_group(
    admin: &Admin,
    group: &str,
    named: Option<&str>,
) -> Result<Vec<String>, ClientError> {
    match named {
        Some(address) => Ok(vec![address.to_owned()]),
        None => Ok(addresses(admin, &names::retry_topic(group)).await?.unwrap_or_default()),
    }
}

/// The leaders of a topic; none when it has no route.
async fn addresses(admin: &Admin, topic: &str) -> Result<Option<Vec<String>>, ClientError> {
    let route = route_if_any(admin, topic).await?;
    Ok(route.map(|route| route.masters().map(str::to_owned).collect()))
}
