//! Which files are taken at all, by who signed them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use crate::files::scan::{Seen, Snapshot};
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

    /// Whether files need a signature.
    pub fn is_needed(&self) -> bool {
        !self.keys.is_empty()
    }

    /// The files that are not to be read any further, and why.
    pub fn refused(&mut self, snapshot: &Snapshot, managed_ranges: &Path) -> BTreeMap<PathBuf, Vec<String>> {
        let ranges = snapshot.ranges.iter().map(|seen| (managed_ranges, seen));
        let files = snapshot.rules.iter().map(|(path, seen)| (path.as_path(), seen)).chain(ranges);
        let (mut refused, mut signed) = (BTreeMap::new(), BTreeSet::new());
        for (path, seen) in files.filter(|_| self.is_needed()) {
            match self.check(seen) {
                Ok(digest) => signed.extend(digest),
                Err(why) => drop(refused.insert(path.to_owned(), vec![why])),
            }
        }
        self.signed = signed;
        refused
    }

    /// The digest of the file; `None` when its bytes could not be read, which is told elsewhere.
    fn check(&self, seen: &Seen) -> Result<Option<[u8; 32]>, String> {
        let Ok(bytes) = &seen.content else { return Ok(None) };
        let digest = Sha256::digest(bytes).into();
        if !self.signed.contains(&digest) {
            let signature = seen.signature.as_ref().map_err(Clone::clone)?;
            check_signature(&self.keys, bytes, signature.as_deref())?;
        }
        Ok(Some(digest))
    }
}
