//! The accepted file of managed or of blocked ranges.

use std::collections::BTreeSet;

use super::record::{StoredFile, StoredRanges};
use crate::rules::{
    Cause, GuardedRanges, ManagedRanges, RangeId, Rejection, apply_shrink_guard, read_ranges,
};

/// Ranges in force, and the file that they come from.
#[derive(Debug, Clone, PartialEq)]
pub struct AcceptedRanges {
    /// The ranges in force; the kernel's until the first file is accepted.
    effective: ManagedRanges,
    /// The newest accepted file, without the lists that the shrink guard retained. The store has its bytes.
    file: Option<ManagedRanges>,
}

/// A new file that passed admission.
#[derive(Debug)]
pub struct AdmittedRanges {
    pub guarded: GuardedRanges,
    /// The file differs from the accepted one; otherwise only the guard has decided otherwise.
    pub is_new: bool,
    ranges: ManagedRanges,
}

impl AcceptedRanges {
    /// No accepted file; the ranges are those of the kernel.
    #[must_use]
    pub fn new(of_kernel: ManagedRanges) -> Self {
        Self { effective: of_kernel, file: None }
    }

    /// Loads stored ranges.
    ///
    /// # Errors
    /// Everything that is wrong with them, in one line.
    pub fn load(&mut self, stored: StoredRanges) -> Result<(), String> {
        let read = |bytes: &[u8]| {
            let checked = read_ranges(bytes).map_err(|errors| {
                let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
                errors.join("; ")
            })?;
            Ok::<_, String>(checked.value)
        };
        let StoredRanges { file, effective } = stored;
        self.effective = read(effective.as_bytes())?;
        if let Some(file) = file {
            let mut ranges = read(&file.content)?;
            ranges.share(&self.effective);
            self.file = Some(ranges);
        }
        Ok(())
    }

    /// Decides about a new file; `used` are the ranges that the shrink guard protects. `None` if nothing changes.
    ///
    /// # Errors
    /// The revision is lower than the one in force, or was accepted with other contents.
    pub fn admit(&self, new: ManagedRanges, used: &BTreeSet<RangeId>) -> Result<AdmittedRanges, Rejection> {
        let (revision, before) = (new.revision, self.effective.revision);
        if revision < before {
            let message = format!("revision {revision} is lower than {before}, which is in force");
            return Err(Rejection::named(Cause::StaleRevision, message));
        }
        if let Some(accepted) = &self.file
            && accepted.revision == revision
            && *accepted != new
        {
            let message = format!("revision {revision} was accepted with other contents");
            return Err(Rejection::named(Cause::RevisionConflict, message));
        }
        let guarded = apply_shrink_guard(&self.effective, new.clone(), used);
        let is_new = self.file.as_ref().is_none_or(|accepted| *accepted != new);
        Ok(AdmittedRanges { guarded, is_new, ranges: new })
    }

    /// Returns `true` if an admitted file changes anything.
    #[must_use]
    pub fn is_changed_by(&self, admitted: &AdmittedRanges) -> bool {
        admitted.is_new || admitted.guarded.ranges != self.effective
    }

    /// Makes an admitted file the accepted one; returns its record.
    pub fn accept(&mut self, admitted: AdmittedRanges, file: StoredFile) -> StoredRanges {
        self.effective = admitted.guarded.ranges;
        self.file = Some(admitted.ranges);
        StoredRanges { effective: self.effective.to_yaml(), file: Some(file) }
    }

    /// The ranges in force.
    #[must_use]
    pub fn effective(&self) -> &ManagedRanges {
        &self.effective
    }

    /// Returns `true` if a file was accepted.
    #[must_use]
    pub fn has_file(&self) -> bool {
        self.file.is_some()
    }
}
