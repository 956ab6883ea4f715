//! How long a failed message waits before each attempt, as `updateSubGroup` is told it.
//!
//! Invariant: what is not said is what RocketMQ takes for it, so that the same words store the same.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::protocol::group::GroupRetryPolicy;

/// The policy in force, and its settings.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RetryPolicy {
    #[serde(rename = "type")]
    policy_type: PolicyType,
    #[serde(skip_serializing_if = "Option::is_none")]
    exponential_retry_policy: Option<Exponential>,
    #[serde(skip_serializing_if = "Option::is_none")]
    customized_retry_policy: Option<Customized>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
enum PolicyType {
    Exponential,
    #[default]
    Customized,
}

/// Each wait is longer than the last one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct Exponential {
    #[serde(rename = "initial")]
    initial_ms: u64,
    #[serde(rename = "max")]
    max_ms: u64,
    multiplier: u64,
}

impl Default for Exponential {
    fn default() -> Self {
        Self { initial_ms: 5_000, max_ms: 7_200_000, multiplier: 2 }
    }
}

/// Each wait is named.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct Customized {
    #[serde(rename = "next")]
    waits_ms: Vec<u64>,
}

impl Default for Customized {
    fn default() -> Self {
        let seconds = [1, 5, 10, 30];
        let minutes = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 20, 30, 60, 120];
        let waits_s = seconds.into_iter().chain(minutes.map(|minutes| minutes * 60));
        Self { waits_ms: waits_s.map(|wait_s| wait_s * 1_000).collect() }
    }
}

impl FromStr for RetryPolicy {
    type Err = serde_json::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        serde_json::from_str(text)
    }
}

impl RetryPolicy {
    /// As a broker keeps it.
    pub(super) fn stored(&self) -> Result<GroupRetryPolicy, serde_json::Error> {
        serde_json::from_value(serde_json::to_value(self)?)
    }
}

/// As Java writes it.
impl fmt::Display for RetryPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let policy_type = match self.policy_type {
            PolicyType::Exponential => "EXPONENTIAL",
            PolicyType::Customized => "CUSTOMIZED",
        };
        let exponential = self.exponential_retry_policy.as_ref().map(|policy| {
            let Exponential { initial_ms, max_ms, multiplier } = policy;
            format!(
                "ExponentialRetryPolicy{{initial={initial_ms}, max={max_ms}, \
                 multiplier={multiplier}}}"
            )
        });
        let customized = self.customized_retry_policy.as_ref();
        let customized =
            customized.map(|policy| format!("CustomizedRetryPolicy{{next={:?}}}", policy.waits_ms));
        write!(
            f,
            "GroupRetryPolicy{{type={policy_type}, exponentialRetryPolicy={}, \
             customizedRetryPolicy={}}}",
            exponential.as_deref().unwrap_or("null"),
            customized.as_deref().unwrap_or("null"),
        )
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::protocol::fastjson::JsonBody as _;
    use crate::protocol::group::SubscriptionGroupConfig;

    #[test]
    fn what_is_not_said_is_what_rocketmq_takes() {
        let text = r#"{"type":"EXPONENTIAL","exponentialRetryPolicy":{"initial":7000}}"#;
        let policy: RetryPolicy = text.parse().unwrap();
        assert_eq!(
            policy.to_string(),
            "GroupRetryPolicy{type=EXPONENTIAL, exponentialRetryPolicy=ExponentialRetryPolicy{\
             initial=7000, max=7200000, multiplier=2}, customizedRetryPolicy=null}"
        );
        let policy: RetryPolicy = r#"{"customizedRetryPolicy":{}}"#.parse().unwrap();
        let words = policy.to_string();
        assert!(words.contains("type=CUSTOMIZED, exponentialRetryPolicy=null"), "{words}");
        assert!(words.contains("next=[1000, 5000, 10000, 30000, 60000, "), "{words}");
        assert!(words.contains(", 1800000, 3600000, 7200000]"), "{words}");
        for bad in [r#"{"type":"LINEAR"}"#, "5s"] {
            assert!(bad.parse::<RetryPolicy>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_broker_is_told_the_same() {
        let text = r#"{"type":"CUSTOMIZED","customizedRetryPolicy":{"next":[1000,5000]}}"#;
        let stored = text.parse::<RetryPolicy>().unwrap().stored().unwrap();
        let group = SubscriptionGroupConfig {
            group_retry_policy: stored,
            ..SubscriptionGroupConfig::new("g")
        };
        assert!(String::from_utf8_lossy(&group.encode()).contains(text));
        let usual = RetryPolicy::default().stored().unwrap();
        assert_eq!(usual, SubscriptionGroupConfig::default().group_retry_policy);
    }
}
