//! Arguments of the commands about groups, offsets and settings.

use std::collections::BTreeMap;

use clap::{ArgAction, Args};

use super::{CommonArgs, LightQueueArgs, LongArgs};
use crate::admin::retry_policy::RetryPolicy;

/// One broker, or every group of a cluster.
#[derive(Debug, Clone, Args)]
#[group(required = true, multiple = false)]
pub struct WhereArgs {
    /// On this broker only.
    #[arg(short = 'b', long = "brokerAddr", value_name = "ADDR")]
    pub broker: Option<String>,
    /// On the brokers of this cluster.
    #[arg(short = 'c', long = "clusterName", value_name = "CLUSTER")]
    pub cluster: Option<String>,
}

/// Arguments of `brokerStatus` and `getBrokerConfig`.
#[derive(Debug, Clone, Args)]
pub struct BrokersArgs {
    #[command(flatten)]
    pub common: CommonArgs,
    #[command(flatten)]
    pub place: WhereArgs,
}

/// Arguments of `updateBrokerConfig`.
#[derive(Debug, Clone, Args)]
pub struct UpdateBrokerConfigArgs {
    #[command(flatten)]
    pub common: CommonArgs,
    #[command(flatten)]
    pub place: WhereArgs,
    /// Key.
    #[arg(short = 'k', long = "key")]
    pub key: String,
    /// Value.
    #[arg(short = 'v', long = "value")]
    pub value: String,
    /// With -c: followers too.
    #[arg(short = 'a', long = "updateAllBroker", default_value_t = false, action = ArgAction::Set)]
    pub all: bool,
}

/// Arguments of `wipeWritePerm` and `addWritePerm`.
#[derive(Debug, Clone, Args)]
pub struct BrokerNameArgs {
    #[command(flatten)]
    pub common: CommonArgs,
    /// Name of the broker group.
    #[arg(short = 'b', long = "brokerName", value_name = "NAME")]
    pub broker_name: String,
}

/// Arguments of `updateSubGroup`. `-o` is the order flag here, as in mqadmin.
#[derive(Debug, Clone, Args)]
pub struct UpdateSubGroupArgs {
    #[command(flatten)]
    pub common: LongArgs,
    #[command(flatten)]
    pub place: WhereArgs,
    /// Group.
    #[arg(short = 'g', long = "groupName", value_name = "GROUP")]
    pub group: String,
    /// Whether it may consume.
    #[arg(short = 's', long = "consumeEnable", value_name = "BOOL")]
    pub consume: Option<bool>,
    /// Whether it may begin at the minimum offset.
    #[arg(short = 'm', long = "consumeFromMinEnable", value_name = "BOOL")]
    pub from_min: Option<bool>,
    /// Whether it may consume by broadcast.
    #[arg(short = 'd', long = "consumeBroadcastEnable", value_name = "BOOL")]
    pub broadcast: Option<bool>,
    /// Whether it consumes in order.
    #[arg(short = 'o', long = "consumeMessageOrderly", value_name = "BOOL")]
    pub orderly: Option<bool>,
    /// Queues of its retry topic.
    #[arg(short = 'q', long = "retryQueueNums", value_name = "COUNT")]
    pub retry_queues: Option<i32>,
    /// Attempts before a message goes to the dead letter topic.
    #[arg(short = 'r', long = "retryMaxTimes", value_name = "COUNT")]
    pub retry_max: Option<i32>,
    /// How long a message waits before each attempt, such as
    /// `{"type":"EXPONENTIAL","exponentialRetryPolicy":{"initial":5000,"max":7200000,"multiplier":2}}`
    /// or `{"type":"CUSTOMIZED","customizedRetryPolicy":{"next":[1000,5000]}}`.
    #[arg(short = 'p', long = "groupRetryPolicy", value_name = "JSON")]
    pub retry_policy: Option<RetryPolicy>,
    /// Broker id to consume from.
    #[arg(short = 'i', long = "brokerId", value_name = "ID")]
    pub broker_id: Option<i64>,
    /// Broker id to consume from when far behind.
    #[arg(short = 'w', long = "whichBrokerWhenConsumeSlowly", value_name = "ID")]
    pub which_slow: Option<i64>,
    /// Whether members are told when others come or go.
    #[arg(short = 'a', long = "notifyConsumerIdsChanged", value_name = "BOOL")]
    pub notify: Option<bool>,
    /// Attributes, `+key=value,-key`.
    #[arg(long = "attributes", value_name = "LIST", allow_hyphen_values = true, value_parser = changes)]
    pub attributes: Option<AttributeChanges>,
}

/// Changes of attributes: `+key` with a value, `-key` with an empty one.
pub type AttributeChanges = BTreeMap<String, String>;

pub(super) fn changes(text: &str) -> Result<AttributeChanges, String> {
    let mut changes = AttributeChanges::new();
    for change in text.split(',') {
        let (key, value) = change.split_once('=').unwrap_or((change, ""));
        let wanted = if key.len() == change.len() { '-' } else { '+' };
        if !key.starts_with(wanted) || key.len() == 1 {
            return Err(format!("{change:?} is neither +key=value nor -key"));
        }
        if changes.insert(key.to_owned(), value.to_owned()).is_some() {
            return Err(format!("{key} is there twice"));
        }
    }
    Ok(changes)
}

/// Arguments of `deleteSubGroup`.
#[derive(Debug, Clone, Args)]
pub struct DeleteSubGroupArgs {
    #[command(flatten)]
    pub common: CommonArgs,
    #[command(flatten)]
    pub place: WhereArgs,
    /// Group.
    #[arg(short = 'g', long = "groupName", value_name = "GROUP")]
    pub group: String,
    /// Whether its offsets go too.
    #[arg(short = 'r', long = "removeOffset", default_value_t = false, action = ArgAction::Set)]
    pub remove_offset: bool,
}

/// Arguments of `resetOffsetByTime`. `-o` is an offset here, as in mqadmin.
#[derive(Debug, Clone, Args)]
pub struct ResetOffsetArgs {
    #[command(flatten)]
    pub common: LongArgs,
    /// Group.
    #[arg(short = 'g', long = "group")]
    pub group: String,
    /// Topic.
    #[arg(short = 't', long = "topic")]
    pub topic: String,
    /// `now`, milliseconds since 1970, or `yyyy-MM-dd#HH:mm:ss:SSS` in UTC.
    #[arg(short = 's', long = "timestamp", value_name = "TIME", allow_hyphen_values = true)]
    pub timestamp: String,
    /// Also forwards.
    #[arg(short = 'f', long = "force", default_value_t = true, action = ArgAction::Set)]
    pub force: bool,
    /// Only on this broker.
    #[arg(short = 'b', long = "broker", value_name = "ADDR")]
    pub broker: Option<String>,
    /// Only this queue.
    #[arg(short = 'q', long = "queue", value_name = "ID", requires = "broker")]
    pub queue: Option<i32>,
    /// This offset of the queue instead of one by time.
    #[arg(short = 'o', long = "offset", requires = "queue")]
    pub offset: Option<i64>,
    #[command(flatten)]
    pub light: LightQueueArgs,
}

/// Arguments of `skipAccumulatedMessage`.
#[derive(Debug, Clone, Args)]
pub struct SkipArgs {
    #[command(flatten)]
    pub common: CommonArgs,
    #[command(flatten)]
    pub light: LightQueueArgs,
    /// Group.
    #[arg(short = 'g', long = "group")]
    pub group: String,
    /// Topic.
    #[arg(short = 't', long = "topic")]
    pub topic: String,
    /// Also forwards.
    #[arg(short = 'f', long = "force", default_value_t = true, action = ArgAction::Set)]
    pub force: bool,
}

/// Arguments of `cloneGroupOffset`. `-o` means nothing here; mqadmin takes it.
#[derive(Debug, Clone, Args)]
pub struct CloneOffsetArgs {
    #[command(flatten)]
    pub common: LongArgs,
    /// Group to take the offsets of.
    #[arg(short = 's', long = "srcGroup", value_name = "GROUP")]
    pub from: String,
    /// Group to give them to.
    #[arg(short = 'd', long = "destGroup", value_name = "GROUP")]
    pub to: String,
    /// Topic.
    #[arg(short = 't', long = "topic")]
    pub topic: String,
    /// Taken and not used.
    #[arg(short = 'o', long = "offline", value_name = "BOOL", hide = true)]
    pub offline: Option<String>,
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn changes_of_attributes_are_pairs() {
        let pairs =
            |text: &str| changes(text).map(|changes| changes.into_iter().collect::<Vec<_>>());
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        assert_eq!(pairs("+a=1,-b").unwrap(), [pair("+a", "1"), pair("-b", "")]);
        for bad in ["", "a=1", "+a", "-a=1", "+=1", "-", "+a=1,", "+a=1,+a=2"] {
            assert!(changes(bad).is_err(), "{bad}");
        }
    }
}
