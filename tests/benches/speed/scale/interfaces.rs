//! The agent at rest with many matched interfaces.

use anyhow::Result;
use firewall_tests::bench::propagation::Wire;
use firewall_tests::lab::Lab;

use super::rest::{Idle, idle};
use crate::burden::BenchHost;

const DATABASES: usize = 10;

/// Watches an agent with this number of further interfaces.
pub fn measure(interfaces: usize) -> Result<Idle> {
    let lab = Lab::new()?;
    let wire = Wire { interfaces: &["eth0", "port*"], ..Wire::default() };
    let host = BenchHost::new(&lab, &wire, DATABASES)?;
    host.add_interfaces(&lab, interfaces)?;
    idle(host.pid()?)
}
