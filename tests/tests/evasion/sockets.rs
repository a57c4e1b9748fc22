//! Two hosts and a wire: raw frames enter at one end, a real socket listens at the other.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener, UdpSocket};
use std::path::Path;
use std::time::{Duration, Instant};

use etherparse::{SlicedPacket, TransportSlice};
use firewall_agent::bpf::{Programs, attach};
use firewall_agent::config::XdpMode;
use firewall_agent::host::netlink::Attached;
use firewall_common::fast_path;
use firewall_tests::lab::{Host, INTERFACE, RuleFile, TestHost};
use firewall_tests::packets::Wire;
use firewall_tests::packets::corpus::{self, Route, Shape};
use nix::sys::socket::{Backlog, listen};

use crate::kernel::{BPFFS, load, put_in_force};

pub const PORT: u16 = 30_092;
const ADDRESS4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 10);
const ADDRESS6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, 0x10);
/// Fits a frame of 9,000 bytes, which arrives in several memory fragments.
const MTU: u32 = 9_000;
/// Time for late effects of the last packet of a batch.
const GRACE: Duration = Duration::from_millis(200);
const PATIENCE: Duration = Duration::from_secs(5);
const SENTINEL_TAG: u32 = 0x5e00_8001;
/// Exceeds the half-open connections of a whole corpus.
const BACKLOG: i32 = 4_096;
/// Shapes per burst, of at most five frames each: the queue of a veth pair holds 256 frames.
const BURST: usize = 32;

/// The source addresses of a packet.
#[derive(Clone, Copy, Debug)]
pub struct Source {
    pub ipv4: Ipv4Addr,
    pub ipv6: Ipv6Addr,
}

pub const ALLOWED: Source =
    Source { ipv4: Ipv4Addr::new(203, 0, 113, 5), ipv6: Ipv6Addr::new(0x2001, 0xdb8, 0xa110, 0, 0, 0, 0, 5) };
pub const DENIED: Source = Source {
    ipv4: Ipv4Addr::new(198, 51, 100, 66),
    ipv6: Ipv6Addr::new(0x2001, 0xdb8, 0xbad, 0, 0, 0, 0, 0x66),
};

/// Open sockets on the database host, and the wire outside it.
pub struct Sockets {
    wire: Wire,
    _tcp: TcpListener,
    udp: UdpSocket,
    macs: ([u8; 6], [u8; 6]),
    host: TestHost,
}

impl Sockets {
    pub fn new() -> Self {
        let host = TestHost::builder().build();
        let (database, outside) = (&host.db, &host.outside);
        let macs = (database.mac(INTERFACE).unwrap(), outside.mac(INTERFACE).unwrap());
        for one in [database, outside] {
            one.run(&format!("ip link set {INTERFACE} mtu {MTU}")).unwrap();
        }
        // The outer host owns none of the sources, so that its kernel does not answer the answers.
        for source in [ALLOWED, DENIED] {
            make_neighbour(database, source.ipv4.into(), macs.1);
            make_neighbour(database, source.ipv6.into(), macs.1);
        }
        database.set("net/ipv4/conf/all/accept_source_route", "1").unwrap();
        database.set(&format!("net/ipv4/conf/{INTERFACE}/accept_source_route"), "1").unwrap();
        let wire = host.wire(INTERFACE);
        let tcp = database.listen(("::", PORT)).unwrap();
        listen(&tcp, Backlog::new(BACKLOG).unwrap()).unwrap();
        let udp = database.udp(("::", PORT)).unwrap();
        udp.set_nonblocking(true).unwrap();
        Self { wire, _tcp: tcp, udp, macs, host }
    }

    /// Attaches the program to the database host's interface, with a rule set that allows the allowed source. The
    /// program is loaded until the returned value is dropped, and attached until the sockets are dropped.
    pub fn filter(&self, mode: XdpMode) -> Programs {
        self.filter_with(mode, &rule_file())
    }

    /// As [`Self::filter`], with other rules.
    pub fn filter_with(&self, mode: XdpMode, rules: &RuleFile) -> Programs {
        let bpffs_dir = Path::new(BPFFS);
        let (mut programs, pins) = load(bpffs_dir, fast_path::ALL);
        self.put_in_force(rules);
        let _inside = self.host.db.enter().unwrap();
        let link = attach(&mut programs, &pins, &[INTERFACE], mode).unwrap().remove(0).unwrap();
        assert_eq!(link.0.mode.map(Attached::name), Some(mode.to_string().as_str()));
        programs
    }

    /// Replaces the rules in force.
    pub fn put_in_force(&self, rules: &RuleFile) {
        put_in_force(Path::new(BPFFS), &[rules], &[30_000..=32_767]);
    }

    pub fn route(&self, source: Source) -> Route {
        Route {
            to: self.macs.0,
            from: self.macs.1,
            source4: source.ipv4,
            destination4: ADDRESS4,
            source6: source.ipv6,
            destination6: ADDRESS6,
            port: PORT,
        }
    }

    /// Sends every frame of every shape and returns the tags of those that reached a socket. Ends with plain packets
    /// from the allowed source, which must arrive: silence of broken sockets would prove nothing.
    pub fn arrived(&self, shapes: &[Shape]) -> BTreeSet<u32> {
        let mut arrived = BTreeSet::new();
        for burst in shapes.chunks(BURST) {
            for frame in burst.iter().flat_map(|shape| &shape.frames) {
                self.wire.send(frame).unwrap();
            }
            self.collect(&mut arrived, Instant::now());
        }
        let sentinels = corpus::plain(&self.route(ALLOWED), SENTINEL_TAG);
        for sentinel in &sentinels {
            self.wire.send(&sentinel.frames[0]).unwrap();
        }
        let deadline = Instant::now() + PATIENCE;
        while !sentinels.iter().all(|sentinel| arrived.contains(&sentinel.tag)) {
            assert!(Instant::now() < deadline, "the sockets did not answer an allowed source");
            self.collect(&mut arrived, Instant::now() + GRACE / 10);
        }
        self.collect(&mut arrived, Instant::now() + GRACE);
        arrived
    }

    /// Adds the tags of all packets that arrive until `deadline`.
    fn collect(&self, arrived: &mut BTreeSet<u32>, deadline: Instant) {
        while let Some(frame) = self.wire.receive(deadline).unwrap() {
            arrived.extend(answered_tag(&frame));
        }
        let mut payload = [0; 64];
        loop {
            match self.udp.recv(&mut payload) {
                Ok(length) => {
                    arrived.extend(payload[..length].first_chunk().map(|tag| u32::from_be_bytes(*tag)));
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => panic!("udp socket: {error}"),
            }
        }
    }
}

/// Returns the tag of the segment that `frame` answers: a listening socket acknowledges a SYN, and answers any other
/// segment with ACK by a reset with that number.
fn answered_tag(frame: &[u8]) -> Option<u32> {
    let sliced = SlicedPacket::from_ethernet(frame).ok()?;
    let Some(TransportSlice::Tcp(tcp)) = sliced.transport else { return None };
    if tcp.rst() {
        Some(tcp.sequence_number())
    } else {
        (tcp.syn() && tcp.ack()).then(|| tcp.acknowledgment_number().wrapping_sub(1))
    }
}

/// Rules that allow the allowed source.
pub fn rule_file() -> RuleFile {
    let destinations = [format!("{ADDRESS4}:{PORT}"), format!("[{ADDRESS6}]:{PORT}")];
    destinations
        .iter()
        .fold(RuleFile::new("orders", 1), |file, to| file.endpoint(to).udp_endpoint(to))
        .allow(&format!("{}/32", ALLOWED.ipv4))
        .allow(&format!("{}/128", ALLOWED.ipv6))
}

fn make_neighbour(host: &Host, address: IpAddr, mac: [u8; 6]) {
    let mac = mac.map(|byte| format!("{byte:02x}")).join(":");
    let family = if address.is_ipv4() { "-4" } else { "-6" };
    host.run(&format!("ip {family} route add {address} dev {INTERFACE}")).unwrap();
    host.run(&format!("ip {family} neighbour add {address} lladdr {mac} dev {INTERFACE} nud permanent"))
        .unwrap();
}
