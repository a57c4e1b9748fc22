//! Files that are right by themselves and not beside each other.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use super::report::{Content, FileReport};
use crate::rules::{DatabaseRules, RangeId, Source, State};

/// Adds what each file is told because of the others.
pub(super) fn find(files: &mut [FileReport]) {
    let known = known_ranges(files);
    let mut found: Vec<(usize, Finding)> = Vec::new();
    for (i, file) in files.iter().enumerate() {
        let Some(rules) = file.database() else { continue };
        for (_, other) in files.iter().enumerate().filter(|(j, _)| *j != i) {
            let Some(others) = other.database() else { continue };
            let findings = if rules.id == others.id {
                same_database(rules, others, other).into_iter().collect()
            } else if claims(rules, files) && claims(others, files) {
                same_endpoint(rules, others, other)
            } else {
                Vec::new()
            };
            found.extend(findings.into_iter().map(|finding| (i, finding)));
        }
        if let Some(known) = &known {
            found.extend(unknown_ranges(rules, known).into_iter().map(|finding| (i, finding)));
        }
    }
    for (i, finding) in found {
        match finding {
            Finding::Error(message) => files[i].refuse(message),
            Finding::Warning(message) => files[i].warn(message),
        }
    }
}

enum Finding {
    Error(String),
    Warning(String),
}

/// `None` when no managed-ranges file is among the files.
fn known_ranges(files: &[FileReport]) -> Option<BTreeSet<RangeId>> {
    let mut known = None;
    for file in files {
        if let Some(Content::Ranges(ranges)) = &file.content {
            known.get_or_insert_with(BTreeSet::new).extend(ranges.ranges.keys().cloned());
        }
    }
    known
}

fn same_database(rules: &DatabaseRules, others: &DatabaseRules, other: &FileReport) -> Option<Finding> {
    let DatabaseRules { id, revision, .. } = rules;
    let path = other.path.display();
    match revision.cmp(&others.revision) {
        Ordering::Less => {
            let message =
                format!("revision {revision}: superseded by revision {} in {path}", others.revision);
            Some(Finding::Warning(message))
        }
        Ordering::Equal if rules == others => Some(Finding::Warning(format!("same content as {path}"))),
        Ordering::Equal => {
            Some(Finding::Error(format!("database {id}: revision {revision} has other content in {path}")))
        }
        Ordering::Greater => None,
    }
}

/// Whether a file's endpoints count: it is active, and no other file has a higher revision of its database.
fn claims(rules: &DatabaseRules, files: &[FileReport]) -> bool {
    let mut same = files.iter().filter_map(FileReport::database).filter(|others| others.id == rules.id);
    rules.state == State::Active && same.all(|others| others.revision <= rules.revision)
}

fn same_endpoint(rules: &DatabaseRules, others: &DatabaseRules, other: &FileReport) -> Vec<Finding> {
    let (id, path) = (&others.id, other.path.display());
    let pairs =
        rules.endpoints.iter().flat_map(|ours| others.endpoints.iter().map(move |theirs| (ours, theirs)));
    pairs
        .filter(|(ours, theirs)| ours.overlaps(theirs))
        .map(|(ours, theirs)| {
            Finding::Error(format!("endpoint {ours}: database {id} claims {theirs} in {path}"))
        })
        .collect()
}

fn unknown_ranges(rules: &DatabaseRules, known: &BTreeSet<RangeId>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for rule in &rules.rules {
        match &rule.source {
            Source::Managed(range) if !known.contains(range) => {
                let message = format!("rule {}: range {range} is not among the managed ranges", rule.id);
                findings.push(Finding::Warning(message));
            }
            Source::Managed(_) | Source::Custom(_) => {}
        }
    }
    findings
}
