//! A request or response: what stands in a frame's header, and its body.
//!
//! Invariant: a decoded command refers to the read buffer it came from; [`RemotingCommand::detached`]
//! makes one that can be kept without keeping that buffer.

use bytes::Bytes;

use super::encode::ExtValue;
use super::ext_fields::ExtFields;

/// Version this implementation claims: that of RocketMQ 5.3.3. Clients enable features by it.
pub const VERSION: i32 = 479;
/// Flag bit of a response.
pub const FLAG_RESPONSE: i32 = 1;
/// Flag bit of a request that is not to be answered.
pub const FLAG_ONEWAY: i32 = 2;

/// The language a peer is written in, by its code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Language(pub u8);

const LANGUAGES: [&str; 14] = [
    "JAVA", "CPP", "DOTNET", "PYTHON", "DELPHI", "ERLANG", "RUBY", "OTHER", "HTTP", "GO", "PHP",
    "OMS", "RUST", "NODE_JS",
];

impl Language {
    /// What we call ourselves: the only name every client knows.
    pub const JAVA: Self = Self(0);
    /// C++, also Python through it.
    pub const CPP: Self = Self(1);
    /// Anything that has no code.
    pub const OTHER: Self = Self(7);
    /// Go.
    pub const GO: Self = Self(9);

    /// By its name in a JSON header.
    pub fn from_name(name: &str) -> Self {
        let code = LANGUAGES.iter().position(|known| *known == name);
        code.and_then(|code| u8::try_from(code).ok()).map_or(Self::OTHER, Self)
    }

    /// Its name in a JSON header.
    pub fn name(self) -> &'static str {
        LANGUAGES.get(usize::from(self.0)).copied().unwrap_or("OTHER")
    }
}

/// How a header is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SerializeType {
    /// As JSON; every client reads it.
    #[default]
    Json,
    /// In binary; only Java and Go read it.
    RocketMq,
}

impl SerializeType {
    /// By the top byte of a frame's header word.
    pub fn from_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Json),
            1 => Some(Self::RocketMq),
            _ => None,
        }
    }

    /// The top byte of a frame's header word.
    pub fn code(self) -> u8 {
        match self {
            Self::Json => 0,
            Self::RocketMq => 1,
        }
    }
}

/// A request or a response.
#[derive(Debug, Clone)]
pub struct RemotingCommand {
    /// Request code, or response code if the response bit is set.
    pub code: i32,
    /// Language of the sender.
    pub language: Language,
    /// Version of the sender.
    pub version: i32,
    /// Pairs a response with its request.
    pub opaque: i32,
    /// [`FLAG_RESPONSE`] and [`FLAG_ONEWAY`].
    pub flag: i32,
    /// Text for humans.
    pub remark: Option<String>,
    /// Named fields.
    pub ext_fields: ExtFields,
    /// Body.
    pub body: Bytes,
    /// How the header was or is to be written.
    pub serialize_type: SerializeType,
}

impl RemotingCommand {
    /// A request without fields and body. Its opaque is set when it is sent.
    pub fn request(code: i32) -> Self {
        Self {
            code,
            language: Language::JAVA,
            version: VERSION,
            opaque: 0,
            flag: 0,
            remark: None,
            ext_fields: ExtFields::default(),
            body: Bytes::new(),
            serialize_type: SerializeType::Json,
        }
    }

    /// A response without fields and body. Opaque and header form are set when it is sent.
    pub fn response(code: i32) -> Self {
        Self { flag: FLAG_RESPONSE, ..Self::request(code) }
    }

    /// A response that tells what went wrong.
    pub fn error(code: i32, remark: impl Into<String>) -> Self {
        Self::response(code).with_remark(remark)
    }

    /// Sets the remark.
    #[must_use]
    pub fn with_remark(mut self, remark: impl Into<String>) -> Self {
        self.remark = Some(remark.into());
        self
    }

    /// Sets one field.
    #[must_use]
    pub fn with_ext(mut self, key: &str, value: impl ExtValue) -> Self {
        self.ext_fields.insert(key, value);
        self
    }

    /// Sets the body.
    #[must_use]
    pub fn with_body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// Whether it answers a request.
    pub fn is_response(&self) -> bool {
        self.flag & FLAG_RESPONSE != 0
    }

    /// Whether it must not be answered.
    pub fn is_oneway(&self) -> bool {
        self.flag & FLAG_ONEWAY != 0
    }

    /// The same command with memory of its own: for one that outlives the handling of its
    /// neighbours, since a decoded command keeps the whole read buffer alive.
    #[must_use]
    pub fn detached(&self) -> Self {
        Self {
            remark: self.remark.clone(),
            ext_fields: self.ext_fields.detached(),
            body: Bytes::copy_from_slice(&self.body),
            ..*self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn languages_have_their_codes() {
        assert_eq!(Language::from_name("GO"), Language::GO);
        assert_eq!(Language::from_name("NODE_JS").0, 13);
        assert_eq!(Language::from_name("KLINGON"), Language::OTHER);
        assert_eq!(Language(200).name(), "OTHER");
        assert_eq!(Language::CPP.name(), "CPP");
    }
}
