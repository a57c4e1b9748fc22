//! Malformed and unusual packets against a real listening socket: the filter refuses every packet from a denied source
//! that the kernel would deliver, and passes the guaranteed ones from an allowed source.

#![expect(clippy::unwrap_used, reason = "a test fails by its panic")]

#[path = "../support/kernel.rs"]
mod kernel;

mod revoked;
mod sockets;

use std::collections::BTreeSet;

use firewall_agent::config::XdpMode;
use firewall_tests::packets::corpus::{self, Promise, Shape};
use sockets::{ALLOWED, DENIED, Sockets};

/// Minimum size of the corpus, on each side of the comparison.
const SHAPES: usize = 60;

#[test]
fn every_shape_reaches_the_socket_without_the_filter() {
    for source in [ALLOWED, DENIED] {
        let sockets = Sockets::new();
        let shapes = corpus::reaching(&sockets.route(source));
        assert!(shapes.len() >= SHAPES, "only {} shapes", shapes.len());
        let arrived = sockets.arrived(&shapes);
        let lost = names(&shapes, |shape| !arrived.contains(&shape.tag));
        assert!(lost.is_empty(), "did not reach the socket from the {source:?} source: {lost:#?}");
    }
}

#[test]
fn shapes_the_kernel_refuses_never_reach_the_socket() {
    let sockets = Sockets::new();
    let shapes = corpus::never_reaching(&sockets.route(DENIED));
    let arrived = sockets.arrived(&shapes);
    let found = names(&shapes, |shape| arrived.contains(&shape.tag));
    assert!(found.is_empty(), "reached the socket, so they belong to the other list: {found:#?}");
}

#[test]
fn no_shape_from_a_denied_source_gets_past_the_filter() {
    for mode in [XdpMode::Native, XdpMode::Generic] {
        let sockets = Sockets::new();
        let _programs = sockets.filter(mode);
        let route = sockets.route(DENIED);
        let shapes: Vec<Shape> = [corpus::reaching, corpus::reaching_some, corpus::never_reaching]
            .iter()
            .flat_map(|all| all(&route))
            .collect();
        let arrived = sockets.arrived(&shapes);
        let leaked = names(&shapes, |shape| arrived.contains(&shape.tag));
        assert!(leaked.is_empty(), "{mode} mode: reached the socket: {leaked:#?}");
    }
}

#[test]
fn every_promised_shape_from_an_allowed_source_passes_the_filter() {
    let delivered = delivered_here();
    for mode in [XdpMode::Native, XdpMode::Generic] {
        let sockets = Sockets::new();
        let _programs = sockets.filter(mode);
        let route = sockets.route(ALLOWED);
        let mut some = corpus::reaching_some(&route);
        some.retain(|shape| shape.promise == Promise::MustPass && delivered.contains(&shape.tag));
        let shapes: Vec<Shape> = corpus::must_pass(&route).into_iter().chain(some).collect();
        assert!(shapes.len() >= SHAPES, "only {} shapes", shapes.len());
        let arrived = sockets.arrived(&shapes);
        let lost = names(&shapes, |shape| !arrived.contains(&shape.tag));
        assert!(lost.is_empty(), "{mode} mode: did not reach the socket: {lost:#?}");
    }
}

/// Returns the tags of the disputed shapes that this kernel delivers.
fn delivered_here() -> BTreeSet<u32> {
    let sockets = Sockets::new();
    sockets.arrived(&corpus::reaching_some(&sockets.route(ALLOWED)))
}

fn names(shapes: &[Shape], picked: impl Fn(&Shape) -> bool) -> BTreeSet<&str> {
    shapes.iter().filter(|shape| picked(shape)).map(|shape| shape.name.as_str()).collect()
}
