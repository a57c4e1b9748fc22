//! `firewall-agent plan [PATH…]`: what applying these files would change. Needs no daemon and changes nothing.

mod report;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::PathBuf;

use anyhow::Result;
use jiff::Timestamp;

use self::report::{DatabasePlan, Report};
use super::Exit;
use super::format::Format;
use super::json;
use super::settings::{Located, Settings};
use crate::agent::{FileReport, join, parse, read_paths};
use crate::bpf::Kernel;
use crate::files::scan::Look;
use crate::files::store::{LastGoodStore, StateFile};
use crate::files::verify::SignatureVerifier;
use crate::rules::{DatabaseId, Limits, RangeId};
use crate::status::{DatabaseState, RejectedFile};
use crate::sync::{AcceptedFiles, Admission, Changes, Desired, Live, admit, plan as changes};

/// Compares what the kernel holds with what it would hold if the daemon found these files in place of those that it
/// took last.
pub(super) fn plan(
    settings: &Settings,
    places: &Located,
    paths: &[PathBuf],
    format: Format,
    out: &mut impl Write,
) -> Result<Exit> {
    let live = Kernel::open(&places.bpffs_dir)?.live()?;
    let limits = settings.limits()?;
    let records = LastGoodStore::new(StateFile::new(&places.state_dir)).load()?;
    let (mut accepted, mut persisted, _, problems) = join(records, &live);
    let files = read(settings, &accepted, paths, &limits);
    let candidates = files.iter().filter_map(FileReport::candidate).collect();
    let admission = admit(candidates, accepted.files(), &persisted, &live);
    let mut rejected: BTreeMap<PathBuf, Vec<String>> = BTreeMap::new();
    for file in files.iter().filter(|file| file.is_refused()) {
        rejected.insert(file.path.clone(), file.errors.iter().map(ToString::to_string).collect());
    }
    for refusal in &admission.refused {
        rejected.entry(refusal.path.clone()).or_default().push(refusal.message.clone());
    }
    let mut changes = Changes::default();
    for candidate in admission.admitted.values() {
        let replaced = accepted.accept(candidate.clone(), &mut changes);
        persisted.accept(&candidate.rules, replaced.as_ref(), &mut changes);
    }
    for (ranges, file) in files.iter().filter_map(FileReport::ranges) {
        let path = file.path.clone();
        let refused = accepted.accept_ranges(ranges, file, &mut changes);
        if !refused.is_empty() {
            rejected.entry(path).or_default().extend(refused);
        }
    }
    let now = Timestamp::now().max(persisted.clock_mark().unwrap_or(Timestamp::UNIX_EPOCH));
    let desired = accepted.desired(&persisted, &live, live.guarded.clone(), limits.allow_monitor, now);
    let rejected_files: Vec<RejectedFile> = rejected
        .into_iter()
        .map(|(path, errors)| RejectedFile { path: path.display().to_string(), errors })
        .collect();
    let databases = databases(&desired, &admission, &live, paths.is_empty());
    let report = Report { databases, rejected_files, errors: problems };
    match format {
        Format::Json => {
            json::write(&report, out)?;
        }
        Format::Table => report::write_people(&report, out)?,
    }
    Ok(if report.rejected_files.is_empty() { Exit::Done } else { Exit::BadInput })
}

/// Reads the configured files, or the given ones.
fn read(
    settings: &Settings,
    accepted: &AcceptedFiles,
    paths: &[PathBuf],
    limits: &Limits,
) -> Vec<FileReport> {
    let (rules_dir, managed_ranges) = settings.inputs();
    let known = accepted.files().values().map(|candidate| candidate.path.clone()).collect();
    let look = Look {
        rules_dir: &rules_dir,
        managed_ranges: &managed_ranges,
        known: &known,
        most_files: settings.most_files(),
    };
    let mut verifier = SignatureVerifier::new(settings.trusted_keys());
    if paths.is_empty() {
        parse(&verifier.scan(&look), &managed_ranges, limits)
    } else {
        read_paths(paths, &look, limits, &mut verifier)
    }
}

/// Every database that is live or would be. With all files at hand, one that none of them names is orphaned.
fn databases(desired: &Desired, admission: &Admission, live: &Live, all_files: bool) -> Vec<DatabasePlan> {
    let unresolved = desired.unresolved();
    let refused: BTreeMap<&DatabaseId, &str> =
        admission.refused.iter().map(|refusal| (&refusal.database, refusal.message.as_str())).collect();
    let mut changes: BTreeMap<DatabaseId, _> =
        changes(desired, live).into_iter().map(|change| (change.database.clone(), change)).collect();
    let ids: BTreeSet<DatabaseId> =
        live.databases.values().map(|database| database.id.clone()).chain(changes.keys().cloned()).collect();
    ids.into_iter()
        .map(|id| {
            let (state, problem) = if let Some(problem) = refused.get(&id) {
                (DatabaseState::Rejected, Some((*problem).to_owned()))
            } else if all_files && !admission.admitted.contains_key(&id) {
                (DatabaseState::Orphaned, Some("no valid rule file for this database".to_owned()))
            } else if let Some(ranges) = unresolved.get(&id) {
                let ranges: Vec<&str> = ranges.iter().map(RangeId::as_str).collect();
                let problem = format!("managed range not there: {}", ranges.join(", "));
                (DatabaseState::Degraded, Some(problem))
            } else {
                (DatabaseState::Applied, None)
            };
            let database = live.databases.values().find(|database| database.id == id);
            DatabasePlan::new(&id, database, changes.remove(&id), state, problem)
        })
        .collect()
}
