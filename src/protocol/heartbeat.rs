//! What a client tells every broker each 30 seconds: who it is, what it produces, what it consumes.
//!
//! Invariant: all official clients' spellings are read: enums as names (Java, Go) or ordinals (C++),
//! versions and codes as numbers or text (Go, C++), sets that are absent (C++).

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::fastjson::JsonBody;
use super::lenient::{self, wire_enum};
use super::tags;

/// Subscribes to everything.
pub const SUBSCRIBE_ALL: &str = "*";
/// Filter by tag.
pub const EXPRESSION_TAG: &str = "TAG";
/// Filter by an SQL expression over properties.
pub const EXPRESSION_SQL92: &str = "SQL92";

wire_enum! {
    /// How a group gets its messages.
    pub enum ConsumeType {
        /// Pull, by the application.
        Actively = 0 "CONSUME_ACTIVELY",
        /// Push, which is a pull loop inside the client.
        Passively = 1 "CONSUME_PASSIVELY",
        /// Pop.
        Pop = 2 "CONSUME_POP",
    }
    default Passively
}

wire_enum! {
    /// Whether each message goes to one member or to all.
    pub enum MessageModel {
        /// To all.
        Broadcasting = 0 "BROADCASTING",
        /// To one.
        Clustering = 1 "CLUSTERING",
    }
    default Clustering
}

wire_enum! {
    /// Where a group without committed offsets begins.
    pub enum ConsumeFromWhere {
        /// At the end.
        LastOffset = 0 "CONSUME_FROM_LAST_OFFSET",
        /// Obsolete.
        LastOffsetAndFromMinWhenBootFirst = 1 "CONSUME_FROM_LAST_OFFSET_AND_FROM_MIN_WHEN_BOOT_FIRST",
        /// Obsolete.
        MinOffset = 2 "CONSUME_FROM_MIN_OFFSET",
        /// Obsolete.
        MaxOffset = 3 "CONSUME_FROM_MAX_OFFSET",
        /// At the beginning.
        FirstOffset = 4 "CONSUME_FROM_FIRST_OFFSET",
        /// At a time.
        Timestamp = 5 "CONSUME_FROM_TIMESTAMP",
    }
    default LastOffset
}

/// What a group reads from one topic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SubscriptionData {
    /// Obsolete.
    pub class_filter_mode: bool,
    /// Hashes of the tags.
    #[serde(deserialize_with = "lenient::integers")]
    pub code_set: BTreeSet<i32>,
    /// [`EXPRESSION_TAG`] or [`EXPRESSION_SQL92`].
    #[serde(deserialize_with = "expression_type")]
    pub expression_type: String,
    /// The expression.
    #[serde(deserialize_with = "lenient::null_default")]
    pub sub_string: String,
    /// Newer replaces older.
    #[serde(deserialize_with = "lenient::integer")]
    pub sub_version: i64,
    /// The tags.
    #[serde(deserialize_with = "lenient::null_default")]
    pub tags_set: BTreeSet<String>,
    /// Topic.
    #[serde(deserialize_with = "lenient::null_default")]
    pub topic: String,
}

fn expression_type<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    Ok(text.filter(|text| !text.is_empty()).unwrap_or_else(|| EXPRESSION_TAG.to_owned()))
}

impl Default for SubscriptionData {
    fn default() -> Self {
        Self {
            class_filter_mode: false,
            code_set: BTreeSet::new(),
            expression_type: EXPRESSION_TAG.to_owned(),
            sub_string: String::new(),
            sub_version: 0,
            tags_set: BTreeSet::new(),
            topic: String::new(),
        }
    }
}

/// Why a subscription text is not acceptable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the subscription `{0}` names no tag")]
pub struct SubscriptionError(pub String);

impl SubscriptionData {
    /// From a tag expression: `*`, empty, or `tag1 || tag2`.
    ///
    /// # Errors
    /// When it has separators but no tag.
    pub fn from_tags(
        topic: impl Into<String>,
        expression: &str,
        sub_version: i64,
    ) -> Result<Self, SubscriptionError> {
        let mut data = Self { topic: topic.into(), sub_version, ..Self::default() };
        if expression.trim().is_empty() || expression == SUBSCRIBE_ALL {
            data.sub_string = SUBSCRIBE_ALL.to_owned();
            return Ok(data);
        }
        data.sub_string = expression.to_owned();
        for tag in tags::split_expression(expression) {
            data.tags_set.insert(tag.to_owned());
            data.code_set.insert(tags::java_string_hash(tag));
        }
        if data.tags_set.is_empty() {
            return Err(SubscriptionError(expression.to_owned()));
        }
        Ok(data)
    }

    /// Whether a message with this tag hash passes. Only a guess: clients check the tag itself.
    pub fn matches(&self, tags_code: i64) -> bool {
        self.sub_string == SUBSCRIBE_ALL
            || i32::try_from(tags_code).is_ok_and(|code| self.code_set.contains(&code))
    }

    /// Whether it filters by tag.
    pub fn is_tag_expression(&self) -> bool {
        self.expression_type == EXPRESSION_TAG
    }
}

/// A group this client produces for.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ProducerData {
    /// Name.
    #[serde(deserialize_with = "lenient::null_default")]
    pub group_name: String,
}

/// A group this client consumes in.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConsumerData {
    /// Where a new group begins.
    pub consume_from_where: ConsumeFromWhere,
    /// Push, pull or pop.
    pub consume_type: ConsumeType,
    /// Name.
    #[serde(deserialize_with = "lenient::null_default")]
    pub group_name: String,
    /// One member or all.
    pub message_model: MessageModel,
    /// What it reads.
    #[serde(deserialize_with = "lenient::null_default")]
    pub subscription_data_set: Vec<SubscriptionData>,
    /// Obsolete.
    pub unit_mode: bool,
}

/// The body of a heartbeat.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HeartbeatData {
    /// Unique per client process and instance.
    #[serde(rename = "clientID", deserialize_with = "lenient::null_default")]
    pub client_id: String,
    /// Groups it consumes in.
    #[serde(deserialize_with = "lenient::null_default")]
    pub consumer_data_set: Vec<ConsumerData>,
    /// Hash over all of it, zero for clients that do not compute one.
    #[serde(deserialize_with = "lenient::integer")]
    pub heartbeat_fingerprint: i64,
    /// Groups it produces for.
    #[serde(deserialize_with = "lenient::null_default")]
    pub producer_data_set: Vec<ProducerData>,
    /// Subscriptions were left out because nothing changed.
    pub without_sub: bool,
}

impl JsonBody for HeartbeatData {
    const WHAT: &'static str = "heartbeat";
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn java_heartbeat() {
        let text = r#"{"clientID":"10.0.0.9@31337#2034567890123","consumerDataSet":[{"consumeFromWhere":"CONSUME_FROM_LAST_OFFSET","consumeType":"CONSUME_PASSIVELY","groupName":"g1","messageModel":"CLUSTERING","subscriptionDataSet":[{"classFilterMode":false,"codeSet":[2598919],"expressionType":"TAG","subString":"TagA","subVersion":1700000000001,"tagsSet":["TagA"],"topic":"T1"}],"unitMode":false}],"heartbeatFingerprint":0,"producerDataSet":[{"groupName":"pg1"}],"withoutSub":false}"#;
        let data = HeartbeatData::decode(text.as_bytes()).unwrap();
        assert_eq!(data.encode(), text, "written in the same form");
        let subscription = &data.consumer_data_set[0].subscription_data_set[0];
        assert!(subscription.matches(2_598_919));
        assert!(!subscription.matches(1));
        assert_eq!(
            *subscription,
            SubscriptionData::from_tags("T1", "TagA", 1_700_000_000_001).unwrap()
        );
    }

    #[test]
    fn cpp_heartbeat_has_ordinals_texts_and_holes() {
        let text = br#"{"clientID":"10.0.0.9@p","consumerDataSet":[{"consumeFromWhere":4,"consumeType":1,"groupName":"g1","messageModel":1,"subscriptionDataSet":[{"subString":"*","subVersion":"1700000000000","topic":"T1"}]}]}"#;
        let data = HeartbeatData::decode(text).unwrap();
        let consumer = &data.consumer_data_set[0];
        assert_eq!(consumer.consume_from_where, ConsumeFromWhere::FirstOffset);
        assert_eq!(consumer.consume_type, ConsumeType::Passively);
        assert_eq!(consumer.message_model, MessageModel::Clustering);
        let subscription = &consumer.subscription_data_set[0];
        assert_eq!(subscription.sub_version, 1_700_000_000_000);
        assert!(subscription.is_tag_expression());
        assert!(subscription.matches(-5));
        assert!(data.producer_data_set.is_empty());
    }

    #[test]
    fn go_heartbeat_has_codes_as_text() {
        let text = br#"{"clientID":"10.0.0.9@1","producerDataSet":[],"consumerDataSet":[{"groupName":"g","consumeType":"CONSUME_PASSIVELY","messageModel":"CLUSTERING","consumeFromWhere":"CONSUME_FROM_FIRST_OFFSET","subscriptionDataSet":[{"classFilterMode":false,"topic":"T","subString":"a || b","tagsSet":["a","b"],"codeSet":["97","98"],"subVersion":1700000000000000000,"expressionType":""}],"unitMode":false}]}"#;
        let data = HeartbeatData::decode(text).unwrap();
        let subscription = &data.consumer_data_set[0].subscription_data_set[0];
        assert_eq!(subscription.code_set, BTreeSet::from([97, 98]));
        assert!(subscription.matches(tags::tags_code("a")));
        assert!(subscription.is_tag_expression());
    }

    #[test]
    fn nulls_and_unknown_keys_are_forgiven_nonsense_is_not() {
        let data = HeartbeatData::decode(
            br#"{"clientID":null,"producerDataSet":null,"consumerDataSet":[{"subscriptionDataSet":null,"x":{}}]}"#,
        )
        .unwrap();
        assert_eq!(data.consumer_data_set.len(), 1);
        assert!(HeartbeatData::decode(b"").is_err());
        assert!(HeartbeatData::decode(b"[]x").is_err());
        assert!(
            HeartbeatData::decode(br#"{"consumerDataSet":[{"consumeType":"NO_SUCH"}]}"#).is_err()
        );
    }

    #[test]
    fn expressions_without_a_tag_are_refused() {
        assert!(SubscriptionData::from_tags("T", "||", 0).is_err());
        assert_eq!(SubscriptionData::from_tags("T", "", 0).unwrap().sub_string, "*");
    }
}
