//! Which files are taken at all, by who signed them.

use std::collections::BTreeSet;

use sha2::{Digest as _, Sha256};

use crate::files::scan::{Look, Snapshot, scan};
use crate::rules::{TrustedKey, check_signature};

/// The trusted keys, and what they were seen to have signed.
#[derive(Debug)]
pub(super) struct Trust {
    keys: Vec<TrustedKey>,
    /// Digests of the files of the last look that were right: whoever writes the next signature first takes that of the
    /// file in force away.
    signed: BTreeSet<[u8; 32]>,
}

impl Trust {
    pub fn new(keys: Vec<TrustedKey>) -> Self {
        Self { keys, signed: BTreeSet::new() }
    }

    /// Looks at the files; of those that nobody trusted signed no byte is kept.
    pub fn scan(&mut self, look: &Look<'_>) -> Snapshot {
        if self.keys.is_empty() {
            return scan(look, None);
        }
        let mut signed = BTreeSet::new();
        let mut check = |bytes: &[u8], signature: &Result<Option<Vec<u8>>, String>| {
            let digest = Sha256::digest(bytes).into();
            if !self.signed.contains(&digest) {
                let signature = signature.as_ref().map_err(Clone::clone)?;
                check_signature(&self.keys, bytes, signature.as_deref())?;
            }
            signed.insert(digest);
            Ok(())
        };
        let snapshot = scan(look, Some(&mut check));
        self.signed = signed;
        snapshot
    }
}
