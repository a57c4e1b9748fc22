//! Builder that applies one trick to each family and protocol that it fits.

use super::{Promise, Route, Shape};
use crate::packets::{Datagram, Ethernet, Ipv4, Ipv6, Segment, Tcp, Udp, frame, protocol};

/// Options of an ordinary SYN: maximum segment size, selective acknowledgement, timestamps, window scale.
const SYN_OPTIONS: [u8; 20] = [2, 4, 0x05, 0xb4, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 7];
const BOTH: [u8; 2] = [protocol::TCP, protocol::UDP];
const FIRST_SOURCE_PORT: u16 = 20_000;

pub(super) struct Gatherer<'a> {
    route: &'a Route,
    first_tag: u32,
    pub shapes: Vec<Shape>,
}

impl<'a> Gatherer<'a> {
    pub fn new(route: &'a Route, first_tag: u32) -> Self {
        Self { route, first_tag, shapes: Vec::new() }
    }

    /// Adds a link-layer trick, with both families and both protocols inside.
    pub fn link(&mut self, promise: Promise, name: &str, trick: impl Fn(Ethernet) -> Ethernet) {
        for protocol in BOTH {
            self.link_with(promise, name, protocol, &trick);
        }
    }

    /// Adds a link-layer trick, with both families and one protocol inside.
    pub fn link_with(
        &mut self,
        promise: Promise,
        name: &str,
        protocol: u8,
        trick: impl Fn(Ethernet) -> Ethernet,
    ) {
        let frames = vec![self.ipv4_over(trick(self.ethernet())).carrying(self.segment(protocol)).build()];
        self.push(promise, 4, protocol, name, frames);
        let frames = vec![self.ipv6_over(trick(self.ethernet())).carrying(self.segment(protocol)).build()];
        self.push(promise, 6, protocol, name, frames);
    }

    /// Adds an IPv4 header trick, with both protocols inside.
    pub fn ipv4(&mut self, promise: Promise, name: &str, trick: impl Fn(Ipv4) -> Ipv4) {
        self.ipv4_frames(promise, name, trick, |datagram| vec![datagram.build()]);
    }

    /// Adds a trick of the IPv6 header or its chain, with both protocols inside.
    pub fn ipv6(&mut self, promise: Promise, name: &str, trick: impl Fn(Ipv6) -> Ipv6) {
        self.ipv6_frames(promise, name, trick, |datagram| vec![datagram.build()]);
    }

    /// Adds a trick of several IPv4 frames, with both protocols inside.
    pub fn ipv4_frames(
        &mut self,
        promise: Promise,
        name: &str,
        trick: impl Fn(Ipv4) -> Ipv4,
        frames: impl Fn(Datagram) -> Vec<Vec<u8>>,
    ) {
        for protocol in BOTH {
            let header = trick(self.ipv4_over(self.ethernet()));
            let frames = frames(header.carrying(self.segment(protocol)));
            self.push(promise, 4, protocol, name, frames);
        }
    }

    /// Adds a trick of several IPv6 frames, with both protocols inside.
    pub fn ipv6_frames(
        &mut self,
        promise: Promise,
        name: &str,
        trick: impl Fn(Ipv6) -> Ipv6,
        frames: impl Fn(Datagram) -> Vec<Vec<u8>>,
    ) {
        for protocol in BOTH {
            let header = trick(self.ipv6_over(self.ethernet()));
            let frames = frames(header.carrying(self.segment(protocol)));
            self.push(promise, 6, protocol, name, frames);
        }
    }

    /// Adds a TCP header trick, over both families.
    pub fn tcp(&mut self, promise: Promise, name: &str, trick: impl Fn(Tcp) -> Tcp) {
        self.tcp_from(promise, name, None, trick);
    }

    /// Adds a TCP header trick, over both families and from a given source port.
    pub fn tcp_from(&mut self, promise: Promise, name: &str, port: Option<u16>, trick: impl Fn(Tcp) -> Tcp) {
        let frames = vec![self.ipv4_over(self.ethernet()).carrying(trick(self.syn(port))).build()];
        self.push(promise, 4, protocol::TCP, name, frames);
        let frames = vec![self.ipv6_over(self.ethernet()).carrying(trick(self.syn(port))).build()];
        self.push(promise, 6, protocol::TCP, name, frames);
    }

    /// Adds a UDP header trick, over both families and from a given source port.
    pub fn udp(&mut self, promise: Promise, name: &str, port: Option<u16>, trick: impl Fn(Udp) -> Udp) {
        self.udp4(promise, name, port, &trick);
        self.udp6(promise, name, port, &trick);
    }

    pub fn udp4(&mut self, promise: Promise, name: &str, port: Option<u16>, trick: impl Fn(Udp) -> Udp) {
        let frames = vec![self.ipv4_over(self.ethernet()).carrying(trick(self.datagram(port))).build()];
        self.push(promise, 4, protocol::UDP, name, frames);
    }

    pub fn udp6(&mut self, promise: Promise, name: &str, port: Option<u16>, trick: impl Fn(Udp) -> Udp) {
        let frames = vec![self.ipv6_over(self.ethernet()).carrying(trick(self.datagram(port))).build()];
        self.push(promise, 6, protocol::UDP, name, frames);
    }

    /// Returns the payload of the next UDP shape: its tag in the first four bytes, padded to `length` bytes.
    pub fn payload(&self, length: usize) -> Vec<u8> {
        let mut payload = self.tag().to_be_bytes().to_vec();
        payload.resize(length, b'.');
        payload
    }

    fn push(&mut self, promise: Promise, family: u8, protocol: u8, name: &str, frames: Vec<Vec<u8>>) {
        let protocol_name = if protocol == protocol::TCP { "tcp" } else { "udp" };
        let name = format!("ipv{family} {protocol_name}: {name}");
        let tag = self.tag();
        self.shapes.push(Shape { name, promise, tag, frames });
    }

    fn tag(&self) -> u32 {
        self.first_tag + self.shapes.len() as u32
    }

    fn ethernet(&self) -> Ethernet {
        frame().to(self.route.to).from(self.route.from)
    }

    fn ipv4_over(&self, ethernet: Ethernet) -> Ipv4 {
        ethernet.ipv4(self.route.source4, self.route.destination4).id(self.tag() as u16)
    }

    fn ipv6_over(&self, ethernet: Ethernet) -> Ipv6 {
        ethernet.ipv6(self.route.source6, self.route.destination6).id(self.tag())
    }

    fn segment(&self, protocol: u8) -> Segment {
        if protocol == protocol::TCP { self.syn(None).into() } else { self.datagram(None).into() }
    }

    fn syn(&self, port: Option<u16>) -> Tcp {
        let source = port.unwrap_or_else(|| self.source_port());
        Tcp::syn(source, self.route.port)
            .sequence(self.tag())
            .acknowledgement(self.tag())
            .options(&SYN_OPTIONS)
    }

    fn datagram(&self, port: Option<u16>) -> Udp {
        Udp::new(port.unwrap_or_else(|| self.source_port()), self.route.port).payload(&self.payload(40))
    }

    fn source_port(&self) -> u16 {
        FIRST_SOURCE_PORT + self.tag() as u16
    }
}
