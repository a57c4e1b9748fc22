//! Packet shapes that try to evade a filter, each a list of frames to send in order.
//!
//! [`reaching`] are the shapes that a stock kernel delivers to a listening socket: a denied source must get none of
//! them through, an allowed one all that are marked [`Promise::MustPass`]. [`never_reaching`] are those that the kernel
//! itself refuses (observed on 6.18); a filter may pass or drop them, but a verdict test still requires a verdict.
//! [`reaching_some`] are those on which kernels differ.

mod gather;
mod ipv4;
mod ipv6;
mod link;
mod mixed;
mod refused;
mod tools;
mod transport;

use std::net::{Ipv4Addr, Ipv6Addr};

use super::Mac;
use gather::Gatherer;

/// Destination of the frames, and the source addresses that they claim.
#[derive(Clone, Debug)]
pub struct Route {
    pub to: Mac,
    pub from: Mac,
    pub source4: Ipv4Addr,
    pub destination4: Ipv4Addr,
    pub source6: Ipv6Addr,
    pub destination6: Ipv6Addr,
    /// Destination port, TCP and UDP.
    pub port: u16,
}

/// The guarantee for an allowed source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Promise {
    MustPass,
    MayDrop,
}

/// One form of a packet to the destination port.
#[derive(Clone, Debug)]
pub struct Shape {
    /// Family, protocol and trick: "ipv4 tcp: router alert".
    pub name: String,
    pub promise: Promise,
    /// Identifies this shape's traffic: TCP sequence and acknowledgement number, first four bytes of a UDP payload, and
    /// the identification of fragments (IPv4: the lower half).
    pub tag: u32,
    pub frames: Vec<Vec<u8>>,
}

/// Returns every shape that a stock kernel delivers to a listening socket.
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
    tools::add(&mut gatherer);
    gatherer.shapes
}

/// Returns the shapes of [`reaching`] that must pass from an allowed source.
pub fn must_pass(route: &Route) -> Vec<Shape> {
    reaching(route).into_iter().filter(|shape| shape.promise == Promise::MustPass).collect()
}

/// Returns shapes aimed at the same port that a stock kernel refuses by itself.
pub fn never_reaching(route: &Route) -> Vec<Shape> {
    let mut gatherer = Gatherer::new(route, 0x5b00_2001);
    refused::add_link(&mut gatherer);
    refused::add_ipv4(&mut gatherer);
    refused::add_ipv6(&mut gatherer);
    refused::add_transport(&mut gatherer);
    tools::add_refused(&mut gatherer);
    gatherer.shapes
}

/// Returns shapes aimed at the same port that some kernels deliver and others refuse, depending on version or build.
/// Where delivered, they behave as those of [`reaching`].
pub fn reaching_some(route: &Route) -> Vec<Shape> {
    let mut gatherer = Gatherer::new(route, 0x5c00_4001);
    ipv6::add_disputed(&mut gatherer);
    tools::add_disputed(&mut gatherer);
    gatherer.shapes
}

/// Returns a plain SYN, tagged `tag`, over each family: the baseline for the other shapes.
pub fn plain(route: &Route, tag: u32) -> Vec<Shape> {
    let mut gatherer = Gatherer::new(route, tag);
    gatherer.tcp(Promise::MustPass, "plain", |tcp| tcp);
    gatherer.shapes
}
