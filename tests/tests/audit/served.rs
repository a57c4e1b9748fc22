//! Bypasses that `audit` reports are true: a refused source reaches the server by each of them, while the program is
//! attached and refuses the same source at the server's own address.

use std::net::{Ipv4Addr, UdpSocket};
use std::time::{Duration, Instant};

use firewall_tests::lab::{INTERFACE, RuleFile, TestHost, User, eventually};
use firewall_tests::packets::{Ethernet, Segment, Wire, frame};

use crate::planted::perform;
use crate::setup::Audit as _;

const SERVER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 10);
const REFUSED: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 66);
const ALLOWED: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 20);
const PORT: u16 = 20_300;
const OTHER_PORT: u16 = 8432;
/// Protocol number of IPv4 in IPv6.
const IPV4: u8 = 4;
/// Bound of every wait for a packet that must arrive.
const BOUND: Duration = Duration::from_secs(20);
/// Time for late effects of packets that must not arrive.
const GRACE: Duration = Duration::from_millis(200);
const TRIES: u32 = 5;

struct Bypass {
    kind: &'static str,
    /// Text that the finding's object contains.
    object: &'static str,
    plant: &'static [&'static str],
    uproot: &'static [&'static str],
    /// Interface of the outside host on which the frame leaves.
    by: &'static str,
    frame: fn(Ethernet) -> Vec<u8>,
    /// As the finding says; unjudged addresses at ports that are not guarded are not for the socket filter.
    is_covered: bool,
}

const BYPASSES: &[Bypass] = &[
    Bypass {
        kind: "local_route",
        object: "local 10.9.0.0/24: 0.0.0.0:20300/udp",
        plant: &["ip route add local 10.9.0.0/24 dev lo"],
        uproot: &["ip route delete local 10.9.0.0/24 dev lo"],
        by: INTERFACE,
        frame: |ethernet| datagram(ethernet, Ipv4Addr::new(10, 9, 0, 7), PORT),
        is_covered: false,
    },
    Bypass {
        kind: "rewrite",
        object: "nftables: ip planted pre, handle",
        plant: &[
            "nft add table ip planted",
            "nft add chain ip planted pre { type filter hook prerouting priority -300 ; }",
            "nft add rule ip planted pre udp dport 8432 udp dport set 20300",
        ],
        uproot: &["nft delete table ip planted"],
        by: INTERFACE,
        frame: |ethernet| datagram(ethernet, SERVER, OTHER_PORT),
        is_covered: false,
    },
    Bypass {
        kind: "dnat",
        object: "iptables-legacy: nat PREROUTING, rule 1",
        plant: &[
            "iptables-legacy -t nat -A PREROUTING -p udp --dport 8432 -j DNAT --to-destination 192.0.2.10:20300",
        ],
        uproot: &["iptables-legacy -t nat -F"],
        by: INTERFACE,
        frame: |ethernet| datagram(ethernet, SERVER, OTHER_PORT),
        is_covered: true,
    },
    Bypass {
        kind: "dnat",
        object: "iptables-legacy: mangle PREROUTING, rule 1",
        plant: &[
            "iptables-legacy -t mangle -A PREROUTING -d 192.0.2.10 -p udp --dport 8432 -j TPROXY --on-port 20300",
        ],
        uproot: &["iptables-legacy -t mangle -F"],
        by: INTERFACE,
        frame: |ethernet| datagram(ethernet, SERVER, OTHER_PORT),
        is_covered: true,
    },
    Bypass {
        kind: "dnat",
        object: "nftables: ip planted pre, handle",
        plant: &[
            "nft add table ip planted",
            "nft add chain ip planted pre { type filter hook prerouting priority -150 ; }",
            "nft add rule ip planted pre ip daddr 192.0.2.10 udp dport 8432 tproxy to 192.0.2.10:20300",
        ],
        uproot: &["nft delete table ip planted"],
        by: INTERFACE,
        frame: |ethernet| datagram(ethernet, SERVER, OTHER_PORT),
        is_covered: true,
    },
    Bypass {
        kind: "segment_routing",
        object: "route 2001:db8:a::1/128: seg6local End.DX4",
        plant: &["ip -6 route add 2001:db8:a::1 encap seg6local action End.DX4 nh4 192.0.2.10 dev eth0"],
        uproot: &["ip -6 route delete 2001:db8:a::1"],
        by: INTERFACE,
        frame: |ethernet| {
            let inner = datagram(frame(), SERVER, PORT).split_off(ETHERNET);
            let [from, to] = ["2001:db8:2::66", "2001:db8:a::1"].map(|text| text.parse().unwrap());
            ethernet.ipv6(from, to).carrying(Segment::raw(IPV4, &inner)).build()
        },
        is_covered: true,
    },
    // Rules of nftables block the second interface; behind the redirect its packets come from the first.
    Bypass {
        kind: "redirect",
        object: "tc: eth1 ingress",
        plant: &[
            "tc qdisc add dev eth1 clsact",
            "tc filter add dev eth1 ingress u32 match u32 0 0 action mirred ingress redirect dev eth0",
        ],
        uproot: &["tc qdisc delete dev eth1 clsact"],
        by: SECOND,
        frame: |ethernet| datagram(ethernet, SERVER, PORT),
        is_covered: true,
    },
    Bypass {
        kind: "redirect",
        object: "nftables: netdev planted in, handle",
        plant: &[
            "nft add table netdev planted",
            "nft add chain netdev planted in { type filter hook ingress device eth1 priority 0 ; }",
            "nft add rule netdev planted in fwd to lo",
        ],
        uproot: &["nft delete table netdev planted"],
        by: SECOND,
        // Any interface accepts it.
        frame: |ethernet| datagram(ethernet.to([0xff; 6]), SERVER, PORT),
        is_covered: true,
    },
];

const SECOND: &str = "eth1";
/// Bytes of an Ethernet header.
const ETHERNET: usize = 14;

fn datagram(ethernet: Ethernet, to: Ipv4Addr, port: u16) -> Vec<u8> {
    ethernet.ipv4(REFUSED, to).udp(40_000, port, b"refused").build()
}

/// A host on which the endpoint is in force, with a server of UDP and, blocked by nftables, a second interface.
struct Stage {
    server: UdpSocket,
    host: TestHost,
}

impl Stage {
    fn new(xdp_mode: &str, at: Ipv4Addr) -> Self {
        let rules = RuleFile::new("orders", 1).udp_endpoint("192.0.2.10:20300").allow("192.0.2.20/32");
        let host = TestHost::builder()
            .user(User::Root)
            .xdp_mode(xdp_mode)
            .servers(&["192.0.2.10/24", "2001:db8:2::10/64"])
            .clients(&["192.0.2.20/24", "192.0.2.66/24", "2001:db8:2::66/64"])
            .rules(rules)
            .start();
        host.until_revision("orders", 1);
        host.until("eth0 is filtered", |status| status["interfaces"][0]["mode"] == xdp_mode);
        host.stop();
        let server = host.db.udp((at, PORT)).unwrap();
        server.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        // Needed by TPROXY.
        socket2::SockRef::from(&server).set_ip_transparent_v4(true).unwrap();
        let stage = Self { server, host };
        assert!(stage.serves_allowed(), "the control");
        stage
    }

    /// Lets the socket filter refuse; the agent then stops.
    fn enforce(&self) {
        self.host.start_with(&["--socket-filter", "enforce"]);
        self.host.until("the socket filter refuses", |status| status["socket_filter"]["mode"] == "enforce");
        self.host.stop();
    }

    fn link_blocked(&self) {
        let line = format!("ip link add {SECOND} type veth peer name {SECOND} netns outside");
        self.host.db.run(&line).unwrap();
        for host in [&self.host.db, &self.host.outside] {
            host.run(&format!("ip link set {SECOND} up")).unwrap();
        }
        perform(
            &self.host.db,
            &[
                "nft add table inet block",
                "nft add chain inet block in { type filter hook input priority 0 ; }",
                "nft add rule inet block in iifname eth1 drop",
            ],
        );
    }

    fn frame(&self, bypass: &Bypass) -> Vec<u8> {
        (bypass.frame)(self.host.frame(bypass.by))
    }

    /// Frame of the refused source to the server's own address.
    fn direct(&self) -> Vec<u8> {
        datagram(self.host.frame(INTERFACE), SERVER, PORT)
    }

    fn receives(&self, payload: &[u8]) -> bool {
        let mut buffer = [0; 64];
        self.server.recv_from(&mut buffer).is_ok_and(|(length, _)| buffer.get(..length) == Some(payload))
    }

    fn serves_allowed(&self) -> bool {
        let allowed = self.host.frame(INTERFACE).ipv4(ALLOWED, SERVER).udp(40_000, PORT, b"allowed").build();
        let wire = self.host.wire(INTERFACE);
        let sent = || {
            wire.send(&allowed).ok()?;
            self.receives(b"allowed").then_some(())
        };
        eventually(BOUND, "an allowed source is served", sent).is_ok()
    }

    fn is_served(&self, wire: &Wire, frame: &[u8], what: &str) {
        let sent = || {
            wire.send(frame).ok()?;
            self.receives(b"refused").then_some(())
        };
        eventually(BOUND, &format!("{what}: a refused source is served"), sent).unwrap();
        self.drain();
    }

    fn is_not_served(&self, wire: &Wire, frame: &[u8], what: &str) {
        self.drain();
        for _ in 0..TRIES {
            wire.send(frame).unwrap();
        }
        let end = Instant::now() + GRACE;
        while Instant::now() < end {
            assert!(!self.receives(b"refused"), "{what}: a refused source is served");
        }
    }

    /// Discards what is on its way.
    fn drain(&self) {
        while self.server.recv_from(&mut [0; 64]).is_ok() {}
    }
}

#[test]
fn refused_source_is_served_by_each_reported_way_and_by_none_without_it() {
    let stage = Stage::new("native", Ipv4Addr::UNSPECIFIED);
    stage.link_blocked();
    let before = stage.host.audit(&[]);
    assert_eq!(before.kinds(), ["broadcast", "container", "loopback"], "{before:?}");
    for bypass in BYPASSES {
        let (wire, frame) = (stage.host.wire(bypass.by), stage.frame(bypass));
        let name = format!("{} {}", bypass.kind, bypass.object);
        stage.is_not_served(&wire, &frame, &format!("before {name}"));
        perform(&stage.host.db, bypass.plant);
        stage.is_served(&wire, &frame, &name);
        // The control: the program is attached.
        stage.is_not_served(&stage.host.wire(INTERFACE), &stage.direct(), &name);
        assert!(stage.serves_allowed(), "{name}");
        let after = stage.host.audit(&[]);
        let new: Vec<_> = after.bypasses.difference(&before.bypasses).collect();
        let [(kind, object)] = new.as_slice() else { panic!("{name}: {after:?}") };
        assert!(kind == bypass.kind && object.contains(bypass.object), "{name}: {after:?}");
        let covered = after.covered.contains(object);
        assert_eq!(covered, bypass.is_covered, "{name}: {after:?}");
        perform(&stage.host.db, bypass.uproot);
        stage.is_not_served(&wire, &frame, &format!("after {name}"));
        assert_eq!(stage.host.audit(&[]).bypasses, before.bypasses, "{name}");
    }
}

/// In mode `enforce` the socket filter refuses the source by each bypass of which the finding says so.
#[test]
fn socket_filter_closes_each_way_that_the_finding_says_it_covers() {
    let stage = Stage::new("native", Ipv4Addr::UNSPECIFIED);
    stage.link_blocked();
    stage.enforce();
    for bypass in BYPASSES {
        let (wire, frame) = (stage.host.wire(bypass.by), stage.frame(bypass));
        let name = format!("{} {}", bypass.kind, bypass.object);
        perform(&stage.host.db, bypass.plant);
        let findings = stage.host.audit(&[]);
        let covered = findings.covered.iter().any(|object| object.contains(bypass.object));
        assert_eq!(covered, bypass.is_covered, "{name}: {findings:?}");
        assert!(stage.serves_allowed(), "{name}");
        if bypass.is_covered {
            stage.is_not_served(&wire, &frame, &name);
        } else if bypass.kind == "local_route" {
            // Control: to an address that no endpoint names.
            stage.is_served(&wire, &frame, &name);
        }
        perform(&stage.host.db, bypass.uproot);
    }
}

#[test]
fn broadcast_and_multicast_reach_a_server_at_every_address_only() {
    let everywhere = [Ipv4Addr::new(192, 0, 2, 255), Ipv4Addr::BROADCAST, Ipv4Addr::new(224, 0, 0, 1)];
    for (at, is_open) in [(Ipv4Addr::UNSPECIFIED, true), (SERVER, false)] {
        let stage = Stage::new("native", at);
        let wire = stage.host.wire(INTERFACE);
        for to in everywhere {
            let frame = datagram(stage.host.frame(INTERFACE).to([0xff; 6]), to, PORT);
            if is_open {
                stage.is_served(&wire, &frame, &to.to_string());
            } else {
                stage.is_not_served(&wire, &frame, &to.to_string());
            }
            stage.is_not_served(&wire, &stage.direct(), "the server's own address");
        }
        let found = stage.host.audit(&[]);
        let expected = ("broadcast".to_owned(), "0.0.0.0:20300/udp".to_owned());
        assert_eq!(found.bypasses.contains(&expected), is_open, "{found:?}");
    }
}

/// The peer's namespace redirects packets into the link; the mark of that stays with them.
#[test]
fn redirected_packet_passes_generic_mode_on_a_veth_and_not_native_mode() {
    for (xdp_mode, is_open) in [("generic", true), ("native", false)] {
        let stage = Stage::new(xdp_mode, SERVER);
        perform(
            &stage.host.outside,
            &[
                "ip link add a0 type veth peer name a1",
                "ip link set a0 up",
                "ip link set a1 up",
                "tc qdisc add dev a1 clsact",
                "tc filter add dev a1 ingress u32 match u32 0 0 action mirred egress redirect dev eth0",
            ],
        );
        let direct = stage.direct();
        stage.is_not_served(&stage.host.wire(INTERFACE), &direct, xdp_mode);
        let redirected = stage.host.wire("a0");
        if is_open {
            stage.is_served(&redirected, &direct, xdp_mode);
        } else {
            stage.is_not_served(&redirected, &direct, xdp_mode);
        }
        let found = stage.host.audit(&[]);
        let expected = ("generic_mode".to_owned(), INTERFACE.to_owned());
        assert_eq!(found.bypasses.contains(&expected), is_open, "{found:?}");
        stage.enforce();
        stage.is_not_served(&redirected, &direct, xdp_mode);
        if is_open {
            let finding = stage.host.finding("generic_mode");
            assert!(finding["at_sockets"]["refused"].as_u64() >= Some(TRIES.into()), "{finding}");
        }
        assert!(stage.serves_allowed(), "{xdp_mode}");
    }
}
