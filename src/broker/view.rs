//! Single messages: by where they are stored, or by a key.
//!
//! Any member answers these from what it has committed; a message once acknowledged may be missing
//! here for as long as this member is behind.

use bytes::{Bytes, BytesMut};
use raft_log::Position;

use super::answer::{Failure, Outcome, success, success_with};
use super::core::Core;
use super::fields::{flag, required, value};
use super::group::KeyQuery;
use crate::protocol::code::response;
use crate::remoting::RemotingCommand;

/// Messages with one unique key; clients look at the last of them.
const UNIQUE_KEY_MESSAGES_MAX: usize = 32;
/// Messages that one question may return.
const MESSAGES_MAX: usize = 1_000;
/// Bytes that one answer may hold, unless its first message alone is larger.
const ANSWER_BYTES_MAX: usize = 8 << 20;

/// The message stored at a position.
pub fn by_id(core: &Core, command: &RemotingCommand) -> Outcome {
    Ok(success_with(stored_at(core, value(command, "offset")?)?))
}

/// The record of the message that begins at an offset of the log.
pub fn stored_at(core: &Core, offset: i64) -> Result<Bytes, Failure> {
    let position = u64::try_from(offset).ok().map(Position);
    position.and_then(|position| core.view.message_at(position)).ok_or_else(|| {
        let remark = format!("can not find message by the offset: {offset}");
        Failure::new(response::SYSTEM_ERROR, remark)
    })
}

/// Messages of a topic with a key, stored within a span of time.
pub fn by_key(core: &Core, command: &RemotingCommand) -> Outcome {
    let topic = required(command, "topic")?;
    let key = required(command, "key")?;
    let wanted: i32 = value(command, "maxNum")?;
    let begin_ms: i64 = value(command, "beginTimestamp")?;
    let end_ms: i64 = value(command, "endTimestamp")?;
    let unique = flag(command, "_UNIQUE_KEY_QUERY").unwrap_or(false);
    let messages_max = match usize::try_from(wanted) {
        _ if unique => UNIQUE_KEY_MESSAGES_MAX,
        Ok(wanted) => wanted.clamp(1, MESSAGES_MAX),
        Err(_) => return Err(Failure::invalid(format!("maxNum cannot be {wanted}"))),
    };
    let query = KeyQuery { topic, key, messages: messages_max, begin_ms, end_ms };
    let found = core.view.query_keys(query)?;
    if found.records.is_empty() {
        let remark = "can not find message, maybe time range not correct";
        return Err(Failure::new(response::QUERY_NOT_FOUND, remark));
    }
    let mut answer = success();
    answer.ext_fields.insert("indexLastUpdateTimestamp", found.last_store_timestamp_ms);
    answer.ext_fields.insert("indexLastUpdatePhyoffset", found.last_position.0);
    answer.body = gather(&found.records);
    Ok(answer)
}

fn gather(records: &[Bytes]) -> Bytes {
    let mut body = BytesMut::new();
    for record in records {
        if !body.is_empty() && body.len() + record.len() > ANSWER_BYTES_MAX {
            break;
        }
        body.extend_from_slice(record);
    }
    body.freeze()
}
