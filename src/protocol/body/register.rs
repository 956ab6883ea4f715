//! What a broker tells the NameServer: its topics and the version of their table.
//!
//! Invariant: a compressed registration is inflated into a bounded buffer; a broker of any version
//! from 3.0.11 on is understood, with or without the flag that says it compressed.

use std::collections::BTreeMap;
use std::io::Read;

use bytes::{Buf, Bytes};
use serde::{Deserialize, Serialize};

use crate::protocol::data_version::DataVersion;
use crate::protocol::fastjson::{self, BodyError, JsonBody};
use crate::protocol::lenient;
use crate::protocol::topic::{TopicConfig, TopicFilterType};

/// A topic takes about 200 bytes: enough for half a million of them.
const INFLATED_BYTES_MAX: u64 = 128 << 20;

/// Answer of 21, and the main part of a registration.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TopicConfigSerializeWrapper {
    /// Version of the table.
    #[serde(deserialize_with = "lenient::null_default")]
    pub data_version: DataVersion,
    /// Version of the static topics' table.
    #[serde(deserialize_with = "lenient::null_default")]
    pub mapping_data_version: DataVersion,
    /// By name.
    #[serde(deserialize_with = "lenient::null_default")]
    pub topic_config_table: BTreeMap<String, TopicConfig>,
    /// Static topics; kept as they came.
    #[serde(deserialize_with = "lenient::null_default")]
    pub topic_queue_mapping_detail_map: BTreeMap<String, serde_json::Value>,
    /// Static topics; kept as they came.
    #[serde(deserialize_with = "lenient::null_default")]
    pub topic_queue_mapping_info_map: BTreeMap<String, serde_json::Value>,
}

impl JsonBody for TopicConfigSerializeWrapper {
    const WHAT: &'static str = "table of topics";
}

/// Body of 18: topics to be stored.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TopicConfigList {
    /// Their settings; attributes are changes.
    #[serde(deserialize_with = "lenient::null_default")]
    pub topic_config_list: Vec<TopicConfig>,
}

impl JsonBody for TopicConfigList {
    const WHAT: &'static str = "list of topics";
}

/// Body of 103.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RegisterBrokerBody {
    /// Obsolete.
    #[serde(deserialize_with = "lenient::null_default")]
    pub filter_server_list: Vec<String>,
    /// The broker's topics.
    #[serde(deserialize_with = "lenient::null_default")]
    pub topic_config_serialize_wrapper: TopicConfigSerializeWrapper,
}

impl JsonBody for RegisterBrokerBody {
    const WHAT: &'static str = "registration of a broker";
}

impl RegisterBrokerBody {
    /// Reads a registration, plain or compressed. Some Java brokers compress without saying so,
    /// therefore the flag is only where reading starts.
    ///
    /// # Errors
    /// When it is neither.
    pub fn decode_any(body: &[u8], compressed: bool) -> Result<Self, BodyError> {
        if compressed {
            return Self::decode_compressed(body);
        }
        Self::decode(body).or_else(|plain| Self::decode_compressed(body).map_err(|_| plain))
    }

    fn decode_compressed(body: &[u8]) -> Result<Self, BodyError> {
        let mut inflated = Vec::new();
        let mut decoder = flate2::read::ZlibDecoder::new(body).take(INFLATED_BYTES_MAX + 1);
        decoder
            .read_to_end(&mut inflated)
            .map_err(|error| BodyError::Compressed(error.to_string()))?;
        if inflated.len() as u64 > INFLATED_BYTES_MAX {
            return Err(BodyError::Compressed(format!("larger than {INFLATED_BYTES_MAX} bytes")));
        }
        let mut rest = Bytes::from(inflated);
        let mut wrapper = TopicConfigSerializeWrapper {
            data_version: DataVersion::decode(&sized(&mut rest)?)?,
            ..TopicConfigSerializeWrapper::default()
        };
        let topics = rest.try_get_i32().map_err(|_| cut())?;
        for _ in 0..topics {
            let text = sized(&mut rest)?;
            let topic =
                std::str::from_utf8(&text).ok().and_then(topic_from_text).ok_or_else(|| {
                    BodyError::Compressed(
                        "a topic is not `name read write perm filterType`".to_owned(),
                    )
                })?;
            wrapper.topic_config_table.insert(topic.topic_name.clone(), topic);
        }
        let filter_server_list: Option<Vec<String>> =
            fastjson::decode(&sized(&mut rest)?, "list of filter servers")?;
        // What follows describes static topics, which this NameServer does not serve.
        Ok(Self {
            filter_server_list: filter_server_list.unwrap_or_default(),
            topic_config_serialize_wrapper: wrapper,
        })
    }
}

fn cut() -> BodyError {
    BodyError::Compressed("it ends too early".to_owned())
}

fn sized(rest: &mut Bytes) -> Result<Bytes, BodyError> {
    let length = usize::try_from(rest.try_get_i32().map_err(|_| cut())?).map_err(|_| cut())?;
    if length > rest.len() { Err(cut()) } else { Ok(rest.split_to(length)) }
}

/// `name read write perm filterType attributesJson`, the last one optional.
fn topic_from_text(text: &str) -> Option<TopicConfig> {
    let mut words = text.splitn(6, ' ');
    Some(TopicConfig {
        topic_name: words.next().filter(|name| !name.is_empty())?.to_owned(),
        read_queue_nums: words.next()?.parse().ok()?,
        write_queue_nums: words.next()?.parse().ok()?,
        perm: words.next()?.parse().ok()?,
        topic_filter_type: TopicFilterType::from_name(words.next()?).unwrap_or_default(),
        attributes: words
            .next()
            .and_then(|json| serde_json::from_str(json).ok())
            .unwrap_or_default(),
        ..TopicConfig::default()
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::io::Write;

    fn deflate(parts: &[&[u8]]) -> Vec<u8> {
        let mut encoder =
            flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
        parts.iter().for_each(|part| encoder.write_all(part).unwrap());
        encoder.finish().unwrap()
    }

    fn with_length(text: &str) -> Vec<u8> {
        let mut out = i32::try_from(text.len()).unwrap().to_be_bytes().to_vec();
        out.extend_from_slice(text.as_bytes());
        out
    }

    #[test]
    fn plain_registration_comes_back() {
        let mut body = RegisterBrokerBody::default();
        let table = &mut body.topic_config_serialize_wrapper.topic_config_table;
        table.insert("T".into(), TopicConfig::new("T", 8, 6));
        let text = body.encode();
        assert!(text.starts_with(
            br#"{"filterServerList":[],"topicConfigSerializeWrapper":{"dataVersion":{"counter":0"#
        ));
        assert_eq!(RegisterBrokerBody::decode_any(&text, false).unwrap(), body);
    }

    #[test]
    fn compressed_registration_is_read_with_and_without_its_flag() {
        let body = deflate(&[
            &with_length(r#"{"counter":3,"stateVersion":0,"timestamp":5}"#),
            &2i32.to_be_bytes(),
            &with_length("T 8 4 6 SINGLE_TAG"),
            &with_length(r#"U 1 1 7 MULTI_TAG {"message.type":"NORMAL"}"#),
            &with_length("[]"),
            &0i32.to_be_bytes(),
        ]);
        for flag in [true, false] {
            let read = RegisterBrokerBody::decode_any(&body, flag).unwrap();
            let wrapper = read.topic_config_serialize_wrapper;
            assert_eq!(wrapper.data_version.counter, 3);
            assert_eq!(wrapper.topic_config_table["T"].write_queue_nums, 4);
            assert_eq!(wrapper.topic_config_table["U"].attributes["message.type"], "NORMAL");
        }
    }

    #[test]
    fn cut_registrations_are_refused() {
        let body =
            deflate(&[&with_length("{}"), &2i32.to_be_bytes(), &with_length("T 8 4 6 SINGLE_TAG")]);
        assert!(RegisterBrokerBody::decode_any(&body, true).is_err());
        assert!(RegisterBrokerBody::decode_any(b"junk", true).is_err());
        assert!(RegisterBrokerBody::decode_any(b"junk", false).is_err());
    }
}
