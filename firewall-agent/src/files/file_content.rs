//! Content of a pushed file.

use std::ops::Deref;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

/// The bytes of a file, shared by all who use them, with their digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileContent {
    bytes: Arc<[u8]>,
    sha256: [u8; 32],
}

impl FileContent {
    /// The bytes, without a copy.
    #[must_use]
    pub fn shared(&self) -> Arc<[u8]> {
        Arc::clone(&self.bytes)
    }

    /// SHA-256 of the bytes.
    #[must_use]
    pub fn sha256(&self) -> [u8; 32] {
        self.sha256
    }
}

impl From<Vec<u8>> for FileContent {
    fn from(bytes: Vec<u8>) -> Self {
        Self { sha256: Sha256::digest(&bytes).into(), bytes: bytes.into() }
    }
}

impl Deref for FileContent {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}
