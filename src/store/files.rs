//! The directory of derived files.
//!
//! Invariant: a file appears under its name only when it was written to its end. It is not synced:
//! what a power failure leaves of it fails its checksum and is made again.

use bytes::Bytes;

use super::StoreError;

/// Whole files, written once.
pub trait DerivedFiles: Send + Sync {
    /// Names of all files.
    ///
    /// # Errors
    /// When the directory cannot be read.
    fn list(&self) -> Result<Vec<String>, StoreError>;

    /// Writes a file under a temporary name and renames it.
    ///
    /// # Errors
    /// When the disk refuses; nothing is left under `name`.
    fn write(&self, name: &str, content: &[u8]) -> Result<(), StoreError>;

    /// The file's content, mapped where possible.
    ///
    /// # Errors
    /// When it cannot be opened.
    fn open(&self, name: &str) -> Result<Bytes, StoreError>;

    /// Removes a file; readers keep what they opened.
    ///
    /// # Errors
    /// When the disk refuses.
    fn remove(&self, name: &str) -> Result<(), StoreError>;
}
