//! Report of `plan`, database by database.

use std::io::{self, Write};

use serde::Serialize;

use super::affected::{AffectedSource, Effect};
use crate::cli::style::Style;
use crate::rules::DatabaseId;
use crate::status::{DatabaseState, RejectedFile};
use crate::sync::{BlockId, Change, CountedOn, Database, Plan, Transition};

/// Most affected sources of a database in the text.
const SHOWN: usize = 20;

/// Complete output. Field names are an interface.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    /// Every database that is live, would be, or has no room, in the order of their ids.
    pub databases: Vec<DatabasePlan>,
    /// Tombstones that would be added or removed.
    pub tombstones: Vec<Tombstone>,
    /// Sources that a block list would refuse, or no longer refuse.
    pub blocked: Vec<BlockedSource>,
    /// Files that would be rejected, with the reasons.
    pub rejected_files: Vec<RejectedFile>,
    /// Other errors: without them the plan may differ.
    pub errors: Vec<String>,
}

/// Changes of one database. Field names are an interface.
#[derive(Debug, Serialize)]
pub(super) struct DatabasePlan {
    #[serde(rename = "database_id")]
    pub id: DatabaseId,
    name: String,
    outcome: Outcome,
    /// State afterwards, as in `status`.
    state: DatabaseState,
    /// The reason if it would not be `applied`.
    problem: Option<String>,
    revision: Sides<u64>,
    /// Prefixes that would be added, removed, or count on another rule.
    prefixes: Vec<Prefix>,
    /// Endpoints that would open, close, or change their mode.
    endpoints: Vec<Endpoint>,
    /// Recently active sources that would lose or gain access.
    pub sources: Vec<AffectedSource>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Outcome {
    New,
    Changed,
    Removed,
    Unchanged,
}

/// Value before and after; null if absent.
#[derive(Debug, Serialize)]
struct Sides<T> {
    before: Option<T>,
    after: Option<T>,
}

#[derive(Debug, Serialize)]
struct Prefix {
    cidr: String,
    #[serde(flatten)]
    rule: Sides<Rule>,
}

/// Rule counter of a prefix.
#[derive(Debug, Serialize)]
struct Rule {
    /// As in `rules`.
    rule: String,
    #[serde(rename = "type")]
    kind: &'static str,
    range_id: Option<String>,
}

#[derive(Debug, Serialize)]
struct Endpoint {
    endpoint: String,
    /// `enforce` or `monitor`.
    #[serde(flatten)]
    mode: Sides<String>,
    /// Open before, closed to everyone afterwards.
    closed: bool,
}

/// Destination with a tombstone on one side only. Guarded ports have none. Field names are an interface.
#[derive(Debug, Serialize)]
pub(super) struct Tombstone {
    endpoint: String,
    before: bool,
    after: bool,
}

/// Source in a block list on one side only, or of another entry. Field names are an interface.
#[derive(Debug, Serialize)]
pub(super) struct BlockedSource {
    cidr: String,
    /// `None` at every endpoint.
    database_id: Option<String>,
    /// Id of the range or of the overlay's entry.
    #[serde(flatten)]
    entry: Sides<String>,
}

/// Changes of the block lists.
pub(super) fn blocked(plan: &Plan) -> Vec<BlockedSource> {
    let transitions = plan.blocked.iter();
    let text = |id: &BlockId| id.to_string();
    transitions
        .map(|((database, net), transition)| BlockedSource {
            cidr: net.to_string(),
            database_id: database.as_ref().map(ToString::to_string),
            entry: Sides {
                before: transition.before.as_ref().map(text),
                after: transition.after.as_ref().map(text),
            },
        })
        .collect()
}

/// Tombstones that would be added or removed.
pub(super) fn tombstones(plan: &Plan) -> Vec<Tombstone> {
    let transitions = plan.tombstones.iter();
    transitions
        .map(|(destination, transition)| Tombstone {
            endpoint: destination.to_string(),
            before: transition.before.is_some(),
            after: transition.after.is_some(),
        })
        .collect()
}

impl DatabasePlan {
    /// Creates the plan of one database; `live` is its current state, which stays without a change.
    pub fn new(
        id: &DatabaseId,
        live: Option<&Database>,
        change: Option<Change>,
        state: DatabaseState,
        problem: Option<String>,
    ) -> Self {
        let revision = live.and_then(|live| live.stamp.as_ref()).map(|stamp| stamp.revision);
        let name = || live.map_or_else(String::new, |live| live.name.clone());
        let unchanged = Self {
            id: id.clone(),
            name: name(),
            outcome: Outcome::Unchanged,
            state,
            problem,
            revision: Sides { before: revision, after: revision },
            prefixes: Vec::new(),
            endpoints: Vec::new(),
            sources: Vec::new(),
        };
        let Some(change) = change else { return unchanged };
        let prefixes = change.prefixes.into_iter();
        let (endpoints, closed) = (change.endpoints.into_iter(), change.closed);
        Self {
            outcome: match (&change.name.before, &change.name.after) {
                (None, _) => Outcome::New,
                (_, None) => Outcome::Removed,
                (Some(_), Some(_)) => Outcome::Changed,
            },
            name: change.name.after.unwrap_or_else(name),
            revision: sides(change.revision, |revision| revision),
            prefixes: prefixes
                .map(|(net, transition)| Prefix {
                    cidr: net.to_string(),
                    rule: sides(transition, Rule::from),
                })
                .collect(),
            endpoints: endpoints
                .map(|(destination, transition)| Endpoint {
                    endpoint: destination.to_string(),
                    closed: closed.contains(&destination),
                    mode: sides(transition, |mode| mode.to_string()),
                })
                .collect(),
            ..unchanged
        }
    }
}

fn sides<T, S>(transition: Transition<T>, shown: impl Fn(T) -> S) -> Sides<S> {
    Sides { before: transition.before.map(&shown), after: transition.after.map(&shown) }
}

impl From<CountedOn> for Rule {
    fn from(on: CountedOn) -> Self {
        let kind = on.kind.name();
        let range_id = on.kind.range().map(str::to_owned);
        Self { rule: on.rule, kind, range_id }
    }
}

/// Writes one line for each database, and below it the changes: `+` added, `-` removed, `~` modified.
pub(super) fn write_people(report: &Report, style: Style, out: &mut impl Write) -> io::Result<()> {
    for one in &report.databases {
        write_database(one, style, out)?;
    }
    for BlockedSource { cidr, database_id, entry } in report.blocked.iter().take(SHOWN) {
        let sign = if entry.after.is_some() { '+' } else { '-' };
        let by = entry.after.as_ref().or(entry.before.as_ref()).map(String::as_str).unwrap_or_default();
        let at = database_id.as_ref().map_or_else(|| "everywhere".to_owned(), |id| format!("at {id}"));
        writeln!(out, "{sign} blocked {cidr} {at}, by {by}")?;
    }
    if let more @ 1.. = report.blocked.len().saturating_sub(SHOWN) {
        writeln!(out, "  and {more} more blocked sources that come or go")?;
    }
    for Tombstone { endpoint, after, .. } in &report.tombstones {
        writeln!(out, "{} tombstone {endpoint}", if *after { '+' } else { '-' })?;
    }
    for file in &report.rejected_files {
        file.errors.iter().try_for_each(|error| writeln!(out, "! rejected {}: {error}", file.path))?;
    }
    report.errors.iter().try_for_each(|error| writeln!(out, "! {error}"))?;
    let unchanged = report.databases.iter().filter(|one| one.outcome == Outcome::Unchanged).count();
    let (changed, refused) = (report.databases.len() - unchanged, report.rejected_files.len());
    writeln!(out, "databases: {changed} would change, {unchanged} would not; files rejected: {refused}")
}

fn write_database(one: &DatabasePlan, style: Style, out: &mut impl Write) -> io::Result<()> {
    let outcome = match one.outcome {
        Outcome::New => "new",
        Outcome::Changed => "changed",
        Outcome::Removed => "removed",
        Outcome::Unchanged => "unchanged",
    };
    write!(out, "{}", one.id)?;
    if !one.name.is_empty() {
        write!(out, " ({})", one.name)?;
    }
    write!(out, ": {outcome}")?;
    if let Some((_, change)) = marked(&one.revision, u64::to_string) {
        write!(out, ", revision {change}")?;
    }
    if let Some(problem) = &one.problem {
        write!(out, "; {}: {problem}", one.state.name())?;
    }
    writeln!(out)?;
    for prefix in &one.prefixes {
        let rule = |rule: &Rule| match &rule.range_id {
            Some(range) => format!("{} ({} {range})", rule.rule, rule.kind),
            None => format!("{} ({})", rule.rule, rule.kind),
        };
        if let Some((mark, change)) = marked(&prefix.rule, rule) {
            writeln!(out, "  {mark} {}  {change}", prefix.cidr)?;
        }
    }
    for endpoint in &one.endpoints {
        if let Some((mark, change)) = marked(&endpoint.mode, String::clone) {
            let closed = if endpoint.closed { "; stays closed" } else { "" };
            writeln!(out, "  {mark} endpoint {}  {change}{closed}", endpoint.endpoint)?;
        }
    }
    for affected in one.sources.iter().take(SHOWN) {
        write_source(affected, style, out)?;
    }
    match one.sources.len().saturating_sub(SHOWN) {
        0 => Ok(()),
        more => writeln!(out, "  and {more} more sources: -o json has them"),
    }
}

fn write_source(affected: &AffectedSource, style: Style, out: &mut impl Write) -> io::Result<()> {
    let AffectedSource { source, endpoint, effect, rule, last_seen, rule_last_hit } = affected;
    let (effect, by) = match effect {
        Effect::Loses => ("loses", "admitted by"),
        Effect::Gains => ("gains", "by"),
    };
    let rule = rule.as_ref().map_or_else(|| "no rule".to_owned(), |rule| format!("rule {rule}"));
    let seen = last_seen.map(|at| format!(", last seen {}", style.time(at)));
    let hit = rule_last_hit.map(|at| format!(", last hit of the rule {}", style.time(at)));
    let (seen, hit) = (seen.unwrap_or_default(), hit.unwrap_or_default());
    writeln!(out, "  ! {source} {effect} access to {endpoint} ({by} {rule}{seen}{hit})")
}

/// Mark and text of a change; `None` if there is none.
fn marked<T>(sides: &Sides<T>, text: impl Fn(&T) -> String) -> Option<(char, String)> {
    match (sides.before.as_ref().map(&text), sides.after.as_ref().map(&text)) {
        (None, Some(after)) => Some(('+', after)),
        (Some(before), None) => Some(('-', before)),
        (Some(before), Some(after)) if before != after => Some(('~', format!("{before} → {after}"))),
        (Some(_), Some(_)) | (None, None) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::snapshots::check;

    #[test]
    fn screens_of_plan() {
        let rule = |rule: &str, range: Option<&str>| {
            let kind = if range.is_some() { "managed_range" } else { "custom_range" };
            Some(Rule { rule: rule.to_owned(), kind, range_id: range.map(str::to_owned) })
        };
        let prefix =
            |cidr: &str, before, after| Prefix { cidr: cidr.to_owned(), rule: Sides { before, after } };
        let database = DatabasePlan {
            id: "6a316183d0f1f10ecbcca123".parse().unwrap(),
            name: "orders of the northern region".to_owned(),
            outcome: Outcome::Changed,
            state: DatabaseState::Degraded,
            problem: Some(
                "managed range not found: man-osc-fr1-egress, man-osc-secnum-fr1-egress".to_owned(),
            ),
            revision: Sides { before: Some(41), after: Some(42) },
            prefixes: vec![
                prefix("203.0.113.0/24", None, rule("fr-1", None)),
                prefix(
                    "2001:db8:4:1234:5678:9abc:def0:7/128",
                    rule("fr-2", Some("man-osc-fr1-egress")),
                    rule("fr-3", Some("man-osc-secnum-fr1-egress")),
                ),
            ],
            endpoints: vec![Endpoint {
                endpoint: "[2001:db8:2:1234:5678:9abc:def0:10]:30092/tcp".to_owned(),
                mode: Sides { before: Some("enforce".to_owned()), after: None },
                closed: true,
            }],
            sources: vec![AffectedSource {
                source: "2001:db8:4:1234:5678:9abc:def0:7".to_owned(),
                endpoint: "[2001:db8:2:1234:5678:9abc:def0:10]:30092/tcp".to_owned(),
                effect: Effect::Loses,
                rule: Some("fr-1".to_owned()),
                last_seen: None,
                rule_last_hit: Some(crate::cli::snapshots::now()),
            }],
        };
        let tombstone = Tombstone { endpoint: "192.0.2.10:20300/tcp".to_owned(), before: false, after: true };
        let rejected = RejectedFile {
            path: "/etc/firewall-agent/rules.d/6a316183d0f1f10ecbcca099.yaml".to_owned(),
            database_id: None,
            errors: vec!["line 4, column 1: endpoints: missing".to_owned()],
            causes: Vec::new(),
        };
        let report = Report {
            databases: vec![database],
            tombstones: vec![tombstone],
            blocked: vec![BlockedSource {
                cidr: "203.0.113.0/24".to_owned(),
                database_id: None,
                entry: Sides { before: None, after: Some("abuse-2026-11".to_owned()) },
            }],
            rejected_files: vec![rejected],
            errors: Vec::new(),
        };
        check("plan", |style, out| Ok(write_people(&report, style, out)?));
    }
}
