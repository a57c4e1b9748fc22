//! Bypasses that `audit` reports are true: a refused source reaches the server by each of them, while the program is
//! attached and refuses the same source at the server's own address.

use std::net::{Ipv4Addr, UdpSocket};
use std::time::{Duration, Instant};

use firewall_tests::lab::{INTERFACE, RuleFile, TestHost, User, eventually};
use firewall_tests::packets::{Ethernet, Wire};

use crate::planted::perform;
use crate::setup::Audit as _;

const SERVER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 10);
const REFUSED: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 66);
const ALLOWED: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 20);
const PORT: u16 = 20_300;
/// Bound of every wait for a packet that must arrive.
const BOUND: Duration = Duration::from_secs(20);
/// Time for late effects of packets that must not arrive.
const GRACE: Duration = Duration::from_millis(200);
const TRIES: u32 = 5;

fn datagram(ethernet: Ethernet, to: Ipv4Addr, port: u16) -> Vec<u8> {
    ethernet.ipv4(REFUSED, to).udp(40_000, port, b"refused").build()
}

/// A host on which the endpoint is in force, with a server of UDP.
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
    }
}
