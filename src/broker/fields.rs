//! Request fields as values, with a failure that names the field.

use std::str::FromStr;

use super::answer::Failure;
use crate::remoting::RemotingCommand;

/// A text that must be there and not be blank.
pub fn required<'a>(command: &'a RemotingCommand, name: &str) -> Result<&'a str, Failure> {
    match command.ext_fields.get(name) {
        Some(text) if !text.trim().is_empty() => Ok(text),
        _ => Err(Failure::invalid(format!("the request lacks the field {name}"))),
    }
}

/// A value that must be there.
pub fn value<T: FromStr>(command: &RemotingCommand, name: &str) -> Result<T, Failure> {
    optional(command, name)?
        .ok_or_else(|| Failure::invalid(format!("the request lacks the field {name}")))
}

/// A value that may be absent, but not malformed.
pub fn optional<T: FromStr>(command: &RemotingCommand, name: &str) -> Result<Option<T>, Failure> {
    let Some(text) = command.ext_fields.get(name) else { return Ok(None) };
    let parsed = text.trim().parse();
    parsed.map(Some).map_err(|_| Failure::invalid(format!("the field {name} cannot be {text:?}")))
}

/// A switch that may be absent; anything but `true` is off.
pub fn flag(command: &RemotingCommand, name: &str) -> Option<bool> {
    command.ext_fields.get(name).map(|text| text.trim().eq_ignore_ascii_case("true"))
}
