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
        let frame = self.ipv4_over(trick(self.ethernet())).carrying(self.segment(protocol)).build();
        self.push(promise, 4, protocol, name, vec![frame]);
        let frame = self.ipv6_over(trick(self.ethernet())).carrying(self.segment(protocol)).build();
        self.push(promise, 6, protocol, name, vec![frame]);
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
            self.ipv6_frames_with(promise, name, protocol, &trick, &frames);
        }
    }

    /// Adds a trick of several IPv6 frames, with one protocol inside.
    pub fn ipv6_frames_with(
        &mut self,
        promise: Promise,
        name: &str,
        protocol: u8,
        trick: impl Fn(Ipv6) -> Ipv6,
        frames: impl Fn(Datagram) -> Vec<Vec<u8>>,
    ) {
        let header = trick(self.ipv6_over(self.ethernet()));
        let frames = frames(header.carrying(self.segment(protocol)));
        self.push(promise, 6, protocol, name, frames);
    }

    /// Adds a trick of the IPv6 header or its chain, sent as fragments that are cut at these offsets.
    pub fn ipv6_cut(&mut self, promise: Promise, name: &str, cuts: &[usize], trick: impl Fn(Ipv6) -> Ipv6) {
        self.ipv6_frames(promise, name, trick, |datagram| datagram.fragments(cuts));
    }

    /// Adds a TCP header trick, over both families.
    pub fn tcp(&mut self, promise: Promise, name: &str, trick: impl Fn(Tcp) -> Tcp) {
        self.over_ipv4(promise, protocol::TCP, name, trick(self.syn()));
        self.over_ipv6(promise, protocol::TCP, name, trick(self.syn()));
    }

    /// Adds a UDP header trick, over both families.
    pub fn udp(&mut self, promise: Promise, name: &str, trick: impl Fn(Udp) -> Udp) {
        self.udp4(promise, name, &trick);
        self.udp6(promise, name, &trick);
    }

    pub fn udp4(&mut self, promise: Promise, name: &str, trick: impl Fn(Udp) -> Udp) {
        self.over_ipv4(promise, protocol::UDP, name, trick(self.datagram()));
    }

    pub fn udp6(&mut self, promise: Promise, name: &str, trick: impl Fn(Udp) -> Udp) {
        self.over_ipv6(promise, protocol::UDP, name, trick(self.datagram()));
    }

    fn over_ipv4(&mut self, promise: Promise, protocol: u8, name: &str, segment: impl Into<Segment>) {
        let frame = self.ipv4_over(self.ethernet()).carrying(segment).build();
        self.push(promise, 4, protocol, name, vec![frame]);
    }

    fn over_ipv6(&mut self, promise: Promise, protocol: u8, name: &str, segment: impl Into<Segment>) {
        let frame = self.ipv6_over(self.ethernet()).carrying(segment).build();
        self.push(promise, 6, protocol, name, vec![frame]);
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
        if protocol == protocol::TCP { self.syn().into() } else { self.datagram().into() }
    }

    fn syn(&self) -> Tcp {
        let (source, tag) = (self.source_port(), self.tag());
        Tcp::syn(source, self.route.port).sequence(tag).acknowledgement(tag).options(SYN_OPTIONS)
    }

    /// Returns a datagram of 40 bytes; the first four are the tag.
    fn datagram(&self) -> Udp {
        Udp::new(self.source_port(), self.route.port).payload(self.tag().to_be_bytes()).resized(40)
    }

    fn source_port(&self) -> u16 {
        FIRST_SOURCE_PORT + self.tag() as u16
    }
}
