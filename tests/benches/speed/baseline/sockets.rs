//! The socket filter on the server's sockets, and its cost by the kernel's own count.

use std::fs::File;

use anyhow::{Context as _, Result, ensure};
use aya::programs::{CgroupAttachMode, CgroupSkb, CgroupSkbAttachType};
use aya::sys::{Stats, enable_stats};
use firewall_agent::bpf::Pins;
use firewall_common::names;

/// The lab's control group. Its own processes are in it, and a client is not.
const CGROUP: &str = "/sys/fs/cgroup";

/// Runs of a program at the server's sockets.
pub struct Cost {
    pub name: &'static str,
    pub packets: u64,
    /// Nanoseconds a packet, with the two clock reads of the kernel's count.
    pub nanoseconds: f64,
}

/// Attaches a pinned program to the lab's sockets, until it is dropped.
pub fn attach(pins: &Pins, name: &str) -> Result<CgroupSkb> {
    let mut program = CgroupSkb::from_pin(pins.program(name), CgroupSkbAttachType::Ingress)?;
    let group = File::open(CGROUP)?;
    // A link is always one of several; the kernel refuses the flag that says so.
    program
        .attach(group, CgroupSkbAttachType::Ingress, CgroupAttachMode::Single)
        .with_context(|| format!("{name}: not attached"))?;
    Ok(program)
}

/// Measures the empty program and the socket filter, both for every packet, while `act` runs.
pub fn costs(pins: &Pins, act: impl FnOnce() -> Result<()>) -> Result<Vec<Cost>> {
    let names = [names::MEASURED_AT_SOCKETS, names::SOCKET_FILTER];
    let programs = names.map(|name| attach(pins, name));
    let _counted = enable_stats(Stats::RunTime).context("the kernel does not count runs")?;
    act()?;
    let cost = |(name, program): (&'static str, Result<CgroupSkb>)| {
        let info = program?.info()?;
        let packets = info.run_count();
        ensure!(packets > 0, "{name}: judged no packet");
        Ok(Cost { name, packets, nanoseconds: info.run_time().as_secs_f64() * 1e9 / packets as f64 })
    };
    names.into_iter().zip(programs).map(cost).collect()
}
