//! Compiled rule files, shared until one of their inputs changes.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;

use super::admit::Candidate;
use super::desired::{DesiredDatabase, desired};
use crate::rules::{DatabaseId, DatabaseRules, ManagedRange, ManagedRanges, RangeId};

/// The compiled rules of accepted files. Each entry contains the inputs that it was compiled from, and applies to
/// exactly these: a change of an input needs no other step, and a crash leaves nothing.
#[derive(Debug, Clone, Default)]
pub(super) struct CompiledFiles(RefCell<BTreeMap<DatabaseId, Compiled>>);

/// Derived from the accepted files, and so no part of a comparison of them.
impl PartialEq for CompiledFiles {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

/// Everything that the compiled rules of a file depend on, and these. The inputs are shared, so that an allocation that
/// is the same has the same content.
#[derive(Debug, Clone)]
struct Compiled {
    rules: Arc<DatabaseRules>,
    /// The managed ranges that the rules name; `None` for a missing one.
    ranges: BTreeMap<RangeId, Option<Arc<ManagedRange>>>,
    /// The last expiry of a rule until then; `None` if none had expired.
    expired: Option<Timestamp>,
    /// The next expiry of a rule.
    expires: Option<Timestamp>,
    database: Arc<DesiredDatabase>,
}

impl CompiledFiles {
    /// The desired state of an accepted file at `now`: the known one where its inputs are the same.
    pub fn of(&self, file: &Candidate, ranges: &ManagedRanges, now: Timestamp) -> Arc<DesiredDatabase> {
        let mut known = self.0.borrow_mut();
        match known.get(&file.rules.id).filter(|compiled| compiled.applies(&file.rules, ranges, now)) {
            Some(compiled) => Arc::clone(&compiled.database),
            None => {
                let compiled = Compiled::new(&file.rules, ranges, now);
                let database = Arc::clone(&compiled.database);
                known.insert(file.rules.id.clone(), compiled);
                database
            }
        }
    }

    /// Discards the compiled rules of a database without an accepted file.
    pub fn discard(&mut self, id: &DatabaseId) {
        self.0.get_mut().remove(id);
    }
}

impl Compiled {
    fn new(rules: &Arc<DatabaseRules>, ranges: &ManagedRanges, now: Timestamp) -> Self {
        let named = rules.ranges().map(|id| (id.clone(), ranges.ranges.get(id).cloned()));
        let expiries = || rules.rules.iter().filter_map(|rule| rule.expires_at);
        Self {
            rules: Arc::clone(rules),
            ranges: named.collect(),
            expired: expiries().filter(|at| *at <= now).max(),
            expires: expiries().filter(|at| *at > now).min(),
            database: Arc::new(desired(rules, ranges, now)),
        }
    }

    fn applies(&self, rules: &Arc<DatabaseRules>, ranges: &ManagedRanges, now: Timestamp) -> bool {
        let is_same =
            |(id, before): (&RangeId, &Option<Arc<ManagedRange>>)| match (before, ranges.ranges.get(id)) {
                (Some(before), Some(range)) => Arc::ptr_eq(before, range),
                (None, None) => true,
                (Some(_), None) | (None, Some(_)) => false,
            };
        // The clock may go back.
        Arc::ptr_eq(&self.rules, rules)
            && self.ranges.iter().all(is_same)
            && self.expired.is_none_or(|at| at <= now)
            && self.expires.is_none_or(|at| at > now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::{Limits, read_database, read_ranges};
    use crate::sync::FileBytes;

    const RULES: &str = "{id: m, type: managed_range, range_id: r}, \
        {id: c, type: custom_range, cidr: 192.0.2.0/24, expires_at: 2026-08-21T16:00:00Z}";

    fn file(revision: u64) -> Candidate {
        let text = format!(
            "schema_version: 1\ndatabase_id: a\nrevision: {revision}\ngenerated_at: 2026-08-21T15:27:32Z\n\
             endpoints: [{{port: 5432}}]\nrules: [{RULES}]\n...\n"
        );
        let limits = Limits { max_rules: 30, allow_monitor: true, node_name: None };
        let rules = Arc::new(read_database(text.as_bytes(), &limits).unwrap().value);
        Candidate { path: "a.yaml".into(), rules, bytes: FileBytes::default() }
    }

    fn ranges(list: &[(&str, &str)]) -> ManagedRanges {
        let line = |(id, cidr): &(&str, &str)| format!("  - {{id: {id}, name: N, cidrs: [{cidr}]}}\n");
        let lines: String = list.iter().map(line).collect();
        let text = format!(
            "schema_version: 1\nrevision: 1\ngenerated_at: 2026-08-21T15:27:32Z\nranges:\n{lines}...\n"
        );
        read_ranges(text.as_bytes()).unwrap().value
    }

    #[test]
    fn compiled_rules_apply_to_the_same_inputs_alone() {
        let at = |time: &str| time.parse::<Timestamp>().unwrap();
        let (early, late) = (at("2026-08-21T15:30:00Z"), at("2026-08-21T16:00:00Z"));
        let (one, other) = (file(1), file(2));
        let first = ranges(&[("r", "198.51.100.0/24"), ("unused", "203.0.113.0/24")]);
        let mut same = ranges(&[("r", "198.51.100.0/24"), ("unused", "203.0.113.128/25")]);
        same.share(&first);
        let (changed, none) = (ranges(&[("r", "198.51.100.0/25")]), ranges(&[("s", "203.0.113.0/24")]));
        let compiled = CompiledFiles::default();
        let mut before: Option<Arc<DesiredDatabase>> = None;
        for (file, ranges, now, is_shared) in [
            (&one, &first, early, false),
            (&one, &first, early, true),
            (&one, &same, early, true),
            (&one, &same, late, false),
            (&one, &same, late, true),
            // The clock went back.
            (&one, &same, early, false),
            (&one, &changed, early, false),
            (&one, &changed, early, true),
            (&one, &none, early, false),
            (&one, &none, early, true),
            (&one, &first, early, false),
            (&other, &first, early, false),
            (&other, &first, early, true),
        ] {
            let got = compiled.of(file, ranges, now);
            assert_eq!(*got, desired(&file.rules, ranges, now));
            assert_eq!(
                before.is_some_and(|before| Arc::ptr_eq(&before, &got)),
                is_shared,
                "{ranges:?} {now}"
            );
            before = Some(got);
        }
    }
}
