//! Listeners at protected ports that are reachable without an endpoint.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use super::{Finding, Interface, Kind, Listener, Protected};

pub(super) fn findings(
    protected: &Protected,
    interfaces: &[Interface],
    listeners: &[Listener],
) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut unclaimed = BTreeSet::new();
    for listener in listeners.iter().filter(|one| protected.has_port(one.port, one.protocol)) {
        findings.extend(
            interfaces
                .iter()
                .filter(|one| one.loopback && one.up && !one.filtered)
                .map(|lo| by_loopback(lo, listener)),
        );
        let addresses = interfaces.iter().flat_map(|one| &one.addresses);
        let reached = addresses.filter(|address| listener.is_bound_to(**address) && !address.is_loopback());
        unclaimed.extend(
            reached
                .filter(|address| !protected.judges(Some(**address), listener.port, listener.protocol))
                .map(|address| (SocketAddr::new(*address, listener.port), listener.protocol)),
        );
    }
    findings.extend(unclaimed.into_iter().map(|(socket, protocol)| {
        Finding::new(
            Kind::UnclaimedAddress,
            format!("{socket}/{protocol}"),
            "a process listens there, and no endpoint or guarded port covers this address: open to everyone"
                .to_owned(),
            "guard the port (`guarded_ports`), leave `address` out of the endpoint, or let the server listen at the \
             endpoint's address only"
                .to_owned(),
        )
    }));
    findings
}

fn by_loopback(lo: &Interface, listener: &Listener) -> Finding {
    let socket = SocketAddr::new(listener.address, listener.port);
    Finding::new(
        Kind::Loopback,
        format!("{}: {socket}/{}", lo.name, listener.protocol),
        "local processes reach this listener at any of its addresses, unfiltered".to_owned(),
        "run no third-party processes on this host, and make the server authenticate local connections as well \
         (pg_hba.conf)"
            .to_owned(),
    )
}
