//! The pushed files as a daemon would read and admit them now, with the stored state that decides about them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::Result;

use super::settings::{Located, Settings};
use crate::agent::{FileReport, RangesPaths, join, parse, read_paths};
use crate::files::read_cache::ReadCache;
use crate::files::scan::ScanRequest;
use crate::files::signature_verifier::SignatureVerifier;
use crate::files::store::{LastGoodStore, StateFile};
use crate::rules::{Limits, Rejection};
use crate::sync::{AcceptedFiles, Admission, Live, PersistedState, admit};

pub(super) struct PushedFiles {
    pub accepted: AcceptedFiles,
    pub persisted: PersistedState,
    pub files: Vec<FileReport>,
    pub admission: Admission,
    /// Stored records that are not usable, and a directory that cannot be listed.
    pub problems: Vec<String>,
}

impl PushedFiles {
    /// Reads the store, and the files of `paths`, or the configured ones. Changes nothing.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn read(
        settings: &Settings,
        directories: &Located,
        paths: &[PathBuf],
        limits: &Limits,
        live: &Live,
    ) -> Result<Self> {
        let records = LastGoodStore::new(StateFile::new(&directories.state_dir)).load()?;
        let (accepted, persisted, _, unused) = join(records, live);
        let (files, unlisted) = files(settings, &accepted, paths, limits);
        let candidates = files.iter().filter_map(FileReport::candidate).collect();
        let admission = admit(candidates, accepted.files(), &persisted, live);
        Ok(Self {
            accepted,
            persisted,
            files,
            admission,
            problems: unused.into_values().chain(unlisted).collect(),
        })
    }

    /// Files that are not valid, or not admitted, with the reasons.
    pub fn rejections(&self) -> BTreeMap<PathBuf, Vec<Rejection>> {
        let invalid = self.files.iter().filter(|file| file.is_refused());
        let mut rejections: BTreeMap<PathBuf, Vec<Rejection>> =
            invalid.map(|file| (file.path.clone(), file.rejections())).collect();
        for refusal in &self.admission.refused {
            rejections.entry(refusal.path.clone()).or_default().push(refusal.reason.clone());
        }
        rejections
    }
}

/// Reads the configured files, or those of `paths`; returns the reason, too, if the configured directory cannot be
/// listed.
fn files(
    settings: &Settings,
    accepted: &AcceptedFiles,
    paths: &[PathBuf],
    limits: &Limits,
) -> (Vec<FileReport>, Option<String>) {
    let (rules_dir, managed, blocked) = settings.inputs();
    let known = accepted.files().values().map(|candidate| candidate.path.clone()).collect();
    let request = ScanRequest {
        rules_dir: &rules_dir,
        managed_ranges: &managed,
        blocked_ranges: &blocked,
        known: &known,
        most_files: settings.most_files(),
    };
    let mut verifier = SignatureVerifier::new(settings.trusted_keys());
    if paths.is_empty() {
        let snapshot = verifier.scan(&request, &mut ReadCache::default());
        let ranges = RangesPaths { managed: &managed, blocked: &blocked };
        (parse(&snapshot, ranges, limits), snapshot.unlisted)
    } else {
        (read_paths(paths, &request, limits, &mut verifier), None)
    }
}
