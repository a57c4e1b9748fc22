//! `audit` finds every bypass while it is planted, and not before or after.

use std::time::Duration;

use firewall_tests::lab::{Host, TestHost, User, eventually};

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

fn perform(host: &Host, lines: &[&str]) {
    for line in lines {
        match line.split_once('=').filter(|_| line.starts_with("net/")) {
            Some((setting, value)) => host.set(setting, value).unwrap(),
            None => drop(host.run(line).unwrap()),
        }
    }
}
