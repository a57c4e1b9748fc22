//! From the files' bytes to what may be admitted.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::files::scan::{Seen, Snapshot};
use crate::rules::{Checked, Limits, ManagedRanges, Problem, read_database, read_ranges};
use crate::sync::Candidate;

/// The files of one look, each read or refused.
#[derive(Debug, Default)]
pub struct Intake {
    pub candidates: Vec<Candidate>,
    /// The managed ranges; `None` when there is no such file, or it is refused.
    pub ranges: Option<ManagedRanges>,
    pub refused: BTreeMap<PathBuf, Vec<String>>,
    pub warnings: BTreeMap<PathBuf, Vec<String>>,
}

impl Intake {
    /// Reads every file of a snapshot.
    #[must_use]
    pub fn read(snapshot: &Snapshot, managed_ranges: &Path, limits: &Limits) -> Self {
        let mut intake = Self::default();
        for (path, seen) in &snapshot.rules {
            if let Some(rules) = intake.take(path, seen, |bytes| read_database(bytes, limits)) {
                intake.candidates.push(Candidate { path: path.clone(), rules });
            }
        }
        if let Some(seen) = &snapshot.ranges {
            intake.ranges = intake.take(managed_ranges, seen, read_ranges);
        }
        intake
    }

    fn take<T>(
        &mut self,
        path: &Path,
        seen: &Seen,
        read: impl FnOnce(&[u8]) -> Result<Checked<T>, Vec<Problem>>,
    ) -> Option<T> {
        let text = |problems: Vec<Problem>| problems.iter().map(ToString::to_string).collect();
        match seen.content.as_ref().map(|bytes| read(bytes)) {
            Err(unread) => {
                self.refused.insert(path.to_owned(), vec![unread.clone()]);
                None
            }
            Ok(Err(problems)) => {
                self.refused.insert(path.to_owned(), text(problems));
                None
            }
            Ok(Ok(checked)) => {
                if !checked.warnings.is_empty() {
                    self.warnings.insert(path.to_owned(), text(checked.warnings));
                }
                Some(checked.value)
            }
        }
    }
}
