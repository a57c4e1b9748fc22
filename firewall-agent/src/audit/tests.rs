use std::net::IpAddr;

use super::*;
use crate::rules::Protocol;
use crate::sync::{Destination, Guards, Ports};

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// Facts with an endpoint at one address, its port not guarded, a guarded port, and a filtered interface.
fn quiet() -> Facts {
    let destination: Destination = "192.0.2.10:20300/tcp".parse().unwrap();
    Facts {
        protected: Protected::new([destination], [5432].into()),
        interfaces: Ok(vec![
            Interface { index: 1, name: "lo".to_owned(), up: true, loopback: true, ..Interface::default() },
            Interface {
                index: 2,
                name: "eth0".to_owned(),
                up: true,
                addresses: vec![ip("192.0.2.10")],
                filtered: true,
                ..Interface::default()
            },
        ]),
        listeners: Ok(Vec::new()),
        rules: vec![Ok(Vec::new())],
        routes: Ok(Routes::default()),
        ipsec: Ok(Vec::new()),
        ephemeral: Ok(Ephemeral { range: 32_768..=60_999, reserved: Vec::new() }),
        settings: Ok(Vec::new()),
    }
}

fn with(more: impl IntoIterator<Item = Interface>) -> Facts {
    let mut facts = quiet();
    facts.interfaces.as_mut().unwrap().extend(more);
    facts
}

fn interface(index: u32, kind: &str) -> Interface {
    let hardware = kind.is_empty();
    Interface {
        index,
        name: format!("{}{index}", if hardware { "eth" } else { kind }),
        kind: (!hardware).then(|| kind.to_owned()),
        up: true,
        ..Interface::default()
    }
}

fn found(facts: &Facts) -> Vec<(Kind, String)> {
    audit(facts).findings.into_iter().map(|finding| (finding.kind, finding.object)).collect()
}

fn kinds(facts: &Facts) -> Vec<Kind> {
    found(facts).into_iter().map(|(kind, _)| kind).collect()
}

#[test]
fn host_without_bypasses_has_no_findings() {
    assert_eq!(audit(&quiet()), Audit::default());
}

#[test]
fn no_protected_port_no_finding() {
    let mut facts = with([interface(3, "")]);
    facts.protected = Protected::default();
    assert_eq!(audit(&facts), Audit::default());
}

#[test]
fn unfiltered_interface_that_is_up_is_reported_by_kind() {
    for (kind, expected) in [
        ("", Some(Kind::Interface)),
        ("bond", Some(Kind::Interface)),
        ("newdevice", Some(Kind::Interface)),
        ("veth", Some(Kind::Container)),
        ("bridge", Some(Kind::Container)),
        ("macvlan", Some(Kind::Container)),
        ("vlan", Some(Kind::Interface)),
        ("wireguard", Some(Kind::Tunnel)),
        ("vxlan", Some(Kind::Tunnel)),
        ("gre", Some(Kind::Tunnel)),
        ("ipip", Some(Kind::Tunnel)),
        ("sit", Some(Kind::Tunnel)),
        ("tun", Some(Kind::Tunnel)),
        ("dummy", None),
        ("ifb", None),
    ] {
        let one = interface(3, kind);
        assert_eq!(kinds(&with([one.clone()])), expected.into_iter().collect::<Vec<_>>(), "{kind}");
        assert_eq!(kinds(&with([Interface { up: false, ..one.clone() }])), [], "{kind} down");
        assert_eq!(kinds(&with([Interface { filtered: true, ..one }])), [], "{kind} filtered");
    }
}

#[test]
fn interface_behind_a_filtered_one_is_not_reported() {
    let member = |filtered| Interface { controller: Some(3), filtered, ..interface(4, "") };
    let cases = [
        ("bond", vec![member(true)], vec![]),
        ("bond", vec![member(false)], vec!["bond3"]),
        ("bond", vec![member(true), Interface { index: 5, ..member(false) }], vec!["bond3"]),
        ("bridge", vec![member(true)], vec![]),
        ("bridge", vec![member(false)], vec!["bridge3"]),
        // The members of a VRF receive their packets themselves.
        ("vrf", vec![member(false)], vec!["eth4"]),
        ("vlan", vec![], vec!["vlan3"]),
    ];
    for (kind, members, expected) in cases {
        let facts = with([interface(3, kind)].into_iter().chain(members));
        let objects: Vec<String> = found(&facts).into_iter().map(|(_, object)| object).collect();
        assert_eq!(objects, expected, "{kind}");
    }
}

#[test]
fn interface_above_a_filtered_one_is_not_reported() {
    for kind in ["vlan", "macvlan", "macvtap", "ipvlan", "ipvtap"] {
        let upper = |index, lower| Interface { judged_on: Some(lower), ..interface(index, kind) };
        assert_eq!(found(&with([upper(3, 2)])), [], "{kind}");
        assert_eq!(found(&with([upper(3, 2), upper(4, 3)])), [], "{kind} above a {kind}");
        let open = found(&with([interface(5, ""), upper(3, 5)]));
        assert_eq!(
            open,
            [(Kind::Interface, "eth5".to_owned())],
            "{kind}: the lower interface is the finding"
        );
        assert_eq!(
            found(&with([interface(5, "dummy"), upper(3, 5)])).len(),
            1,
            "{kind} without a way in below"
        );
        let members = Interface { controller: Some(6), filtered: true, ..interface(5, "") };
        assert_eq!(found(&with([members, interface(6, "bond"), upper(3, 6)])), [], "{kind} on a bond");
    }
}

#[test]
fn advice_names_only_interfaces_that_can_be_added() {
    let member = Interface { controller: Some(3), native: Some(true), ..interface(4, "veth") };
    let tap = Interface { native: Some(true), ..interface(3, "tun") };
    let tun = Interface { native: Some(false), ..interface(3, "tun") };
    let card = |native| Interface { native, ..interface(3, "") };
    for (interfaces, added) in [
        (vec![card(Some(true))], Some("add it to `interfaces`, or")),
        (vec![card(Some(false))], None),
        (vec![card(None)], Some("if its driver has native XDP, add it to `interfaces`; otherwise block")),
        (vec![interface(3, "veth")], Some("add it to `interfaces`, block")),
        (vec![interface(3, "bridge")], None),
        (vec![interface(3, "bridge"), member], Some("add its ports (veth4) to `interfaces`, block")),
        (vec![interface(3, "macvlan")], None),
        (vec![interface(3, "vxlan")], None),
        (vec![interface(3, "gretap")], None),
        (vec![interface(3, "wireguard")], None),
        (vec![tap], Some("add it to `interfaces`, block")),
        (vec![tun], None),
        (vec![interface(3, "vlan")], None),
    ] {
        let audit = audit(&with(interfaces.clone()));
        let advice = &audit.findings[0].advice;
        match added {
            Some(words) => assert!(advice.starts_with(words), "{interfaces:?}: {advice}"),
            None => assert!(
                !advice.contains("`interfaces`") && advice.contains("block"),
                "{interfaces:?}: {advice}"
            ),
        }
    }
}

#[test]
fn generic_mode_is_reported_on_a_veth_only() {
    for (kind, filtered, generic, expected) in [
        ("veth", true, true, Some(Kind::GenericMode)),
        ("veth", true, false, None),
        ("", true, true, None),
        ("macvlan", true, true, None),
    ] {
        let one = Interface { filtered, generic, ..interface(3, kind) };
        assert_eq!(kinds(&with([one])), expected.into_iter().collect::<Vec<_>>(), "{kind} {generic}");
    }
}

#[test]
fn listeners_are_not_reported_on_a_filtered_loopback() {
    let mut facts = quiet();
    facts.listeners = Ok(vec![Listener { address: ip("0.0.0.0"), port: 5432, protocol: Protocol::Tcp }]);
    assert_eq!(kinds(&facts), [Kind::Loopback]);
    facts.interfaces.as_mut().unwrap()[0].filtered = true;
    assert_eq!(kinds(&facts), []);
}

#[test]
fn udp_sockets_reached_by_broadcast_or_multicast_are_reported() {
    let cases: [(&str, &str, bool); 10] = [
        ("0.0.0.0", "192.0.2.10:20300/udp", true),
        ("::", "192.0.2.10:20300/udp", true),
        ("192.0.2.255", "192.0.2.10:20300/udp", true),
        ("255.255.255.255", "192.0.2.10:20300/udp", true),
        ("239.1.2.3", "192.0.2.10:20300/udp", true),
        ("ff02::7", "192.0.2.10:20300/udp", true),
        ("192.0.2.10", "192.0.2.10:20300/udp", false),
        // An endpoint at every address covers these, too.
        ("0.0.0.0", "*:20300/udp", false),
        // The endpoint of another protocol.
        ("0.0.0.0", "192.0.2.10:20300/tcp", false),
        // A broadcast address of another network.
        ("192.0.3.255", "192.0.2.10:20300/udp", false),
    ];
    for (address, endpoint, expected) in cases {
        let mut facts = quiet();
        facts.protected = Protected::new([endpoint.parse().unwrap()], [5432].into());
        let eth0 = &mut facts.interfaces.as_mut().unwrap()[1];
        (eth0.broadcasts, eth0.multicast) = (vec![ip("192.0.2.255")], true);
        let listener = Listener { address: ip(address), port: 20_300, protocol: Protocol::Udp };
        facts.listeners = Ok(vec![listener.clone()]);
        assert_eq!(kinds(&facts).contains(&Kind::Broadcast), expected, "{address} {endpoint}");
        facts.listeners = Ok(vec![Listener { port: 5432, ..listener }]);
        assert!(
            !kinds(&facts).contains(&Kind::Broadcast),
            "{address}: a guarded port is closed at every address"
        );
    }
}

#[test]
fn unconnected_udp_sockets_at_guarded_ports_are_reported_unless_claimed() {
    let mut facts = quiet();
    facts.protected = Protected::new(["192.0.2.10:30001/udp".parse().unwrap()], (30_000..=32_767).collect());
    let at = |address: &str, port, protocol| Listener { address: ip(address), port, protocol };
    let objects = |facts: &Facts| {
        let findings = audit(facts).findings.into_iter().filter(|one| one.kind == Kind::Resolver);
        findings.map(|one| one.object).collect::<Vec<_>>()
    };
    facts.listeners = Ok(vec![
        at("0.0.0.0", 30_000, Protocol::Udp),
        at("0.0.0.0", 30_001, Protocol::Udp),
        at("192.0.2.10", 30_001, Protocol::Udp),
        at("0.0.0.0", 30_005, Protocol::Tcp),
        at("0.0.0.0", 29_999, Protocol::Udp),
        at("127.0.0.1", 30_007, Protocol::Udp),
        at("0.0.0.0", 30_008, Protocol::Udp),
        at("::", 30_009, Protocol::Udp),
    ]);
    assert_eq!(objects(&facts), ["0.0.0.0/udp, ports 30000, 30008", "::/udp, port 30009"]);
    facts.listeners = Ok((0..20).map(|each| at("0.0.0.0", 30_010 + 2 * each, Protocol::Udp)).collect());
    assert!(objects(&facts)[0].ends_with("30018, 30020, and 14 more"), "{:?}", objects(&facts));
}

#[test]
fn local_prefixes_are_reported_where_a_listener_is_reached_unjudged() {
    let cases: [(&str, &str, &str, bool); 9] = [
        ("10.0.0.0/24", "0.0.0.0", "192.0.2.10:20300/tcp", true),
        ("10.0.0.0/24", "::", "192.0.2.10:20300/tcp", true),
        ("10.0.0.0/24", "10.0.0.7", "192.0.2.10:20300/tcp", true),
        ("2001:db8:9::/64", "::", "192.0.2.10:20300/tcp", true),
        ("10.0.0.1/32", "0.0.0.0", "10.0.0.1:20300/tcp", false),
        ("10.0.0.0/24", "192.0.2.10", "192.0.2.10:20300/tcp", false),
        ("10.0.0.0/24", "0.0.0.0", "*:20300/tcp", false),
        ("2001:db8:9::/64", "0.0.0.0", "192.0.2.10:20300/tcp", false),
        // The route of an interface's own address.
        ("192.0.2.10/32", "0.0.0.0", "192.0.2.10:20300/tcp", false),
    ];
    for (prefix, address, endpoint, expected) in cases {
        let mut facts = quiet();
        facts.protected = Protected::new([endpoint.parse().unwrap()], [5432].into());
        facts.routes.as_mut().unwrap().local = vec![prefix.parse().unwrap()];
        let listener = Listener { address: ip(address), port: 20_300, protocol: Protocol::Tcp };
        facts.listeners = Ok(vec![listener.clone()]);
        assert_eq!(kinds(&facts).contains(&Kind::LocalRoute), expected, "{prefix} {address} {endpoint}");
        facts.listeners = Ok(vec![Listener { port: 5432, ..listener }]);
        assert!(
            !kinds(&facts).contains(&Kind::LocalRoute),
            "{prefix}: a guarded port is closed at every address"
        );
    }
}

#[test]
fn ends_of_encapsulation_are_reported() {
    let one = |kind| Unwrapping { kind, object: "here".to_owned() };
    let mut facts = quiet();
    facts.routes.as_mut().unwrap().unwrapping = vec![one(UnwrappingKind::Seg6), one(UnwrappingKind::Mpls)];
    facts.ipsec = Ok(vec![one(UnwrappingKind::Ipsec)]);
    assert_eq!(kinds(&facts), [Kind::SegmentRouting, Kind::Mpls, Kind::Ipsec]);
}

#[test]
fn source_ports_that_meet_protected_ones_are_reported() {
    for (ports, guarded, expected) in [
        (SourcePorts::Random, 30_000..=32_767, Some("30000-32767")),
        (SourcePorts::Random, 443..=443, None),
        (SourcePorts::Unchanged, 30_000..=32_767, None),
        (SourcePorts::Unchanged, 40_000..=40_001, Some("40000-40001")),
        (SourcePorts::To(32_000..=40_000), 30_000..=32_767, Some("32000-32767")),
        (SourcePorts::To(33_000..=40_000), 30_000..=32_767, None),
    ] {
        let mut facts = quiet();
        facts.protected = Protected::new([], guarded.clone().collect());
        facts.rules = vec![Ok(vec![masquerade(ports.clone(), None)])];
        let found: Vec<Finding> =
            audit(&facts).findings.into_iter().filter(|one| one.kind == Kind::Masquerade).collect();
        assert_eq!(found.len(), usize::from(expected.is_some()), "{ports:?} {guarded:?}");
        if let (Some(expected), Some(one)) = (expected, found.first()) {
            assert!(one.meaning.contains(expected), "{}", one.meaning);
            let free =
                if *guarded.start() == 30_000 { "--to-ports 32768-65535" } else { "--to-ports 1024-39999" };
            assert!(one.advice.contains(free), "{}", one.advice);
        }
    }
}

fn masquerade(ports: SourcePorts, protocol: Option<Protocol>) -> Rule {
    Rule::Masquerade(Masquerade { rule: "here".to_owned(), protocol, ports })
}

#[test]
fn answers_of_tcp_meet_no_port_that_is_closed_to_new_connections_only() {
    const ONLY: &str = "new_connections_only";
    let strict = || Guards::from_iter(30_000..=32_767);
    let new_connections = || Guards::new(Ports::new(), &strict().ports());
    for (guards, protocol, expected) in [
        (strict(), Some(Protocol::Tcp), Some(("fail", true))),
        (strict(), None, Some(("fail", true))),
        (strict(), Some(Protocol::Udp), Some(("fail by UDP", false))),
        (new_connections(), Some(Protocol::Tcp), None),
        (new_connections(), None, Some(("fail by UDP", false))),
        (new_connections(), Some(Protocol::Udp), Some(("fail by UDP", false))),
    ] {
        let mut facts = quiet();
        facts.protected = Protected::new([], guards.clone());
        facts.rules = vec![Ok(vec![masquerade(SourcePorts::Random, protocol)])];
        let found: Vec<Finding> =
            audit(&facts).findings.into_iter().filter(|one| one.kind == Kind::Masquerade).collect();
        let shown = found.first().map(|one| (one.meaning.clone(), one.advice.contains(ONLY)));
        let as_expected = match (&shown, expected) {
            (Some((meaning, advised)), Some((end, advises))) => meaning.ends_with(end) && *advised == advises,
            (shown, expected) => shown.is_none() && expected.is_none(),
        };
        assert!(as_expected, "{guards} {protocol:?}: {shown:?}");
    }
}

#[test]
fn redirects_of_unjudged_packets_into_the_host_are_reported() {
    for (from, to, expected) in [
        (Some("veth3"), Target::Received(2), true),
        (Some("veth3"), Target::Sent(Some(1)), true),
        (Some("veth3"), Target::Sent(None), true),
        (None, Target::Sent(Some(4)), true),
        // Out by a network card.
        (Some("veth3"), Target::Sent(Some(2)), false),
        // Judged where they arrived.
        (Some("eth0"), Target::Received(4), false),
        (Some("eth0"), Target::Sent(None), false),
        (Some("eth0"), Target::Program, true),
    ] {
        let mut facts = with([interface(3, "veth"), interface(4, "bridge")]);
        let one = Redirect { rule: "here".to_owned(), from: from.map(str::to_owned), to: to.clone() };
        facts.rules = vec![Ok(vec![Rule::Redirect(one)])];
        assert_eq!(kinds(&facts).contains(&Kind::Redirect), expected, "{from:?} {to:?}");
    }
}

#[test]
fn translation_is_covered_by_the_socket_filter_where_its_new_destination_is_known() {
    let to = |address: Option<&str>, ports| Translation {
        rule: "here".to_owned(),
        protocol: Some(Protocol::Tcp),
        port: Some(8432),
        new_address: address.map(ip),
        new_ports: ports,
        ..Translation::default()
    };
    for (translation, expected) in [
        (to(None, NewPorts::To(5432..=5432)), true),
        (to(Some("10.0.0.1"), NewPorts::To(5432..=5432)), true),
        (to(Some("192.0.2.10"), NewPorts::To(20_300..=20_300)), true),
        // The socket filter judges no other address at a port that is not guarded.
        (to(Some("10.0.0.1"), NewPorts::To(20_300..=20_300)), false),
        (to(None, NewPorts::To(20_300..=20_300)), false),
        (to(None, NewPorts::Unknown), false),
        (to(Some("192.0.2.10"), NewPorts::Unknown), true),
    ] {
        for stateless in [false, true] {
            let one = Translation { stateless, ..translation.clone() };
            let mut facts = quiet();
            facts.rules = vec![Ok(vec![Rule::Translation(one.clone())])];
            let [found] = &audit(&facts).findings[..] else { panic!("{one:?}") };
            let kind = if stateless { Kind::Rewrite } else { Kind::Dnat };
            assert_eq!((found.kind, found.socket_filter_covers), (kind, expected), "{one:?}");
        }
    }
}

#[test]
fn listeners_on_protected_ports_outside_endpoints_are_reported() {
    let cases: [(&str, u16, &[&str]); 6] = [
        ("0.0.0.0", 80, &[]),
        ("0.0.0.0", 5432, &["lo: 0.0.0.0:5432/tcp"]),
        ("192.0.2.10", 20_300, &["lo: 192.0.2.10:20300/tcp"]),
        ("0.0.0.0", 20_300, &["lo: 0.0.0.0:20300/tcp", "192.0.2.11:20300/tcp"]),
        ("::", 20_300, &["lo: [::]:20300/tcp", "192.0.2.11:20300/tcp", "[fe80::1]:20300/tcp"]),
        ("192.0.2.11", 20_300, &["lo: 192.0.2.11:20300/tcp", "192.0.2.11:20300/tcp"]),
    ];
    for (address, port, expected) in cases {
        let mut facts = quiet();
        facts.interfaces.as_mut().unwrap()[0].addresses = vec![ip("127.0.0.1"), ip("::1")];
        facts.interfaces.as_mut().unwrap()[1].addresses.extend([ip("192.0.2.11"), ip("fe80::1")]);
        let listener = Listener { address: ip(address), port, protocol: Protocol::Tcp };
        facts.listeners = Ok(vec![listener.clone()]);
        let objects: Vec<String> = found(&facts).into_iter().map(|(_, object)| object).collect();
        assert_eq!(objects, expected, "{address}:{port}");
        facts.listeners = Ok(vec![Listener { protocol: Protocol::Udp, ..listener }]);
        assert_eq!(found(&facts).is_empty(), port != 5432, "only guarded ports are of both protocols");
    }
}

#[test]
fn redirect_to_protected_port_is_reported_unless_its_port_is_protected() {
    let rule = |port: Option<u16>, new_ports| Translation {
        rule: "here".to_owned(),
        protocol: Some(Protocol::Tcp),
        address: None,
        port,
        new_address: None,
        new_ports,
        stateless: false,
    };
    for (translation, is_bypass) in [
        (rule(Some(8432), NewPorts::To(5432..=5432)), true),
        (rule(Some(8432), NewPorts::To(5000..=6000)), true),
        (rule(Some(8432), NewPorts::To(80..=80)), false),
        (rule(None, NewPorts::To(5432..=5432)), true),
        (rule(None, NewPorts::Unchanged), true),
        (rule(Some(8432), NewPorts::Unchanged), false),
        (rule(Some(8432), NewPorts::Unknown), true),
        // The programs judged the packet before the translation.
        (rule(Some(5432), NewPorts::Unchanged), false),
        (rule(Some(5432), NewPorts::Unknown), false),
        (Translation { protocol: None, ..rule(Some(5432), NewPorts::Unknown) }, false),
        (rule(Some(20_300), NewPorts::Unchanged), true),
        (Translation { address: Some(ip("192.0.2.10")), ..rule(Some(20_300), NewPorts::Unchanged) }, false),
        (Translation { address: Some(ip("192.0.2.11")), ..rule(Some(20_300), NewPorts::Unchanged) }, true),
    ] {
        let mut facts = quiet();
        facts.rules = vec![Ok(vec![Rule::Translation(translation.clone())])];
        let expected: &[Kind] = if is_bypass { &[Kind::Dnat] } else { &[] };
        assert_eq!(kinds(&facts), expected, "{translation:?}");
    }
}

#[test]
fn protected_ports_in_the_local_port_range_are_reported_as_ranges() {
    let mut facts = quiet();
    facts.protected = Protected::new(["*:40000/udp".parse().unwrap()], (32_766..=32_770).collect());
    let objects = |facts: &Facts| found(facts).into_iter().map(|(_, object)| object).collect::<Vec<_>>();
    assert_eq!(objects(&facts), ["32768-32770", "40000"]);
    facts.ephemeral.as_mut().unwrap().reserved = vec![32_769..=32_769, 40_000..=40_100];
    assert_eq!(objects(&facts), ["32768", "32770"]);
    facts.ephemeral.as_mut().unwrap().range = 50_000..=60_000;
    assert_eq!(objects(&facts), [""; 0]);
}

#[test]
fn settings_are_interpreted_as_by_the_kernel() {
    for (name, own_alone, all_alone, kind) in [
        (SettingName::SourceRouteV4, false, false, Kind::SourceRouting),
        (SettingName::SourceRouteV6, false, false, Kind::SourceRouting),
        (SettingName::Seg6, false, false, Kind::SegmentRouting),
        (SettingName::Rpl, false, false, Kind::SegmentRouting),
        (SettingName::RouteLocalnet, true, true, Kind::RouteLocalnet),
    ] {
        for (all, own, expected) in
            [(0, 0, false), (0, 1, own_alone), (1, 0, all_alone), (1, 1, true), (1, -1, all_alone)]
        {
            let mut facts = quiet();
            let set = |interface: &str, value| Setting { name, interface: interface.to_owned(), value };
            facts.settings = Ok(vec![set("all", all), set("eth0", own), set("lo", 1)]);
            let expected: &[Kind] = if expected { &[kind] } else { &[] };
            assert_eq!(kinds(&facts), expected, "{name:?} all {all} own {own}");
        }
    }
}

#[test]
fn failed_check_is_reported_and_hides_no_other_finding() {
    let blind = || Unchecked { fact: "it".to_owned(), reason: "refused".to_owned() };
    let facts = || with([interface(3, "veth")]);
    let cases: [(Facts, usize); 7] = [
        (Facts { interfaces: Err(blind()), ..facts() }, 0),
        (Facts { listeners: Err(blind()), ..facts() }, 1),
        (Facts { rules: vec![Ok(Vec::new()), Err(blind())], ..facts() }, 1),
        (Facts { routes: Err(blind()), ..facts() }, 1),
        (Facts { ipsec: Err(blind()), ..facts() }, 1),
        (Facts { ephemeral: Err(blind()), ..facts() }, 1),
        (Facts { settings: Err(blind()), ..facts() }, 1),
    ];
    for (facts, findings) in cases {
        let audit = audit(&facts);
        assert_eq!((audit.findings.len(), audit.unchecked), (findings, vec![blind()]));
    }
}

#[test]
fn kind_names_are_equal_on_the_command_line_and_in_json() {
    for kind in Kind::ALL {
        assert_eq!(kind.name().parse(), Ok(kind));
        assert_eq!(serde_json::to_value(kind).unwrap(), kind.name());
    }
    assert!("veth".parse::<Kind>().unwrap_err().contains("loopback, container"));
}
