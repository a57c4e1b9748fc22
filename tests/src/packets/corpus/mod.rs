//! Packet shapes that try to get past a filter, each a list of frames to send in order.
//!
//! [`reaching`] holds what a stock kernel delivers to a listening socket: from a denied source none of it may arrive,
//! and from an allowed one all that is marked [`Promise::MustPass`] has to. [`never_reaching`] holds what the kernel
//! itself refuses (seen on 6.18); a filter may pass or drop it, a verdict test wants it all the same. [`reaching_some`] is
//! what kernels differ about.

mod gather;
mod ipv4;
mod ipv6;
mod link;
mod mixed;
mod refused;
mod transport;

use std::net::{Ipv4Addr, Ipv6Addr};

use super::Mac;
use gather::Gatherer;

/// Where the frames go and whom they claim to come from.
#[derive(Clone, Debug)]
pub struct Route {
    pub to: Mac,
    pub from: Mac,
    pub source4: Ipv4Addr,
    pub destination4: Ipv4Addr,
    pub source6: Ipv6Addr,
    pub destination6: Ipv6Addr,
    /// The port aimed at, by TCP and by UDP.
    pub port: u16,
}

/// What an allowed source is promised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Promise {
    MustPass,
    MayDrop,
}

/// One way to write a packet to the port aimed at.
#[derive(Clone, Debug)]
pub struct Shape {
    /// What it is, with family and protocol: "ipv4 tcp: router alert".
    pub name: String,
    pub promise: Promise,
    /// Tells this shape's traffic from all other: TCP sequence and acknowledgement number, first four bytes of a UDP
    /// payload, and the identification of fragments (IPv4: the lower half).
    pub tag: u32,
    pub frames: Vec<Vec<u8>>,
}

/// Every shape that a stock kernel delivers to a listening socket.
pub fn reaching(route: &Route) -> Vec<Shape> {
    let mut gatherer = Gatherer::new(route, 0x5a00_0001);
    link::add(&mut gatherer);
    ipv4::add(&mut gatherer);
    ipv4::add_fragments(&mut gatherer);
    ipv6::add(&mut gatherer);
    ipv6::add_chains(&mut gatherer);
    ipv6::add_fragments(&mut gatherer);
    mixed::add(&mut gatherer);
    transport::add_tcp(&mut gatherer);
    transport::add_udp(&mut gatherer);
    gatherer.shapes
}

/// The shapes of [`reaching`] that an allowed source is promised.
pub fn must_pass(route: &Route) -> Vec<Shape> {
    reaching(route).into_iter().filter(|shape| shape.promise == Promise::MustPass).collect()
}

/// Shapes aimed at the same port that a stock kernel refuses by itself.
pub fn never_reaching(route: &Route) -> Vec<Shape> {
    let mut gatherer = Gatherer::new(route, 0x5b00_2001);
    refused::add_link(&mut gatherer);
    refused::add_ipv4(&mut gatherer);
    refused::add_ipv6(&mut gatherer);
    refused::add_transport(&mut gatherer);
    gatherer.shapes
}

/// Shapes aimed at the same port that one kernel delivers and another refuses by itself, by its version or as it was
/// built. Where they are delivered, they are as those of [`reaching`].
pub fn reaching_some(route: &Route) -> Vec<Shape> {
    let mut gatherer = Gatherer::new(route, 0x5c00_4001);
    ipv6::add_disputed(&mut gatherer);
    gatherer.shapes
}

/// A SYN without any trick, tagged `tag`, over each family: what the other shapes are compared with.
pub fn plain(route: &Route, tag: u32) -> Vec<Shape> {
    let mut gatherer = Gatherer::new(route, tag);
    gatherer.tcp(Promise::MustPass, "plain", |tcp| tcp);
    gatherer.shapes
}
