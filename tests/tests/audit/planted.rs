//! `audit` finds every bypass while it is planted, and not before or after.

use std::time::Duration;

use firewall_tests::lab::{Host, RuleFile, TestHost, User, eventually};

use crate::setup::{Audit as _, filtered};

struct Plant {
    kind: &'static str,
    /// Text that the finding's object contains.
    object: &'static str,
    /// Command lines, or settings as `path=value`.
    plant: &'static [&'static str],
    uproot: &'static [&'static str],
}

const PLANTS: &[Plant] = &[
    Plant {
        kind: "container",
        object: "pod0",
        plant: &["ip link add pod0 type veth peer name pod1 netns outside", "ip link set pod0 up"],
        uproot: &["ip link delete pod0"],
    },
    Plant {
        kind: "container",
        object: "br0",
        plant: &["ip link add br0 type bridge", "ip link set br0 up"],
        uproot: &["ip link delete br0"],
    },
    Plant {
        kind: "tunnel",
        object: "vx0",
        plant: &[
            "ip link add vx0 type vxlan id 7 dstport 4789 local 192.0.2.10 dev eth0",
            "ip link set vx0 up",
        ],
        uproot: &["ip link delete vx0"],
    },
    Plant {
        kind: "dnat",
        object: "nftables: ip planted pre, handle",
        plant: &[
            "nft add table ip planted",
            "nft add chain ip planted pre { type nat hook prerouting priority -100 ; }",
            "nft add rule ip planted pre tcp dport 8432 redirect to :5432",
        ],
        uproot: &["nft delete table ip planted"],
    },
    Plant {
        kind: "dnat",
        object: "nftables: ip6 planted pre, handle",
        plant: &[
            "nft add table ip6 planted",
            "nft add chain ip6 planted pre { type nat hook prerouting priority -100 ; }",
            "nft add rule ip6 planted pre tcp dport 8432 dnat to [2001:db8::7]:5432",
        ],
        uproot: &["nft delete table ip6 planted"],
    },
    // The port is in an nftables map.
    Plant {
        kind: "dnat",
        object: "nftables: inet planted pre, handle",
        plant: &[
            "nft add table inet planted",
            "nft add chain inet planted pre { type nat hook prerouting priority -100 ; }",
            "nft add rule inet planted pre dnat ip addr . port to tcp dport map { 8432 : 10.0.0.1 . 5432 }",
        ],
        uproot: &["nft delete table inet planted"],
    },
    Plant {
        kind: "dnat",
        object: "nftables: ip nat PREROUTING, handle",
        plant: &[
            "iptables-nft -t nat -A PREROUTING -p tcp --dport 8432 -j DNAT --to-destination 10.0.0.1:5432",
        ],
        uproot: &["nft delete table ip nat"],
    },
    Plant {
        kind: "dnat",
        object: "iptables-legacy: nat PREROUTING, rule 2",
        plant: &[
            "iptables-legacy -t nat -A PREROUTING -p tcp --dport 5432 -j REDIRECT --to-ports 5433",
            "iptables-legacy -t nat -A PREROUTING -p tcp --dport 8432 -j REDIRECT --to-ports 5432",
        ],
        uproot: &["iptables-legacy -t nat -F"],
    },
    Plant {
        kind: "dnat",
        object: "ip6tables-legacy: nat mine, rule 1",
        plant: &[
            "ip6tables-legacy -t nat -N mine",
            "ip6tables-legacy -t nat -A mine -p udp --dport 8432 -j DNAT --to-destination [2001:db8::7]:5432",
        ],
        uproot: &["ip6tables-legacy -t nat -F mine"],
    },
    Plant {
        kind: "dnat",
        object: "iptables-legacy: mangle PREROUTING, rule 1",
        plant: &["iptables-legacy -t mangle -A PREROUTING -p tcp --dport 8432 -j TPROXY --on-port 5432"],
        uproot: &["iptables-legacy -t mangle -F"],
    },
    Plant {
        kind: "dnat",
        object: "nftables: ip planted pre, handle",
        plant: &[
            "nft add table ip planted",
            "nft add chain ip planted pre { type filter hook prerouting priority -150 ; }",
            "nft add rule ip planted pre tcp dport 8432 tproxy to :5432",
        ],
        uproot: &["nft delete table ip planted"],
    },
    Plant {
        kind: "rewrite",
        object: "nftables: ip planted pre, handle",
        plant: &[
            "nft add table ip planted",
            "nft add chain ip planted pre { type filter hook prerouting priority -300 ; }",
            "nft add rule ip planted pre tcp dport 8432 tcp dport set 5432",
        ],
        uproot: &["nft delete table ip planted"],
    },
    Plant {
        kind: "rewrite",
        object: "nftables: netdev planted in, handle",
        plant: &[
            "nft add table netdev planted",
            "nft add chain netdev planted in { type filter hook ingress device eth0 priority 0 ; }",
            "nft add rule netdev planted in ip daddr 192.0.2.11 tcp dport 20300 ip daddr set 192.0.2.10",
        ],
        uproot: &["nft delete table netdev planted"],
    },
    Plant {
        kind: "ipsec",
        object: "xfrm policy: in, 192.0.2.20/32 → 192.0.2.10/32",
        plant: &[
            "ip xfrm policy add src 192.0.2.20/32 dst 192.0.2.10/32 dir in tmpl src 192.0.2.20 dst 192.0.2.10 proto esp \
             mode tunnel",
        ],
        uproot: &["ip xfrm policy flush"],
    },
    Plant {
        kind: "ipsec",
        object: "xfrm state: 192.0.2.20 → 192.0.2.10, esp tunnel",
        plant: &[
            "ip xfrm state allocspi src 192.0.2.20 dst 192.0.2.10 proto esp mode tunnel min 256 max 512",
        ],
        uproot: &["ip xfrm state flush"],
    },
    Plant {
        kind: "segment_routing",
        object: "route 2001:db8:a::4/128: seg6local End.DT6",
        plant: &["ip -6 route add 2001:db8:a::4 encap seg6local action End.DT6 table 255 dev eth0"],
        uproot: &["ip -6 route delete 2001:db8:a::4"],
    },
    Plant {
        kind: "masquerade",
        object: "nftables: ip planted post, handle",
        plant: &[
            "nft add table ip planted",
            "nft add chain ip planted post { type nat hook postrouting priority 100 ; }",
            "nft add rule ip planted post masquerade fully-random",
        ],
        uproot: &["nft delete table ip planted"],
    },
    Plant {
        kind: "masquerade",
        object: "nftables: ip planted post, handle",
        plant: &[
            "nft add table ip planted",
            "nft add chain ip planted post { type nat hook postrouting priority 100 ; }",
            "nft add rule ip planted post meta l4proto tcp snat to 192.0.2.10:32000-40000",
        ],
        uproot: &["nft delete table ip planted"],
    },
    Plant {
        kind: "masquerade",
        object: "iptables-legacy: nat POSTROUTING, rule 1",
        plant: &["iptables-legacy -t nat -A POSTROUTING -j MASQUERADE --random-fully"],
        uproot: &["iptables-legacy -t nat -F"],
    },
    Plant {
        kind: "masquerade",
        object: "nftables: ip nat POSTROUTING, handle",
        plant: &["iptables-nft -t nat -A POSTROUTING -p tcp -j MASQUERADE --to-ports 30000-32767"],
        uproot: &["nft delete table ip nat"],
    },
    Plant {
        kind: "ephemeral",
        object: "32000-32767",
        plant: &["net/ipv4/ip_local_port_range=32000 60999"],
        uproot: &["net/ipv4/ip_local_port_range=32768 60999"],
    },
    Plant {
        kind: "source_routing",
        object: "eth0: net.ipv4.conf.eth0.accept_source_route",
        plant: &["net/ipv4/conf/all/accept_source_route=1", "net/ipv4/conf/eth0/accept_source_route=1"],
        uproot: &["net/ipv4/conf/all/accept_source_route=0"],
    },
    Plant {
        kind: "segment_routing",
        object: "eth0: net.ipv6.conf.eth0.seg6_enabled",
        plant: &["net/ipv6/conf/all/seg6_enabled=1", "net/ipv6/conf/eth0/seg6_enabled=1"],
        uproot: &["net/ipv6/conf/all/seg6_enabled=0"],
    },
    Plant {
        kind: "segment_routing",
        object: "eth0: net.ipv6.conf.eth0.rpl_seg_enabled",
        plant: &["net/ipv6/conf/all/rpl_seg_enabled=1", "net/ipv6/conf/eth0/rpl_seg_enabled=1"],
        uproot: &["net/ipv6/conf/all/rpl_seg_enabled=0"],
    },
    Plant {
        kind: "route_localnet",
        object: "eth0: net.ipv4.conf.eth0.route_localnet",
        plant: &["net/ipv4/conf/eth0/route_localnet=1"],
        uproot: &["net/ipv4/conf/eth0/route_localnet=0"],
    },
];

#[test]
fn each_planted_bypass_is_reported_and_only_then() {
    let host = filtered(User::Root);
    is_quiet(&host, "at first");
    for Plant { kind, object, plant, uproot } in PLANTS {
        perform(&host.db, plant);
        let seen = host.audit(&[]);
        assert_eq!((seen.code, seen.bypasses.len()), (Some(5), 1), "{object}: {seen:?}");
        let (found, shown) = seen.bypasses.first().unwrap();
        assert!(found == kind && shown.contains(object), "{object}: {seen:?}");
        let accepting = host.audit(&["--accept", kind]);
        assert_eq!((accepting.code, accepting.bypasses.len()), (Some(0), 1), "{object}: {accepting:?}");
        perform(&host.db, uproot);
        is_quiet(&host, object);
    }
}

/// Control: rules that lead elsewhere, or that match only packets already judged.
#[test]
fn harmless_rules_are_not_reported() {
    let host = filtered(User::Root);
    perform(
        &host.db,
        &[
            "nft add table ip harmless",
            "nft add chain ip harmless pre { type nat hook prerouting priority -100 ; }",
            "nft add chain ip harmless post { type nat hook postrouting priority 100 ; }",
            "nft add rule ip harmless pre tcp dport 8432 dnat to 10.0.0.1:80",
            "nft add rule ip harmless pre tcp dport 5432 dnat to 10.0.0.1:5433",
            "nft add rule ip harmless pre tcp dport 5432 dnat to 10.0.0.1",
            "nft add rule ip harmless pre ip daddr 192.0.2.10 tcp dport 20300 dnat to 10.0.0.1:5432",
            "nft add rule ip harmless post snat to 192.0.2.10",
            "iptables-nft -t nat -A PREROUTING -p tcp --dport 30092 -j DNAT --to-destination 10.0.0.1:5432",
            "iptables-nft -t nat -A PREROUTING -p udp --dport 53 -j REDIRECT --to-ports 1053",
            // What the host sends.
            "nft add chain ip harmless out { type filter hook output priority 0 ; }",
            "nft add rule ip harmless out tcp dport 8432 tcp dport set 5432",
            "iptables-legacy -t nat -A OUTPUT -p tcp --dport 8432 -j REDIRECT --to-ports 5432",
            "iptables-legacy -t nat -A PREROUTING -d 192.0.2.10 -p udp --dport 5432 -j REDIRECT --to-ports 20300",
            "iptables-legacy -t raw -A PREROUTING -p tcp --dport 8432 -j CT --notrack",
            "nft add rule ip harmless pre tcp sport 8432 tcp sport set 5432",
            "nft add rule ip harmless pre tcp dport 8432 tcp dport set 8433",
            // Source ports of the senders, which avoid the guarded ports, and chosen ones that do.
            "nft add rule ip harmless post masquerade",
            "nft add rule ip harmless post meta l4proto tcp masquerade to :33000-40000",
            // Judged on the lower interface.
            "ip link add mv0 link eth0 up type macvlan",
            "ip address add 192.0.2.12/24 dev mv0",
            // Judged where they arrive.
            "tc qdisc add dev eth0 clsact",
            "tc filter add dev eth0 ingress u32 match u32 0 0xffffffff action mirred ingress redirect dev mv0",
            "ip xfrm policy add src 192.0.2.20/32 dst 192.0.2.10/32 dir out tmpl src 192.0.2.10 dst 192.0.2.20 proto esp \
             mode tunnel",
            "ip xfrm state allocspi src 192.0.2.10 dst 192.0.2.20 proto esp mode tunnel min 256 max 512",
            "ip route add local 192.0.2.12/32 dev lo table 77",
            "ip -6 route add 2001:db8:a::5/128 encap seg6local action End.B6.Encaps srh segs 2001:db8::7 dev eth0",
        ],
    );
    is_quiet(&host, "harmless rules");
    perform(
        &host.db,
        &["nft add rule ip harmless pre ip daddr 192.0.2.11 tcp dport 20300 dnat to 10.0.0.1:5432"],
    );
    assert_eq!(host.audit(&[]).bypasses.len(), 1);
}

#[test]
fn loopback_and_unnamed_address_listeners_are_reported() {
    let host = filtered(User::Root);
    let listen = |address: &str| host.db.listen(address).unwrap();
    let findings = || -> Vec<(String, String)> { host.audit(&[]).bypasses.into_iter().collect() };
    let finding = |kind: &str, object: &str| (kind.to_owned(), object.to_owned());

    let elsewhere = listen("0.0.0.0:8080");
    assert_eq!(findings(), []);
    let guarded = listen("127.0.0.1:5432");
    assert_eq!(findings(), [finding("loopback", "lo: 127.0.0.1:5432/tcp")]);
    drop((elsewhere, guarded));
    becomes_quiet(&host);

    let wildcard = listen("0.0.0.0:20300");
    let by_loopback = finding("loopback", "lo: 0.0.0.0:20300/tcp");
    assert_eq!(findings(), std::slice::from_ref(&by_loopback));
    host.db.run("ip address add 192.0.2.11/24 dev eth0").unwrap();
    assert_eq!(findings(), [by_loopback, finding("unclaimed_address", "192.0.2.11:20300/tcp")]);
    drop(wildcard);
    becomes_quiet(&host);
}

/// The control: the same listener on a host whose loopback is not filtered has the finding.
#[test]
fn filtered_loopback_is_no_finding() {
    for (interfaces, expected) in [(&["eth0"][..], &["loopback"][..]), (&["eth0", "lo"], &[])] {
        let host = TestHost::builder()
            .user(User::Root)
            .interfaces(interfaces)
            .xdp_mode("auto")
            .servers(&["192.0.2.10/24"])
            .rules(RuleFile::new("orders", 1).endpoint("192.0.2.10:20300"))
            .start();
        host.until_revision("orders", 1);
        host.until("every interface is filtered", |status| {
            status["interfaces"].as_array().is_some_and(|all| all.len() == interfaces.len())
        });
        host.stop();
        let _listener = host.db.listen("127.0.0.1:5432").unwrap();
        assert_eq!(host.audit(&[]).kinds(), expected, "{interfaces:?}");
        let reached = host.db.connect("127.0.0.1:5432", Duration::from_millis(300));
        assert_eq!(reached.is_ok(), !expected.is_empty(), "{interfaces:?}");
    }
}

#[test]
fn unconnected_udp_socket_at_a_guarded_port_is_reported_unless_claimed() {
    let host = filtered(User::Root);
    let kinds = || host.audit(&[]).kinds().join(" ");
    let resolver = host.db.udp("192.0.2.10:30005").unwrap();
    assert_eq!(kinds(), "loopback resolver");
    resolver.connect("192.0.2.20:53").unwrap();
    assert_eq!(kinds(), "", "a connected socket");
    drop(resolver);
    let _elsewhere = host.db.udp("192.0.2.10:29005").unwrap();
    assert_eq!(kinds(), "");
}

#[test]
fn advice_never_adds_what_has_no_native_mode() {
    let host = filtered(User::Root);
    perform(
        &host.db,
        &[
            "ip link add pod0 type veth peer name pod1 netns outside",
            "ip link add br0 type bridge",
            "ip link set pod0 up master br0",
            "ip link set br0 up",
            "ip link add vx0 type vxlan id 7 dstport 4789 local 192.0.2.10 dev eth0",
            "ip link set vx0 up",
            "ip tuntap add tun0 mode tun",
            "ip link set tun0 up",
        ],
    );
    let found = host.json(&["audit"])["findings"].clone();
    let found = found.as_array().unwrap();
    let advice = |object: &str| {
        let one = found.iter().find(|one| one["object"] == object);
        one.unwrap_or_else(|| panic!("{object}: {found:?}"))["advice"].as_str().unwrap().to_owned()
    };
    for (object, added) in
        [("br0", Some("add its ports (pod0) to `interfaces`")), ("vx0", None), ("tun0", None)]
    {
        let advice = advice(object);
        match added {
            Some(words) => assert!(advice.contains(words), "{object}: {advice}"),
            None => assert!(!advice.contains("`interfaces`"), "{object}: {advice}"),
        }
    }
    perform(&host.db, &["ip link set pod0 nomaster"]);
    let found = host.json(&["audit"])["findings"].to_string();
    assert!(found.contains("add it to `interfaces`, block"), "{found}");
}

/// A closed listener may survive briefly in a process that another thread forks.
fn becomes_quiet(host: &TestHost) {
    let quiet = || host.audit(&[]).bypasses.is_empty().then_some(());
    eventually(Duration::from_secs(10), "no listener remains", quiet).unwrap();
    is_quiet(host, "no listener remains");
}

/// Root sees everything: the audit is complete and without findings.
fn is_quiet(host: &TestHost, when: &str) {
    let seen = host.audit(&[]);
    assert!(seen.bypasses.is_empty(), "{when}: {seen:?}");
    assert_eq!((seen.code, seen.unchecked.len()), (Some(0), 0), "{when}: {seen:?}");
}

pub fn perform(host: &Host, lines: &[&str]) {
    for line in lines {
        match line.split_once('=').filter(|_| line.starts_with("net/")) {
            Some((setting, value)) => host.set(setting, value).unwrap(),
            None => drop(host.run(line).unwrap()),
        }
    }
}
