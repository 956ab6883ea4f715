//! Bits of a message's `sysFlag` and of a pull request's `sysFlag`.
//!
//! Invariant: the broker changes only the address bits and the transaction bits; compression bits
//! travel with the body untouched.

/// The body is compressed.
pub const COMPRESSED: i32 = 0x1;
/// The message carries several tags.
pub const MULTI_TAGS: i32 = 0x2;
/// A half message of a transaction.
pub const TRANSACTION_PREPARED: i32 = 0x4;
/// A committed transaction message.
pub const TRANSACTION_COMMIT: i32 = 0x8;
/// A rolled back transaction message; also the mask of the transaction's type.
pub const TRANSACTION_ROLLBACK: i32 = 0xC;
/// The born host takes 20 bytes instead of 8.
pub const BORN_HOST_V6: i32 = 0x10;
/// The store host takes 20 bytes instead of 8.
pub const STORE_HOST_V6: i32 = 0x20;
/// Mask of the compression type: 0 zlib, 0x100 LZ4, 0x200 ZSTD, 0x300 zlib.
pub const COMPRESSION_TYPE_MASK: i32 = 0x700;

/// Bits of a pull request.
pub mod pull {
    /// `commitOffset` is to be committed.
    pub const COMMIT_OFFSET: i32 = 1;
    /// The broker may hold the request until messages arrive.
    pub const SUSPEND: i32 = 2;
    /// `subscription` and `expressionType` are carried.
    pub const SUBSCRIPTION: i32 = 4;
    /// A filter class is used (obsolete).
    pub const CLASS_FILTER: i32 = 8;
    /// Sent by a lite pull consumer.
    pub const LITE_PULL: i32 = 16;
}
