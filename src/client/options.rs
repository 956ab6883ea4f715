//! Settings shared by everything a client does.

use std::time::Duration;

/// Settings of a [`super::Client`].
#[derive(Debug, Clone)]
pub struct ClientOptions {
    /// NameServer addresses, `host:port` each.
    pub name_servers: Vec<String>,
    /// Tells clients of one process apart; part of the client id.
    pub instance_name: String,
    /// Of a company's site, which clients of different sites are told apart by; part of the client id.
    pub unit_name: Option<String>,
    /// For any request without a time limit of its own.
    pub request_timeout: Duration,
    /// Between two heartbeats to every broker.
    pub heartbeat_interval: Duration,
    /// Between two looks at the routes of the topics in use.
    pub route_interval: Duration,
}

impl ClientOptions {
    /// Defaults of the official clients. `name_servers` are separated by `;` or `,`.
    pub fn new(name_servers: &str) -> ClientOptions {
        let parts = name_servers.split([';', ',']).map(str::trim);
        ClientOptions {
            name_servers: parts.filter(|part| !part.is_empty()).map(str::to_owned).collect(),
            instance_name: "DEFAULT".to_owned(),
            unit_name: None,
            request_timeout: Duration::from_secs(3),
            heartbeat_interval: Duration::from_secs(30),
            route_interval: Duration::from_secs(30),
        }
    }

    /// The same client with another instance name.
    #[must_use]
    pub fn with_instance_name(mut self, instance_name: impl Into<String>) -> ClientOptions {
        self.instance_name = instance_name.into();
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_split_as_every_client_does() {
        let options = ClientOptions::new("a:9876; b:9876;,");
        assert_eq!(options.name_servers, ["a:9876", "b:9876"]);
        assert!(ClientOptions::new("").name_servers.is_empty());
    }
}
