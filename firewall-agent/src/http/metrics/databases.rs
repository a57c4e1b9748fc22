//! Metrics of each database.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::metrics_page::{Labels, MetricsPage, Value};
use crate::http::published_state::PublishedState;
use crate::status::DatabaseStatus;

const STATES: [&str; 4] = ["applied", "degraded", "rejected", "orphaned"];

pub(super) fn write(snapshot: &PublishedState, page: &mut MetricsPage) {
    let databases = &snapshot.status.databases;
    page.gauge("databases", "Databases in the kernel", databases.len());
    page.states(
        "database_state",
        "State of a database: 1 for the current state, 0 for the others",
        "state",
        &STATES,
        databases.iter().map(|one| (labels(&one.database_id), one.state.name())),
    );
    page.gauges(
        "database_rules",
        "Rules of the customer, custom and managed ranges",
        snapshot.counters.iter().map(|(id, counters)| (labels(id), counters.rules)),
    );
    each(page, databases, "prefixes", "Prefixes in the allow list", |one| Some(one.prefixes));
    each(page, databases, "endpoints", "Open endpoints", |one| Some(one.endpoints.len()));
    each(page, databases, "revision", "Revision of the file in force", |one| one.revision);
    each(page, databases, "generation", "Number of the rule set in force", |one| one.generation);
    each(
        page,
        databases,
        "applied_timestamp_seconds",
        "Time at which the rule set in force was published",
        |one| one.applied_at.map(seconds),
    );
    let generation = databases.iter().filter_map(|one| one.generation).max().unwrap_or(0);
    page.gauge("generation", "Highest number of a rule set in force", generation);
    waiting(snapshot, page);
}

/// Waiting times of accepted files that are not in force, for databases in the kernel and those not yet there.
fn waiting(snapshot: &PublishedState, page: &mut MetricsPage) {
    let live = snapshot.status.databases.iter().map(|one| &one.database_id);
    let ids: BTreeSet<&String> = live.chain(snapshot.waiting.keys()).collect();
    let now = Timestamp::now();
    let rows = ids.into_iter().map(|id| {
        let since = snapshot.waiting.get(id).map_or(now, |since| *since);
        (labels(id), now.duration_since(since).as_secs_f64().max(0.0))
    });
    page.gauges(
        "database_waiting_seconds",
        "Time since a file was accepted that is not in force yet; 0 when there is none",
        rows,
    );
}

fn each<V: Value>(
    page: &mut MetricsPage,
    databases: &[DatabaseStatus],
    name: &str,
    help: &str,
    value: impl Fn(&DatabaseStatus) -> Option<V>,
) {
    let rows = databases.iter().filter_map(|one| Some((labels(&one.database_id), value(one)?)));
    page.gauges(&format!("database_{name}"), help, rows);
}

fn labels(database: &str) -> Labels {
    vec![("database", database.to_owned())]
}

pub(super) fn seconds(at: Timestamp) -> f64 {
    at.as_duration().as_secs_f64()
}
