//! What became of a message that a client was told to consume at once.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::protocol::fastjson::{self, BodyError};
use crate::protocol::lenient;

/// What the client answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConsumedDirectly {
    /// Whether its offset moves with it.
    pub auto_commit: bool,
    /// `CR_SUCCESS`, `CR_LATER`, `CR_THROW_EXCEPTION`, ...; none when the listener says none.
    pub consume_result: Option<String>,
    /// Whether it consumes in order.
    pub order: bool,
    /// Why it failed.
    pub remark: Option<String>,
    /// How long the listener took.
    #[serde(deserialize_with = "lenient::integer")]
    pub spent_time_mills: i64,
}

impl Default for ConsumedDirectly {
    fn default() -> Self {
        Self {
            auto_commit: true,
            consume_result: None,
            order: false,
            remark: None,
            spent_time_mills: 0,
        }
    }
}

impl ConsumedDirectly {
    /// Reads what a client answered.
    ///
    /// # Errors
    /// When it is something else.
    pub fn decode(body: &[u8]) -> Result<Self, BodyError> {
        fastjson::decode(body, "result of a direct consumption")
    }
}

/// As Java writes it.
impl fmt::Display for ConsumedDirectly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let or_null = |text: &Option<String>| text.clone().unwrap_or_else(|| "null".to_owned());
        write!(
            f,
            "ConsumeMessageDirectlyResult [order={}, autoCommit={}, consumeResult={}, remark={}, \
             spentTimeMills={}]",
            self.order,
            self.auto_commit,
            or_null(&self.consume_result),
            or_null(&self.remark),
            self.spent_time_mills
        )
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_and_written_as_java_does() {
        let body =
            br#"{"autoCommit":true,"consumeResult":"CR_SUCCESS","order":false,"spentTimeMills":3}"#;
        assert_eq!(
            ConsumedDirectly::decode(body).unwrap().to_string(),
            "ConsumeMessageDirectlyResult [order=false, autoCommit=true, \
             consumeResult=CR_SUCCESS, remark=null, spentTimeMills=3]"
        );
    }
}
