//! What operators ask of a controller. Here every name server is one.

use std::collections::BTreeMap;
use std::time::Duration;

use super::admin::{Admin, properties_of};
use super::error::ClientError;
use super::remote::Ask;
use crate::protocol::body::{BrokerReplicasInfo, ElectMasterBody};
use crate::protocol::code::request;
use crate::protocol::fastjson::JsonBody as _;

/// A group hands over within its election timeout or not at all.
const ELECTION_LIMIT: Duration = Duration::from_secs(5);

/// Where a group of controllers is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControllerMetadata {
    /// Its name.
    pub group: String,
    /// Which of them leads.
    pub leader_id: String,
    /// Where that is.
    pub leader_address: String,
    /// All of them.
    pub peers: Vec<String>,
}

/// Who leads a group after an election.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Elected {
    /// The leader's address.
    pub address: String,
    /// The term in which it leads.
    pub term: i64,
    /// Version of the set of members in sync.
    pub sync_state_set_epoch: i64,
    /// Addresses of the group by broker id.
    pub members: BTreeMap<i64, String>,
}

impl Admin {
    /// Which controller leads, as one of them knows it.
    ///
    /// # Errors
    /// When it refuses, or does not answer; so below.
    pub async fn controller(&self, address: &str) -> Result<ControllerMetadata, ClientError> {
        let ask = Ask::new(request::CONTROLLER_GET_METADATA_INFO);
        let answer = self.broker(address, &ask).await?;
        let text = |field| answer.text(field).unwrap_or_default().to_owned();
        let peers = text("peers");
        Ok(ControllerMetadata {
            group: text("group"),
            leader_id: text("controllerLeaderId"),
            leader_address: text("controllerLeaderAddress"),
            peers: peers.split(';').filter(|peer| !peer.is_empty()).map(str::to_owned).collect(),
        })
    }

    /// Who leads these groups and who follows closely; groups that nobody knows are left out.
    pub async fn sync_state(
        &self,
        controller: &str,
        broker_names: &[String],
    ) -> Result<BrokerReplicasInfo, ClientError> {
        let leader = self.controller(controller).await?.leader_address;
        let names = serde_json::Value::from(broker_names).to_string();
        let ask = Ask::new(request::CONTROLLER_GET_SYNC_STATE_DATA).with_body(names.into());
        let answer = self.ask_within(&leader, &ask, ELECTION_LIMIT).await?.success()?;
        answer.decode(BrokerReplicasInfo::decode)
    }

    /// Has a member lead its group.
    pub async fn elect_master(
        &self,
        controller: &str,
        cluster: &str,
        broker_name: &str,
        broker_id: i64,
    ) -> Result<Elected, ClientError> {
        let leader = self.controller(controller).await?.leader_address;
        let ask = Ask::new(request::CONTROLLER_ELECT_MASTER)
            .with("clusterName", cluster)
            .with("brokerName", broker_name)
            .with("brokerId", broker_id)
            .with("designateElect", true);
        let answer = self.ask_within(&leader, &ask, ELECTION_LIMIT).await?.success()?;
        let body = answer.decode(ElectMasterBody::decode)?;
        Ok(Elected {
            address: answer.text("masterAddress").unwrap_or_default().to_owned(),
            term: answer.number("masterEpoch")?,
            sync_state_set_epoch: answer.number("syncStateSetEpoch")?,
            members: body.broker_member_group.broker_addrs,
        })
    }

    /// A controller's settings in effect.
    pub async fn controller_config(
        &self,
        controller: &str,
    ) -> Result<BTreeMap<String, String>, ClientError> {
        let answer = self.broker(controller, &Ask::new(request::GET_CONTROLLER_CONFIG)).await?;
        Ok(properties_of(answer.body()))
    }

    /// Changes a setting of a controller.
    pub async fn update_controller_config(
        &self,
        controller: &str,
        key: &str,
        value: &str,
    ) -> Result<(), ClientError> {
        let change = format!("{key}={value}\n").into_bytes();
        let ask = Ask::new(request::UPDATE_CONTROLLER_CONFIG).with_body(change.into());
        self.broker(controller, &ask).await.map(drop)
    }
}
