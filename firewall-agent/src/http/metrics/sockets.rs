//! Metrics of the socket filter.

use std::collections::BTreeMap;

use super::metrics_page::{Labels, MetricsPage};
use crate::http::SocketTally;
use crate::http::published_state::PublishedState;

const MODES: [&str; 3] = ["monitor", "enforce", "none"];
/// Reasons of refused packets.
const REFUSED: [&str; 3] = ["no_match", "closed", "no_port"];

/// Last exported values. They never decrease while their labels are exported: the kernel evicts counters that are full, and
/// a scraper would take a lower counter for a reset, and count all of it as new packets.
#[derive(Debug, Default)]
pub(super) struct Sockets {
    /// By interface, reason and refusing database.
    packets: BTreeMap<[String; 3], u64>,
    /// Refused packets by database.
    denied: BTreeMap<String, u64>,
}

impl Sockets {
    pub fn read(&mut self, sockets: &[SocketTally], snapshot: &PublishedState) {
        let database = |one: &SocketTally| {
            let owner = snapshot.counters.iter().find(|(_, of)| of.default == one.counter);
            owner.map(|(id, _)| id.clone()).unwrap_or_default()
        };
        // The interface that every host has: the metric exists before the first packet.
        let first = ["lo", "allowed", ""].map(str::to_owned);
        let mut packets: BTreeMap<[String; 3], u64> = [(first, 0)].into();
        for one in sockets {
            // Containers come and go: their interfaces would be ever more labels.
            let interface = if one.is_on_host { &one.interface } else { "other" };
            let labels = [interface.to_owned(), one.reason.to_owned(), database(one)];
            *packets.entry(labels).or_default() += one.tally.packets;
        }
        // Zeros from the start: a scraper sees the first packet as an increase.
        let databases = snapshot.counters.keys().cloned().chain([String::new()]);
        let mut denied: BTreeMap<String, u64> = databases.map(|database| (database, 0)).collect();
        for one in sockets.iter().filter(|one| REFUSED.contains(&one.reason)) {
            *denied.entry(database(one)).or_default() += one.tally.packets;
        }
        self.packets = not_below(packets, &self.packets);
        self.denied = not_below(denied, &self.denied);
    }

    pub fn write(&self, snapshot: &PublishedState, page: &mut MetricsPage) {
        let filter = snapshot.status.socket_filter.as_ref();
        let mode = filter.and_then(|filter| MODES.into_iter().find(|mode| *mode == filter.mode));
        page.states(
            "socket_filter_mode",
            "Mode of the attached socket filter: 1 for the current mode, 0 for the others",
            "mode",
            &MODES,
            std::iter::once((Labels::new(), mode.unwrap_or("none"))),
        );
        let rows = self.packets.iter().map(|([interface, reason, database], packets)| {
            let labels = [("interface", interface), ("reason", reason), ("database", database)];
            (labels.map(|(name, value)| (name, value.clone())).to_vec(), *packets)
        });
        page.counters(
            "socket_packets",
            "Packets that the socket filter judged, by interface (other: gone, or in another namespace), reason and \
             refusing database (empty for none)",
            rows,
        );
        page.counters(
            "socket_denied_packets",
            "Packets that the socket filter refused, or would have refused, by database (empty for none). XDP did not see \
             them, or let them pass",
            self.denied.iter().map(|(database, packets)| (vec![("database", database.clone())], *packets)),
        );
    }
}

/// The counters, none of them lower than before.
fn not_below<K: Ord>(mut counters: BTreeMap<K, u64>, before: &BTreeMap<K, u64>) -> BTreeMap<K, u64> {
    for (labels, packets) in &mut counters {
        *packets = (*packets).max(before.get(labels).copied().unwrap_or_default());
    }
    counters
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::CounterId;
    use firewall_common::Tally;

    #[test]
    fn evicted_counter_lowers_no_metric() {
        let tally = |packets| SocketTally {
            interface: "eth1".to_owned(),
            is_on_host: true,
            reason: "no_match",
            counter: CounterId::NONE,
            tally: Tally { packets, bytes: 0 },
        };
        let (mut sockets, snapshot) = (Sockets::default(), PublishedState::default());
        let denied = |sockets: &Sockets| sockets.denied[""];
        for (counted, shown) in [(vec![tally(3), tally(4)], 7), (vec![tally(4)], 7), (vec![tally(9)], 9)] {
            sockets.read(&counted, &snapshot);
            assert_eq!(denied(&sockets), shown);
            assert_eq!(sockets.packets.values().sum::<u64>(), shown);
        }
    }
}
