//! Metrics of the agent and its host.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::databases::seconds;
use super::metrics_page::{Labels, MetricsPage};
use crate::http::SharedState;
use crate::http::published_state::PublishedState;
use crate::rules::Cause;
use crate::status::{Condition, InterfaceStatus, Status};

const MODES: [&str; 3] = ["native", "generic", "none"];

pub(super) fn write(snapshot: &PublishedState, shared: &SharedState, page: &mut MetricsPage) {
    let status = &snapshot.status;
    if let Some(agent) = &status.agent {
        let labels = vec![("version", agent.version.clone()), ("object", agent.object.clone())];
        page.gauges("agent_build_info", "The running agent: always 1", [(labels, true)]);
        page.gauge(
            "agent_started_timestamp_seconds",
            "Time at which the agent started",
            seconds(agent.started_at),
        );
    }
    page.gauge(
        "agent_loop_silence_seconds",
        "Time since the last tick of the event loop",
        shared.silence().as_secs_f64(),
    );
    let ready = status.ready && shared.dead().is_none();
    page.gauge(
        "ready",
        "Readiness as in /readyz (everything configured is in force and probed): 1 or 0",
        ready,
    );
    page.gauge("errors", "Number of errors in the status of this host", status.errors.len());
    page.gauge(
        "last_success_timestamp_seconds",
        "Time at which all accepted files were last known to be in force; 0 before the first time",
        shared.all_in_force(),
    );
    let conditions = Condition::ALL.map(|condition| {
        let count = status.conditions.iter().filter(|one| one.name == condition.name()).count();
        (vec![("name", condition.name().to_owned())], count)
    });
    page.gauges(
        "condition",
        "Conditions that are true: 0, or the number of interfaces, databases or listeners concerned",
        conditions,
    );
    rejected(status, page);
    interfaces(&status.interfaces, page);
    page.counters(
        "drift_repairs",
        "Drift of kernel objects that the agent has repaired since it started",
        status.repairs.iter().map(|(kind, count)| (vec![("kind", kind.clone())], *count)),
    );
}

/// Counts a file once, by its first error. Every cause has a row without a database, also with a count of 0. Names a
/// database only if the kernel has it, which bounds the number of rows.
fn rejected(status: &Status, page: &mut MetricsPage) {
    let live: BTreeSet<&str> = status.databases.iter().map(|one| one.database_id.as_str()).collect();
    let mut rows: BTreeMap<(Cause, &str), usize> = Cause::ALL.map(|cause| ((cause, ""), 0)).into();
    for file in &status.rejected_files {
        let Some(cause) = file.causes.first() else { continue };
        let database = file.database_id.as_deref().filter(|id| live.contains(id)).unwrap_or_default();
        *rows.entry((*cause, database)).or_default() += 1;
    }
    let rows = rows.into_iter().map(|((cause, database), files)| {
        (vec![("cause", cause.name().to_owned()), ("database", database.to_owned())], files)
    });
    page.gauges(
        "rejected_files",
        "Files that are not in force, by cause and database (empty for none in the kernel)",
        rows,
    );
}

fn interfaces(interfaces: &[InterfaceStatus], page: &mut MetricsPage) {
    let labels = |one: &InterfaceStatus| -> Labels { vec![("interface", one.name.clone())] };
    let mode = |one: &InterfaceStatus| *MODES.iter().find(|mode| **mode == one.mode).unwrap_or(&"none");
    page.states(
        "interface_mode",
        "XDP mode on an interface: 1 for the current mode, 0 for the others",
        "mode",
        &MODES,
        interfaces.iter().map(|one| (labels(one), mode(one))),
    );
    page.spans(
        "interface_unprotected_seconds",
        "Time that an interface was present without the agent's program, since the agent started",
        interfaces.iter().map(|one| (labels(one), Duration::from_millis(one.unprotected_ms))),
    );
}
