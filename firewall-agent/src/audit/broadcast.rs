//! UDP sockets at protected ports that receive packets to broadcast and multicast addresses.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{Finding, Interface, Kind, Listener, Protected};
use crate::rules::Protocol;

/// Every host that takes multicast packets is a member of these groups.
const ALL_NODES: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(224, 0, 0, 1)), IpAddr::V6(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1))];

pub(super) fn findings(
    protected: &Protected,
    interfaces: &[Interface],
    listeners: &[Listener],
) -> Vec<Finding> {
    let reachable = reachable(interfaces);
    let mut findings = Vec::new();
    for one in listeners {
        if one.protocol != Protocol::Udp || !protected.has_port(one.port, one.protocol) {
            continue;
        }
        // A socket at a group's own address receives packets to it only.
        let at = match one.address {
            address if address.is_multicast() => vec![address],
            address => reachable
                .iter()
                .copied()
                .filter(|other| *other == address || address.is_unspecified() && one.is_bound_to(*other))
                .collect(),
        };
        let open = at.into_iter().filter(|at| !protected.judges(Some(*at), one.port, one.protocol));
        let open: Vec<String> = open.map(|address| address.to_string()).collect();
        if !open.is_empty() {
            findings.push(finding(one, &open.join(", ")));
        }
    }
    findings
}

/// Broadcast addresses, and the groups of all nodes, at which packets of other hosts arrive.
fn reachable(interfaces: &[Interface]) -> BTreeSet<IpAddr> {
    let mut found = BTreeSet::new();
    for one in interfaces.iter().filter(|one| one.up && !one.loopback) {
        if !one.broadcasts.is_empty() {
            found.extend(one.broadcasts.iter().copied().chain([IpAddr::V4(Ipv4Addr::BROADCAST)]));
        }
        if one.multicast {
            found.extend(ALL_NODES);
        }
    }
    found
}

fn finding(listener: &Listener, addresses: &str) -> Finding {
    let socket = SocketAddr::new(listener.address, listener.port);
    Finding::new(
        Kind::Broadcast,
        format!("{socket}/udp"),
        format!(
            "a UDP socket receives packets to broadcast and multicast addresses ({addresses}, and each group that a process \
             joins), which no endpoint or guarded port covers: open to everyone on the link"
        ),
        "guard the port (`guarded_ports`), leave `address` out of the endpoint, or let the server bind its socket to the \
         endpoint's address"
            .to_owned(),
    )
}
