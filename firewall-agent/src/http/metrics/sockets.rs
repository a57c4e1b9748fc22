//! Metrics of the socket filter.

use std::collections::BTreeMap;

use super::metrics_page::{Labels, MetricsPage};
use crate::http::SocketTally;
use crate::http::published_state::PublishedState;

const MODES: [&str; 3] = ["monitor", "enforce", "none"];
/// Reasons of refused packets.
const REFUSED: [&str; 3] = ["no_match", "closed", "no_port"];

pub(super) fn write(sockets: &[SocketTally], snapshot: &PublishedState, page: &mut MetricsPage) {
    let filter = snapshot.status.socket_filter.as_ref();
    let mode = filter.and_then(|filter| MODES.into_iter().find(|mode| *mode == filter.mode));
    page.states(
        "socket_filter_mode",
        "Mode of the attached socket filter: 1 for the current mode, 0 for the others",
        "mode",
        &MODES,
        std::iter::once((Labels::new(), mode.unwrap_or("none"))),
    );
    let database = |one: &SocketTally| {
        let owner = snapshot.counters.iter().find(|(_, of)| of.default == one.counter);
        owner.map(|(id, _)| id.clone()).unwrap_or_default()
    };
    // The interface that every host has: the metric exists before the first packet.
    let first = ["lo", "allowed", ""].map(str::to_owned);
    let mut packets: BTreeMap<[String; 3], u64> = [(first, 0)].into();
    for one in sockets {
        let labels = [one.interface.clone(), one.reason.to_owned(), database(one)];
        *packets.entry(labels).or_default() += one.tally.packets;
    }
    let rows = packets.into_iter().map(|([interface, reason, database], packets)| {
        (vec![("interface", interface), ("reason", reason), ("database", database)], packets)
    });
    page.counters(
        "socket_packets",
        "Packets that the socket filter judged, by interface, reason and refusing database (empty for none)",
        rows,
    );
    // Zeros from the start: a scraper sees the first packet as an increase.
    let databases = snapshot.counters.keys().cloned().chain([String::new()]);
    let mut denied: BTreeMap<String, u64> = databases.map(|database| (database, 0)).collect();
    for one in sockets.iter().filter(|one| REFUSED.contains(&one.reason)) {
        *denied.entry(database(one)).or_default() += one.tally.packets;
    }
    page.counters(
        "socket_denied_packets",
        "Packets that the socket filter refused, or would have refused, by database (empty for none). They reached a \
         protected port by a way that no XDP program sees",
        denied.into_iter().map(|(database, packets)| (vec![("database", database)], packets)),
    );
}
