//! Metrics from the kernel's packet counters.

use firewall_common::Tally;

use super::flows::Flows;
use super::metrics_page::{Labels, MetricsPage};
use crate::status::ReasonCounter;

pub(super) fn write(reasons: &[ReasonCounter], unrecorded: u64, flows: &Flows, page: &mut MetricsPage) {
    let by_reason = |count: fn(&ReasonCounter) -> u64| {
        reasons.iter().map(move |one| {
            let labels = vec![("reason", one.reason.clone()), ("verdict", one.verdict.clone())];
            (labels, count(one))
        })
    };
    page.counters("packets", "Packets by the reason of their verdict", by_reason(|one| one.packets));
    page.counters(
        "bytes",
        "Bytes of whole frames by the reason of their verdict",
        by_reason(|one| one.bytes),
    );
    page.counters(
        "database_packets",
        "Packets to a database: allowed by its rules and internal ranges, or denied because none allows the \
         source (in monitor mode these pass)",
        by_database(flows, |tally| tally.packets),
    );
    page.counters(
        "database_bytes",
        "Bytes of whole frames to a database, allowed or denied",
        by_database(flows, |tally| tally.bytes),
    );
    page.counters(
        "denied_unrecorded",
        "Denied packets without a record: `denied` does not show them",
        [(Labels::new(), unrecorded)],
    );
}

fn by_database(flows: &Flows, count: fn(Tally) -> u64) -> impl Iterator<Item = (Labels, u64)> {
    flows.0.iter().flat_map(move |(database, flow)| {
        [("allowed", flow.allowed), ("denied", flow.denied)].map(|(verdict, tally)| {
            (vec![("database", database.clone()), ("verdict", verdict.to_owned())], count(tally))
        })
    })
}
