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
    let reachable = interfaces.iter().filter(|one| one.up && !one.loopback);
    let finding = |one: &Interface| match one.filtered {
        true => is_any(one, &["veth"]).then_some(one).filter(|one| one.generic).map(generic),
        false => (!is_covered(one, interfaces)).then(|| finding(one, interfaces)),
    };
    reachable.filter_map(finding).collect()
}

/// Returns `true` if every packet of this interface is judged, there or on interfaces below.
pub(super) fn is_filtered(one: &Interface, all: &[Interface]) -> bool {
    let below = |one: &&Interface| all.iter().find(|other| Some(other.index) == one.judged_on);
    // No interface is below itself, unless the links changed while they were read.
    let mut chain = std::iter::successors(Some(one), below).take(all.len());
    chain.any(|one| one.filtered || is_filtered_by_members(one, all))
}

/// Returns `true` if every packet that arrives there is filtered elsewhere, or the finding belongs to another
/// interface.
fn is_covered(one: &Interface, all: &[Interface]) -> bool {
    let find = |index: Option<u32>| all.iter().find(|other| Some(other.index) == index);
    if is_any(one, SILENT) || is_filtered(one, all) {
        return true;
    }
    if find(one.controller).is_some_and(|controller| is_any(controller, JOINED)) {
        return true;
    }
    // Our link is missing below: that is the finding, unless only the upper interfaces give that one packets.
    find(one.judged_on).is_some_and(|below| !is_any(below, SILENT))
}

fn is_filtered_by_members(one: &Interface, all: &[Interface]) -> bool {
    let mut members = members(one, all).peekable();
    is_any(one, JOINED) && members.peek().is_some() && members.all(|member| member.filtered || !member.up)
}

fn finding(one: &Interface, all: &[Interface]) -> Finding {
    let kind = one.kind.as_deref().unwrap_or("hardware");
    if is_any(one, TUNNELS) {
        let meaning =
            format!("a tunnel ({kind}) ends here: decapsulated packets reach the protected ports unfiltered");
        let advice = match carries_native(one) {
            Some(true) => format!("{ADD}, {BLOCK}, or end tunnels on another host"),
            _ => format!("end tunnels on another host, or {BLOCK}"),
        };
        return Finding::new(Kind::Tunnel, one.name.clone(), meaning, advice);
    }
    let joined: Vec<&Interface> = members(one, all).collect();
    let names = joined.iter().map(|member| member.name.as_str()).collect::<Vec<_>>().join(", ");
    if is_any(one, CONTAINERS) {
        let of = if names.is_empty() { String::new() } else { format!(", with {names}") };
        let meaning = format!(
            "a {kind}{of}: containers and virtual machines behind it reach the protected ports unfiltered"
        );
        let open: Vec<&&Interface> = joined.iter().filter(|member| member.up && !member.filtered).collect();
        let first = if carries_native(one) == Some(true) {
            format!("{ADD}, ")
        } else if !open.is_empty() && open.iter().all(|member| carries_native(member) == Some(true)) {
            let open = open.iter().map(|member| member.name.as_str()).collect::<Vec<_>>().join(", ");
            format!("add its ports ({open}) to `interfaces`, ")
        } else {
            String::new()
        };
        let advice = format!("{first}{BLOCK}, or run no untrusted containers on this host");
        return Finding::new(Kind::Container, one.name.clone(), meaning, advice);
    }
    let addresses = match one.addresses.as_slice() {
        [] => "no address of its own, but the host answers there for its other addresses".to_owned(),
        some => some.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
    };
    let meaning = format!("up ({kind}; {addresses}) without the agent's link: its packets are not filtered");
    let advice = match carries_native(one) {
        Some(true) => format!("{ADD}, or take it down"),
        None => format!("if its driver has native XDP, {ADD}; otherwise {BLOCK}, or take it down"),
        Some(false) => format!("its driver has no native XDP: {BLOCK}, or take it down"),
    };
    Finding::new(Kind::Interface, one.name.clone(), meaning, advice)
}

/// Generic mode passes packets that are marked as redirected; the sender at the other end of a veth can mark them.
fn generic(one: &Interface) -> Finding {
    Finding::new(
        Kind::GenericMode,
        one.name.clone(),
        "filtered in generic mode: the kernel does not run the program for a packet that the peer's namespace redirected \
         (tc mirred, nftables `fwd`), so that such packets reach the protected ports unfiltered"
            .to_owned(),
        "set `xdp_mode: native`, which a veth supports".to_owned(),
    )
}

/// Returns whether the driver runs XDP programs; `None` when neither the kernel nor the kind tells.
fn carries_native(one: &Interface) -> Option<bool> {
    match one.kind.as_deref() {
        _ if one.native.is_some() => one.native,
        Some("veth") => Some(true),
        Some("bond" | "tun") | None => None,
        Some(_) => Some(false),
    }
}

fn members<'a>(one: &Interface, all: &'a [Interface]) -> impl Iterator<Item = &'a Interface> {
    let index = one.index;
    all.iter().filter(move |other| other.controller == Some(index))
}

fn is_any(one: &Interface, kinds: &[&str]) -> bool {
    one.kind.as_deref().is_some_and(|kind| kinds.contains(&kind))
}

const ADD: &str = "add it to `interfaces`";
const BLOCK: &str = "block the protected ports on it with nftables (`iifname`)";
