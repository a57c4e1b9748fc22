//! Signature check of pushed files: a file without the signature of a trusted key is refused before it is parsed.

use std::collections::BTreeSet;
use std::path::Path;

use super::file_content::FileContent;
use super::read_cache::ReadCache;
use super::scan::{Check, ScanRequest, ScannedFile, ScannedFiles, Signature, read, scan};
use crate::rules::{TrustedKey, check_signature};

/// Trusted keys, and the verified files of the last scan.
#[derive(Debug)]
pub struct SignatureVerifier {
    keys: Vec<TrustedKey>,
    /// SHA-256 of each verified file: a writer that replaces the signature before the file removes the signature of the
    /// file in force.
    verified: BTreeSet<[u8; 32]>,
}

impl SignatureVerifier {
    /// Without keys, no file needs a signature.
    #[must_use]
    pub fn new(keys: Vec<TrustedKey>) -> Self {
        Self { keys, verified: BTreeSet::new() }
    }

    /// Reads the files through the cache; retains no byte of a file that no trusted key signed.
    pub fn scan(&mut self, request: &ScanRequest<'_>, cache: &mut ReadCache) -> ScannedFiles {
        let mut verified = BTreeSet::new();
        let snapshot = self.checked(&mut verified, |check| scan(request, cache, check));
        self.verified = verified;
        snapshot
    }

    /// Reads one file by its path.
    pub fn read(&mut self, path: &Path) -> ScannedFile {
        self.checked(&mut BTreeSet::new(), |check| read(path, check))
    }

    fn checked<T>(&self, verified: &mut BTreeSet<[u8; 32]>, read: impl FnOnce(Option<Check<'_>>) -> T) -> T {
        if self.keys.is_empty() {
            return read(None);
        }
        let mut check = |content: &FileContent, signature: &Signature| {
            let digest = content.sha256();
            if !self.verified.contains(&digest) {
                let signature = signature.as_ref().map_err(Clone::clone)?;
                check_signature(&self.keys, content, signature.as_deref())?;
            }
            verified.insert(digest);
            Ok(())
        };
        read(Some(&mut check))
    }
}
