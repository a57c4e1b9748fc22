//! The guarded service on the database host, its clients, and the record of who reached it.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::ops::Range;
use std::thread::sleep;
use std::time::Duration;

use firewall_tests::lab::{INTERFACE, TestHost, eventually};
use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Domain, Socket, Type};

pub const PORT: u16 = 30_092;
pub const SERVERS: [&str; 2] = ["192.0.2.10", "2001:db8:2::10"];
pub const ALLOWED: [&str; 2] = ["192.0.2.20", "2001:db8:2::20"];
pub const DENIED: [&str; 2] = ["192.0.2.66", "2001:db8:2::66"];

/// Flows of each source and protocol: enough for every queue of a card to get some.
const FLOWS: u16 = 24;
const BOUND: Duration = Duration::from_secs(20);
/// More than the time to the first repetition of a lost SYN.
const GRACE: Duration = Duration::from_millis(1_200);
const LARGEST: usize = 4_096;
const RECEIVE_BUFFER: usize = 16 << 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Protocol {
    Tcp,
    Udp,
}

/// One connection attempt or datagram, by its source.
pub type Flow = (Protocol, SocketAddr);

pub struct Service {
    tcp: TcpListener,
    udp: UdpSocket,
    arrived: BTreeSet<Flow>,
    /// Open clients: a closed one would not repeat its SYN. All connections end by a reset, since one that waits for an
    /// answer, which the filter drops, would keep the card in its network namespace.
    clients: Vec<Socket>,
    next_port: u16,
}

impl Service {
    pub fn new(host: &TestHost) -> Self {
        let (tcp, udp) = (host.db.listen(("::", PORT)).unwrap(), host.db.udp(("::", PORT)).unwrap());
        setsockopt(&udp, sockopt::RcvBufForce, &RECEIVE_BUFFER).unwrap();
        tcp.set_nonblocking(true).unwrap();
        udp.set_nonblocking(true).unwrap();
        Self { tcp, udp, arrived: BTreeSet::new(), clients: Vec::new(), next_port: 20_000 }
    }

    /// Starts connections and sends datagrams, each from a port that was not used before.
    pub fn send(&mut self, host: &TestHost, sources: [&str; 2]) -> Vec<Flow> {
        let mut flows = self.send_datagrams(host, sources, 1);
        for (source, server) in pairs(sources) {
            for port in self.ports() {
                let from = SocketAddr::new(source, port);
                let client = {
                    let _inside = host.outside.enter().unwrap();
                    Socket::new(Domain::for_address(from), Type::STREAM, None).unwrap()
                };
                client.bind(&from.into()).unwrap();
                client.set_nonblocking(true).unwrap();
                client.set_linger(Some(Duration::ZERO)).unwrap();
                match client.connect(&SocketAddr::new(server, PORT).into()) {
                    Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => {
                        panic!("{from}: {error}")
                    }
                    _ => {}
                }
                self.clients.push(client);
                flows.push((Protocol::Tcp, from));
            }
        }
        flows
    }

    /// Sends datagrams of this length.
    pub fn send_datagrams(&mut self, host: &TestHost, sources: [&str; 2], length: usize) -> Vec<Flow> {
        let mut flows = Vec::new();
        for (source, server) in pairs(sources) {
            for port in self.ports() {
                let client = host.outside.udp((source, port)).unwrap();
                client.send_to(&vec![0; length], (server, PORT)).unwrap();
                flows.push((Protocol::Udp, SocketAddr::new(source, port)));
            }
        }
        flows
    }

    /// Sends datagrams in frames with the VLAN tag 0, which marks a priority.
    pub fn send_tagged(&mut self, host: &TestHost, sources: [&str; 2]) -> Vec<Flow> {
        let wire = host.wire(INTERFACE);
        let mut flows = Vec::new();
        for (source, server) in pairs(sources) {
            for port in self.ports() {
                let frame = host.frame(INTERFACE).vlan(0);
                let frame = match (source, server) {
                    (IpAddr::V4(source), IpAddr::V4(server)) => {
                        frame.ipv4(source, server).udp(port, PORT, b"?")
                    }
                    (IpAddr::V6(source), IpAddr::V6(server)) => {
                        frame.ipv6(source, server).udp(port, PORT, b"?")
                    }
                    _ => unreachable!("two families"),
                };
                wire.send(&frame.build()).unwrap();
                flows.push((Protocol::Udp, SocketAddr::new(source, port)));
            }
        }
        flows
    }

    /// Waits until all these flows have arrived.
    pub fn await_all(&mut self, flows: &[Flow]) {
        let awaited = eventually(BOUND, "every flow arrives", || {
            self.collect();
            flows.iter().all(|flow| self.arrived.contains(flow)).then_some(())
        });
        awaited.unwrap_or_else(|error| {
            let missing = self.missing(flows);
            panic!("{error}: {} are missing, first {:?}", missing.len(), missing.first())
        });
    }

    /// Fails if one of these flows has arrived, or does soon.
    pub fn assert_none(&mut self, flows: &[Flow]) {
        assert!(!flows.is_empty(), "nothing was sent");
        let leaked = self.leaked(flows);
        assert!(
            leaked.is_empty(),
            "{} of {} reached the service: {:?}",
            leaked.len(),
            flows.len(),
            leaked.first()
        );
    }

    /// Returns the flows that have arrived, or do soon.
    pub fn leaked(&mut self, flows: &[Flow]) -> Vec<Flow> {
        sleep(GRACE);
        self.collect();
        flows.iter().filter(|flow| self.arrived.contains(flow)).copied().collect()
    }

    /// Sends datagrams from allowed and denied sources until all allowed ones of one turn arrive: a link that comes up
    /// loses packets. Then sends whole flows, of which the allowed ones must arrive; returns the denied ones of all turns.
    pub fn until_allowed(&mut self, host: &TestHost) -> Vec<Flow> {
        let mut denied = Vec::new();
        self.until_arrived(host, ALLOWED, |service| denied.extend(service.send_datagrams(host, DENIED, 1)));
        denied.extend(self.send(host, DENIED));
        let allowed = self.send(host, ALLOWED);
        self.await_all(&allowed);
        denied
    }

    /// Sends datagrams, each time after `before`, until all of one turn arrive.
    pub fn until_arrived(&mut self, host: &TestHost, sources: [&str; 2], mut before: impl FnMut(&mut Self)) {
        let arrived = eventually(BOUND, "every datagram arrives", || {
            before(self);
            let flows = self.send_datagrams(host, sources, 1);
            sleep(Duration::from_millis(200));
            self.collect();
            self.missing(&flows).is_empty().then_some(())
        });
        arrived.unwrap();
    }

    fn missing<'a>(&self, flows: &'a [Flow]) -> Vec<&'a Flow> {
        flows.iter().filter(|flow| !self.arrived.contains(flow)).collect()
    }

    /// Takes what has arrived.
    fn collect(&mut self) {
        let mut datagram = [0; LARGEST];
        loop {
            match self.udp.recv_from(&mut datagram) {
                Ok((_, from)) => self.arrived.insert((Protocol::Udp, canonical(from))),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => panic!("udp socket: {error}"),
            };
        }
        loop {
            match self.tcp.accept() {
                Ok((stream, from)) => {
                    Socket::from(stream).set_linger(Some(Duration::ZERO)).unwrap();
                    self.arrived.insert((Protocol::Tcp, canonical(from)))
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => panic!("tcp listener: {error}"),
            };
        }
    }

    fn ports(&mut self) -> Range<u16> {
        let first = self.next_port;
        self.next_port += FLOWS;
        first..self.next_port
    }
}

/// Pairs each source with the server of its family.
fn pairs(sources: [&str; 2]) -> impl Iterator<Item = (IpAddr, IpAddr)> {
    sources
        .into_iter()
        .zip(SERVERS)
        .map(|(source, server)| (source.parse().unwrap(), server.parse().unwrap()))
}

/// Returns an address of a socket of both families in its own family.
fn canonical(from: SocketAddr) -> SocketAddr {
    SocketAddr::new(from.ip().to_canonical(), from.port())
}
