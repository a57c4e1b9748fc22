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
use super::given::{Content, FileReport, read_configured, read_paths};
use super::json;
use super::settings::{Located, Settings};
use crate::agent::Taken;
use crate::bpf::Kernel;
use crate::files::store::Store;
use crate::rules::{DatabaseId, ManagedRanges, RangeId};
use crate::status::{DatabaseState, RejectedFile};
use crate::sync::{Admission, Candidate, Desired, Live, plan as changes};

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
    let (limits, keys) = (settings.limits()?, settings.trusted_keys());
    let stored = Store::find(&places.state_dir).map(|store| store.load()).unwrap_or_default();
    let (mut taken, problems) = Taken::recall(stored, &live);
    let files = if paths.is_empty() {
        let (rules_dir, managed_ranges) = settings.inputs();
        read_configured(&rules_dir, &managed_ranges, &limits, &keys)
    } else {
        read_paths(paths, &limits, &keys)
    };
    let given = Given::sort(files);
    let admission = taken.judge(given.candidates, &live);
    taken.admitted.extend(admission.admitted.clone());
    let mut rejected = given.rejected;
    for refusal in &admission.refused {
        rejected.entry(refusal.path.clone()).or_default().push(refusal.message.clone());
    }
    for (path, ranges) in given.ranges {
        let refused = taken.take_ranges(ranges);
        if !refused.is_empty() {
            rejected.entry(path).or_default().extend(refused);
        }
    }
    let now = Timestamp::now().max(taken.high_water());
    let desired = taken.desired(live.guarded.clone(), limits.allow_monitor, now);
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

/// The given files by what they hold.
#[derive(Default)]
struct Given {
    candidates: Vec<Candidate>,
    ranges: Vec<(PathBuf, ManagedRanges)>,
    rejected: BTreeMap<PathBuf, Vec<String>>,
}

impl Given {
    fn sort(files: Vec<FileReport>) -> Self {
        let mut given = Self::default();
        for file in files {
            if file.is_refused() {
                let errors = file.errors.iter().map(ToString::to_string).collect();
                given.rejected.insert(file.path, errors);
                continue;
            }
            match file.content {
                Some(Content::Database(rules)) => {
                    given.candidates.push(Candidate { path: file.path, rules });
                }
                Some(Content::Ranges(ranges)) => given.ranges.push((file.path, ranges)),
                None => {}
            }
        }
        given
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
                (DatabaseState::Orphaned, Some("no file that is in order names it".to_owned()))
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
