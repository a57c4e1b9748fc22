//! Conflicts between files that are valid by themselves.

use std::collections::{BTreeMap, BTreeSet};

use crate::agent::{Content, FileReport};
use crate::rules::{DatabaseRules, RangeId, RangesKind, Source};
use crate::sync::{Live, PersistedState, admit};

/// Adds an error to each file in place of which `run`, with nothing in force yet, accepts another one, and a warning
/// for each managed range that is in none of the files.
pub(super) fn find(files: &mut [FileReport]) {
    let known = known_ranges(files);
    let candidates = files.iter().filter_map(FileReport::candidate).collect();
    let admission = admit(candidates, &BTreeMap::new(), &PersistedState::default(), &Live::default());
    let mut refused: BTreeMap<_, _> =
        admission.refused.into_iter().map(|refusal| (refusal.path, refusal.reason)).collect();
    for file in files {
        if let Some(reason) = refused.remove(&file.path) {
            file.refuse(reason);
        }
        if let (Some(rules), Some(known)) = (file.database(), &known) {
            for warning in unknown_ranges(rules, known) {
                file.warn(warning);
            }
        }
    }
}

/// `None` if there is no managed-ranges file.
fn known_ranges(files: &[FileReport]) -> Option<BTreeSet<RangeId>> {
    let mut known = None;
    for file in files {
        if let Some(Content::Ranges(RangesKind::Managed, ranges)) = &file.content {
            known.get_or_insert_with(BTreeSet::new).extend(ranges.ranges.keys().cloned());
        }
    }
    known
}

fn unknown_ranges(rules: &DatabaseRules, known: &BTreeSet<RangeId>) -> Vec<String> {
    let named = rules.rules.iter().filter_map(|rule| match &rule.source {
        Source::Managed(range) => Some((&rule.id, range)),
        Source::Custom(_) => None,
    });
    named
        .filter(|(_, range)| !known.contains(*range))
        .map(|(rule, range)| format!("rule {rule}: range {range} is not among the managed ranges"))
        .collect()
}
