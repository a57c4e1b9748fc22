//! Metrics of the sessions that lost their access.

use std::collections::BTreeMap;

use super::metrics_page::MetricsPage;
use crate::http::SharedState;
use crate::http::published_state::PublishedState;

pub(super) fn write(snapshot: &PublishedState, shared: &SharedState, page: &mut MetricsPage) {
    // Zeros from the start: a scraper sees the first session as an increase.
    let databases = snapshot.counters.keys().cloned().chain([String::new()]);
    let mut reset: BTreeMap<String, u64> = databases.map(|database| (database, 0)).collect();
    reset.extend(shared.sessions_reset());
    page.counters(
        "sessions_reset",
        "Open TCP sessions of sources without access that the agent has reset since it started, by database (empty for \
         closed destinations of an unknown one)",
        reset.into_iter().map(|(database, sessions)| (vec![("database", database)], sessions)),
    );
}
