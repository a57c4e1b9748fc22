//! Metrics of each database.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::metrics_page::{Labels, MetricsPage, Value};
use crate::http::snapshot::Snapshot;
use crate::status::DatabaseStatus;

const STATES: [&str; 4] = ["applied", "degraded", "rejected", "orphaned"];

pub(super) fn write(snapshot: &Snapshot, sheet: &mut MetricsPage) {
    let databases = &snapshot.status.databases;
    sheet.gauge("databases", "Databases in the kernel", databases.len());
    sheet.states(
        "database_state",
        "State of a database: 1 for the current state, 0 for the others",
        "state",
        &STATES,
        databases.iter().map(|one| (labels(&one.database_id), one.state.name())),
    );
    sheet.gauges(
        "database_rules",
        "Rules of the customer, custom and managed ranges",
        snapshot.counters.iter().map(|(id, lines)| (labels(id), lines.rules)),
    );
    each(sheet, databases, "prefixes", "Prefixes in the allow list", |one| Some(one.prefixes));
    each(sheet, databases, "endpoints", "Open endpoints", |one| Some(one.endpoints.len()));
    each(sheet, databases, "revision", "Revision of the file in force", |one| one.revision);
    each(sheet, databases, "generation", "Number of the rule set in force", |one| one.generation);
    each(
        sheet,
        databases,
        "applied_timestamp_seconds",
        "Time at which the rule set in force was published",
        |one| one.applied_at.map(seconds),
    );
    let generation = databases.iter().filter_map(|one| one.generation).max().unwrap_or(0);
    sheet.gauge("generation", "Highest number of a rule set in force", generation);
    waiting(snapshot, sheet);
}

/// Waiting times of accepted files that are not in force, for databases in the kernel and those not yet there.
fn waiting(snapshot: &Snapshot, sheet: &mut MetricsPage) {
    let live = snapshot.status.databases.iter().map(|one| &one.database_id);
    let ids: BTreeSet<&String> = live.chain(snapshot.waiting.keys()).collect();
    let now = Timestamp::now();
    let rows = ids.into_iter().map(|id| {
        let since = snapshot.waiting.get(id).map_or(now, |since| *since);
        (labels(id), now.duration_since(since).as_secs_f64().max(0.0))
    });
    sheet.gauges(
        "database_waiting_seconds",
        "Time since a file was accepted that is not in force yet; 0 when there is none",
        rows,
    );
}

fn each<V: Value>(
    sheet: &mut MetricsPage,
    databases: &[DatabaseStatus],
    name: &str,
    help: &str,
    value: impl Fn(&DatabaseStatus) -> Option<V>,
) {
    let rows = databases.iter().filter_map(|one| Some((labels(&one.database_id), value(one)?)));
    sheet.gauges(&format!("database_{name}"), help, rows);
}

fn labels(database: &str) -> Labels {
    vec![("database", database.to_owned())]
}

pub(super) fn seconds(at: Timestamp) -> f64 {
    at.as_duration().as_secs_f64()
}
