//! `firewall-agent plan [PATH…]`: the changes that these files would cause. Needs no daemon and changes nothing.

mod affected;
mod report;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Result;

use self::report::{DatabasePlan, Report};
use super::Exit;
use super::format::Format;
use super::pushed_files::PushedFiles;
use super::settings::{Located, Settings};
use super::style::Style;
use crate::agent::{FileReport, clock_at};
use crate::bpf::{Kernel, Pins};
use crate::escape::write_json;
use crate::host::clock::Moment;
use crate::rules::{DatabaseId, RangeId, RangesKind};
use crate::status::{DatabaseState, RejectedFile};
use crate::sync::{Admission, Changes, DataPlane as _, Database, Desired, Live, Plan, plan as dry_run};

/// Compares the live state with the state that the daemon would publish from these files in place of the accepted ones.
pub(super) fn plan(
    settings: &Settings,
    directories: &Located,
    paths: &[PathBuf],
    style: Style,
    out: &mut impl Write,
) -> Result<Exit> {
    // Where no agent has run since the boot, nothing is in force.
    let is_empty = Pins::new(&directories.bpffs_dir).is_empty();
    let kernel = if is_empty { None } else { Some(Kernel::open(&directories.bpffs_dir)?) };
    let live = kernel.as_ref().map_or_else(|| Ok(Live::default()), Kernel::live)?;
    let limits = settings.limits()?;
    let pushed = PushedFiles::read(settings, directories, paths, &limits, &live)?;
    let mut rejected = pushed.rejections();
    let PushedFiles { mut accepted, mut persisted, files, admission, problems } = pushed;
    let now = clock_at(&accepted, &persisted, Moment::now()?).now();
    let mut changes = Changes::default();
    for candidate in admission.admitted.values() {
        accepted.accept(candidate.clone(), &mut persisted, now, &mut changes);
    }
    for (kind, ranges, file) in files.iter().filter_map(FileReport::ranges) {
        let path = file.path.clone();
        let refused = match kind {
            RangesKind::Managed => accepted.accept_ranges(ranges, file, &mut persisted, now, &mut changes),
            RangesKind::Blocked => {
                accepted.accept_blocked(ranges, file, settings.max_prefixes(), &mut changes)
            }
        };
        if !refused.is_empty() {
            rejected.entry(path).or_default().extend(refused);
        }
    }
    let now = clock_at(&accepted, &persisted, Moment::now()?).now();
    let guarded = settings.guarded_ports().unwrap_or_else(|| live.guarded.clone());
    let desired = accepted.desired(&persisted, &live, guarded, limits.allow_monitor, now);
    let desired =
        Desired { judges_sockets: settings.judges_sockets(), limits: settings.capacity()?, ..desired };
    let sizes = kernel.as_ref().map_or_else(|| settings.map_sizes().tables(), Kernel::sizes);
    let plan = dry_run(&desired, &persisted, &live, sizes, now);
    let find = |kernel| affected::find(kernel, &directories.bpffs_dir, &live, &plan.after);
    let affected = kernel.as_ref().map(find).transpose()?;
    let database = |path: &Path| {
        let refused = admission.refused.iter().find(|refusal| refusal.path == path);
        refused.map(|refusal| &refusal.database).or_else(|| accepted.database_at(path))
    };
    let rejected_files: Vec<RejectedFile> = rejected
        .iter()
        .map(|(path, rejections)| RejectedFile::new(path, database(path), rejections))
        .collect();
    let (tombstones, blocked) = (report::tombstones(&plan), report::blocked(&plan));
    let errors = problems
        .into_iter()
        .chain(desired.contentions().map(|(_, message)| message))
        .chain(plan.errors.iter().cloned())
        .collect();
    let mut databases = databases(&desired, &admission, &live, plan, paths.is_empty());
    for one in &mut databases {
        one.sources =
            affected.as_ref().and_then(|affected| affected.get(&one.id)).cloned().unwrap_or_default();
    }
    let report = Report { databases, tombstones, blocked, rejected_files, errors };
    match style.format {
        Format::Json => write_json(&report, out)?,
        Format::Table | Format::Wide => report::write_people(&report, style, out)?,
    }
    Ok(if report.rejected_files.is_empty() { Exit::Done } else { Exit::BadInput })
}

/// Every database that is live, would be, or has no room. With `all_files`, a database without a file is orphaned.
fn databases(
    desired: &Desired,
    admission: &Admission,
    live: &Live,
    plan: Plan,
    all_files: bool,
) -> Vec<DatabasePlan> {
    let unresolved = desired.unresolved();
    let refused: BTreeMap<&DatabaseId, &str> = admission
        .refused
        .iter()
        .map(|refusal| (&refusal.database, refusal.reason.message.as_str()))
        .collect();
    let Plan { changes, failed, uncounted, .. } = plan;
    let mut changes: BTreeMap<DatabaseId, _> =
        changes.into_iter().map(|change| (change.database.clone(), change)).collect();
    let known: BTreeMap<&DatabaseId, &Database> =
        live.databases.values().map(|database| (&database.id, database)).collect();
    let ids = known.keys().copied().chain(changes.keys()).chain(failed.keys());
    let ids: BTreeSet<DatabaseId> = ids.cloned().collect();
    ids.into_iter()
        .map(|id| {
            let (state, problem) = if let Some(problem) = refused.get(&id) {
                (DatabaseState::Rejected, Some((*problem).to_owned()))
            } else if let Some(problem) = failed.get(&id) {
                (DatabaseState::Degraded, Some(problem.clone()))
            } else if all_files && !admission.admitted.contains_key(&id) {
                (DatabaseState::Orphaned, Some("no valid rule file for this database".to_owned()))
            } else if let Some(ranges) = unresolved.get(&id) {
                let ranges: Vec<&str> = ranges.iter().map(RangeId::as_str).collect();
                let problem = format!("managed range not found: {}", ranges.join(", "));
                (DatabaseState::Degraded, Some(problem))
            } else if let Some(rules) = uncounted.get(&id) {
                let problem = format!(
                    "{rules} rules would be counted on the default counter: max_rule_counters in use"
                );
                (DatabaseState::Degraded, Some(problem))
            } else {
                (DatabaseState::Applied, None)
            };
            DatabasePlan::new(&id, known.get(&id).copied(), changes.remove(&id), state, problem)
        })
        .collect()
}
