//! Interfaces without our link.

use super::{Finding, Interface, Kind};

/// Tunnels by link kind: no filtered interface saw the inner packets. A `tun` is one too: a program feeds it.
const TUNNELS: &[&str] = &[
    "amt",
    "bareudp",
    "batadv",
    "erspan",
    "fou",
    "geneve",
    "gre",
    "gretap",
    "gtp",
    "gue",
    "ip6erspan",
    "ip6gre",
    "ip6gretap",
    "ip6tnl",
    "ipip",
    "l2tpeth",
    "macsec",
    "ovpn",
    "pfcp",
    "ppp",
    "sit",
    "tun",
    "vti",
    "vti6",
    "vxlan",
    "wireguard",
    "xfrm",
];
/// Link kinds that connect containers and virtual machines to the host.
const CONTAINERS: &[&str] = &["bridge", "ipvlan", "ipvtap", "macvlan", "macvtap", "netkit", "veth"];
/// Link kinds by which no packet arrives: they have addresses or routes, copy, queue, or carry no IP.
const SILENT: &[&str] = &["can", "dummy", "ifb", "nlmon", "vcan", "vrf", "vxcan"];
/// Link kinds that receive their packets through their members.
const JOINED: &[&str] = &["bond", "bridge", "hsr", "team"];

pub(super) fn findings(interfaces: &[Interface]) -> Vec<Finding> {
    let unseen = interfaces.iter().filter(|one| one.up && !one.loopback && !one.filtered);
    unseen.filter(|one| !is_covered(one, interfaces)).map(|one| finding(one, interfaces)).collect()
}

/// Returns `true` if every packet that arrives there is filtered elsewhere, or the finding belongs to another
/// interface.
fn is_covered(one: &Interface, all: &[Interface]) -> bool {
    let find = |index: Option<u32>| all.iter().find(|other| Some(other.index) == index);
    if is_any(one, SILENT) {
        return true;
    }
    if find(one.controller).is_some_and(|controller| is_any(controller, JOINED)) {
        return true;
    }
    if is_any(one, JOINED) {
        let mut members = members(one, all).peekable();
        return members.peek().is_some() && members.all(|member| member.filtered || !member.up);
    }
    // The program parses VLAN tags on the lower interface; if our link is missing there, that is the finding.
    one.kind.as_deref() == Some("vlan") && find(one.lower).is_some()
}

fn finding(one: &Interface, all: &[Interface]) -> Finding {
    let kind = one.kind.as_deref().unwrap_or("hardware");
    let with = |found: Kind, meaning: String, advice: &str| Finding {
        kind: found,
        object: one.name.clone(),
        meaning,
        advice: advice.to_owned(),
    };
    if is_any(one, TUNNELS) {
        let meaning =
            format!("a tunnel ({kind}) ends here: decapsulated packets reach the protected ports unfiltered");
        return with(Kind::Tunnel, meaning, TUNNEL_ADVICE);
    }
    if is_any(one, CONTAINERS) {
        let joined: Vec<&str> = members(one, all).map(|member| member.name.as_str()).collect();
        let of = if joined.is_empty() { String::new() } else { format!(", with {}", joined.join(", ")) };
        let meaning = format!(
            "a {kind}{of}: containers and virtual machines behind it reach the protected ports unfiltered"
        );
        return with(Kind::Container, meaning, CONTAINER_ADVICE);
    }
    let addresses = match one.addresses.as_slice() {
        [] => "no address of its own, but the host answers there for its other addresses".to_owned(),
        some => some.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
    };
    let meaning = format!("up ({kind}; {addresses}) without the agent's link: its packets are not filtered");
    with(Kind::Interface, meaning, INTERFACE_ADVICE)
}

fn members<'a>(one: &Interface, all: &'a [Interface]) -> impl Iterator<Item = &'a Interface> {
    let index = one.index;
    all.iter().filter(move |other| other.controller == Some(index))
}

fn is_any(one: &Interface, kinds: &[&str]) -> bool {
    one.kind.as_deref().is_some_and(|kind| kinds.contains(&kind))
}

const TUNNEL_ADVICE: &str = "end tunnels on another host, or add the interface to `interfaces` if its \
    packets carry Ethernet headers (vxlan, gretap, geneve); otherwise block the protected ports on it with \
    nftables (`iifname`)";
const CONTAINER_ADVICE: &str = "add it to `interfaces`, block the protected ports on it with nftables \
    (`iifname`), or run no untrusted containers on this host";
const INTERFACE_ADVICE: &str = "add it to `interfaces`, or take it down";
