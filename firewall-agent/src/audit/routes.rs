//! Routes by which the host answers for addresses that it does not have.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use super::{Finding, Interface, Kind, Listener, Protected, Unwrapping};
use crate::rules::Protocol;

/// Routes that matter here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Routes {
    /// Prefixes whose addresses are local, without the loopback's own: those of interfaces, too.
    pub local: Vec<IpNet>,
    /// Routes that remove a header.
    pub unwrapping: Vec<Unwrapping>,
}

/// Listeners that are reached at addresses of local prefixes (AnyIP).
pub(super) fn findings(
    protected: &Protected,
    interfaces: &[Interface],
    listeners: &[Listener],
    routes: &Routes,
) -> Vec<Finding> {
    let own: BTreeSet<IpAddr> = interfaces.iter().flat_map(|one| one.addresses.iter().copied()).collect();
    let prefixes = routes.local.iter().filter(|prefix| !is_own(prefix, &own));
    let mut found = BTreeSet::new();
    for prefix in prefixes {
        for one in listeners.iter().filter(|one| protected.has_port(one.port, one.protocol)) {
            if is_reached(one, prefix) && !is_judged(protected, prefix, one.port, one.protocol) {
                let socket = SocketAddr::new(one.address, one.port);
                found.insert((*prefix, format!("{socket}/{}", one.protocol)));
            }
        }
    }
    let finding = |(prefix, socket): (IpNet, String)| {
        Finding::new(
            Kind::LocalRoute,
            format!("local {prefix}: {socket}"),
            "the host answers for every address of this prefix (a route of type `local`), and no endpoint or guarded port \
             covers them: open to everyone whose packets are routed here"
                .to_owned(),
            "remove the route, guard the port (`guarded_ports`), leave `address` out of the endpoint, or let the server \
             listen at the endpoint's address only"
                .to_owned(),
        )
    };
    found.into_iter().map(finding).collect()
}

/// Returns `true` for the single address of an interface.
fn is_own(prefix: &IpNet, own: &BTreeSet<IpAddr>) -> bool {
    prefix.prefix_len() == prefix.max_prefix_len() && own.contains(&prefix.addr())
}

fn is_reached(listener: &Listener, prefix: &IpNet) -> bool {
    prefix.contains(&listener.address)
        || listener.address.is_unspecified() && listener.is_bound_to(prefix.addr())
}

/// Returns `true` if the programs judge packets to every address of the prefix.
fn is_judged(protected: &Protected, prefix: &IpNet, port: u16, protocol: Protocol) -> bool {
    let single = (prefix.prefix_len() == prefix.max_prefix_len()).then(|| prefix.addr());
    protected.judges(single, port, protocol)
}
