//! The fields of each request, typed.
//!
//! Invariant: a required field that is missing, or one that does not parse, is an error that names
//! it; an optional one has RocketMQ's default; unknown ones are ignored.

mod admin;
mod consume;
mod namesrv;
mod send;

pub use admin::*;
pub use consume::*;
pub use namesrv::*;
pub use send::*;

use super::encode::{ExtValue, ExtWriter};
use super::ext_fields::{ExtFields, FieldError, parse_bool, parse_i32, parse_i64};

/// A request header that is written as ext fields.
pub trait EncodeHeader {
    /// Writes every field that has a value.
    fn encode(&self, put: &mut dyn FieldSink);

    /// Into the fields of a command.
    fn fill(&self, fields: &mut ExtFields) {
        self.encode(fields);
    }

    /// A request of this code with these fields.
    fn request(&self, code: i32) -> super::RemotingCommand {
        let mut command = super::RemotingCommand::request(code);
        self.encode(&mut Fresh(&mut command.ext_fields));
        command
    }
}

/// Where fields are written to.
pub trait FieldSink {
    /// One field.
    fn text(&mut self, key: &str, value: &str);
}

impl FieldSink for ExtFields {
    fn text(&mut self, key: &str, value: &str) {
        self.insert(key, value);
    }
}

/// The fields of a new command: none of them can be there yet.
struct Fresh<'a>(&'a mut ExtFields);

impl FieldSink for Fresh<'_> {
    fn text(&mut self, key: &str, value: &str) {
        self.0.push(key, value);
    }
}

impl FieldSink for ExtWriter<'_> {
    fn text(&mut self, key: &str, value: &str) {
        self.put(key, value);
    }
}

/// A type a field may have.
trait FieldType: Sized {
    fn parse(field: &'static str, value: &str) -> Result<Option<Self>, FieldError>;
    fn write(&self, key: &'static str, sink: &mut dyn FieldSink);
}

macro_rules! field_type {
    ($type:ty, $parse:expr) => {
        impl FieldType for $type {
            fn parse(field: &'static str, value: &str) -> Result<Option<Self>, FieldError> {
                $parse(field, value)
            }
            fn write(&self, key: &'static str, sink: &mut dyn FieldSink) {
                self.with_text(|text| sink.text(key, text));
            }
        }
    };
}
field_type!(i32, parse_i32);
field_type!(i64, parse_i64);
field_type!(bool, parse_bool);
field_type!(String, |_, value: &str| Ok(Some(value.to_owned())));

/// Declares a header: each field is `required`, `optional` (an `Option`), or has a default.
macro_rules! request_header {
    (
        $(#[$doc:meta])*
        pub struct $name:ident {
            $($(#[$field_doc:meta])* $field:ident: $type:ty = $key:literal $kind:tt,)*
        }
    ) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct $name {
            $($(#[$field_doc])* pub $field: crate::remoting::header::request_header!(@type $type, $kind),)*
        }

        impl $name {
            /// Reads the fields of a request.
            ///
            /// # Errors
            /// The field that is missing or wrong.
            pub fn decode(
                fields: &crate::remoting::ExtFields,
            ) -> Result<Self, crate::remoting::FieldError> {
                Ok(Self {
                    $($field: {
                        let value = match fields.get($key) {
                            Some(text) => <$type as crate::remoting::header::FieldType>::parse($key, text)?,
                            None => None,
                        };
                        crate::remoting::header::request_header!(@value value, $key, $kind)
                    },)*
                })
            }
        }

        impl crate::remoting::header::EncodeHeader for $name {
            fn encode(&self, sink: &mut dyn crate::remoting::header::FieldSink) {
                use crate::remoting::header::FieldType as _;
                $(crate::remoting::header::request_header!(@write self.$field, $key, sink, $kind);)*
            }
        }
    };
    (@type $type:ty, optional) => { Option<$type> };
    (@type $type:ty, $kind:tt) => { $type };
    (@value $value:ident, $key:literal, optional) => { $value };
    (@value $value:ident, $key:literal, required) => {
        $value.ok_or(crate::remoting::FieldError::Missing { field: $key })?
    };
    (@value $value:ident, $key:literal, ($default:expr)) => { $value.unwrap_or($default) };
    (@write $self:ident.$field:ident, $key:literal, $sink:ident, optional) => {
        if let Some(value) = &$self.$field {
            value.write($key, $sink);
        }
    };
    (@write $self:ident.$field:ident, $key:literal, $sink:ident, $kind:tt) => {
        $self.$field.write($key, $sink);
    };
}
pub(crate) use request_header;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::protocol::code::request;

    #[test]
    fn headers_come_back() {
        let header = CreateTopicHeader {
            topic: "T".into(),
            default_topic: "TBW102".into(),
            read_queue_nums: 8,
            write_queue_nums: 4,
            perm: 6,
            topic_filter_type: "SINGLE_TAG".into(),
            topic_sys_flag: 0,
            order: true,
            attributes: Some("+message.type=NORMAL".into()),
            force: false,
        };
        let command = header.request(request::UPDATE_AND_CREATE_TOPIC);
        assert_eq!(command.code, 17);
        assert_eq!(command.ext_fields.get("order"), Some("true"));
        assert_eq!(CreateTopicHeader::decode(&command.ext_fields).unwrap(), header);
    }

    #[test]
    fn what_is_missing_is_named() {
        let mut fields = ExtFields::default();
        fields.insert("consumerGroup", "g");
        fields.insert("topic", "T");
        let error = QueryConsumerOffsetHeader::decode(&fields).unwrap_err();
        assert_eq!(error, FieldError::Missing { field: "queueId" });
        fields.insert("queueId", "");
        let error = QueryConsumerOffsetHeader::decode(&fields).unwrap_err();
        assert_eq!(error, FieldError::Missing { field: "queueId" });
        fields.insert("queueId", "1");
        let header = QueryConsumerOffsetHeader::decode(&fields).unwrap();
        assert_eq!(header.set_zero_if_not_found, None);
    }

    #[test]
    fn defaults_are_those_of_the_protocol() {
        let mut fields = ExtFields::default();
        fields.insert("topic", "T");
        fields.insert("queueId", 0);
        assert!(GetMaxOffsetHeader::decode(&fields).unwrap().committed);
        fields.insert("timestamp", 5);
        let search = SearchOffsetHeader::decode(&fields).unwrap();
        assert_eq!(search.boundary(), Boundary::Lower);
        fields.insert("boundaryType", "upper");
        assert_eq!(SearchOffsetHeader::decode(&fields).unwrap().boundary(), Boundary::Upper);
    }
}
