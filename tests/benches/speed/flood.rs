//! Drop rate of one core under a flood of denied packets, against other ways to drop them.

mod opponents;
mod report;

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use firewall_common::{Reason, fast_path};
use firewall_tests::bench::Machine;
use firewall_tests::lab::Host;
use firewall_tests::packets::frame;
use nix::net::if_::if_nametoindex;

use crate::before::Before;
use crate::cost::{Estimate, median, pin_to_a_core};
use crate::rules::{ADDRESS4, Bench, PORT, STRANGER4, networks};
use crate::run::{Pinned, thread_time};
use firewall_tests::bench::say;
use opponents::{OPPONENTS, Opponent};

pub use opponents::ingress;

const PACKETS: u32 = 60_000;
const ROUNDS: usize = 21;
const CIDRS: [usize; 2] = [30, 10_000];

pub const EMPTY: &str = "empty XDP program that drops";
pub const PARSED: &str = "XDP program that parses to the port and drops";
pub const OURS: &str = "this firewall";

/// The target of a flood, with its programs: for one source, and for a new one in every packet.
struct FloodTarget {
    name: &'static str,
    host: Host,
    interface: u32,
    frame: Vec<u8>,
    programs: [Pinned; 2],
    opponent: Option<&'static Opponent>,
}

/// The cost of dropping at one target.
pub struct Cost {
    pub name: &'static str,
    pub cidrs: usize,
    pub new_sources: bool,
    /// Nanoseconds of CPU time per packet: of this target, and of the firewall right before.
    pub pairs: Vec<(f64, f64)>,
}

impl Cost {
    /// Nanoseconds per packet.
    pub fn cost(&self) -> f64 {
        median(self.pairs.iter().map(|(cost, _)| *cost))
    }

    /// Returns millions of packets per second.
    pub fn rate(&self) -> f64 {
        1e3 / self.cost()
    }

    /// Drop rate of the firewall, as a multiple of this target's, pair by pair.
    pub fn firewall_against_it(&self) -> Estimate {
        Estimate::of(self.pairs.iter().map(|(cost, firewall)| cost / firewall))
    }
}

/// Measures, and compares with the figures of an earlier run, if any. Returns whether the run is quiet enough to judge by.
pub fn measure(directory: &Path, before: Option<Before>) -> Result<bool> {
    let machine = Machine::detect()?;
    let core = pin_to_a_core();
    let mut costs = Vec::new();
    for cidrs in CIDRS {
        for new_sources in [false, true] {
            say(&format!("{cidrs} CIDRs, {}", if new_sources { "new sources" } else { "one source" }));
            costs.extend(flood(cidrs, new_sources)?);
        }
    }
    report::write(directory, &report::Run { machine, core, costs, before })
}

fn flood(cidrs: usize, new_sources: bool) -> Result<Vec<Cost>> {
    let mut bench = Bench::new(1, fast_path::ALL);
    bench.publish(1, cidrs);
    let targets = flood_targets(&bench, cidrs)?;
    let firewall = targets.iter().find(|target| target.name == OURS).context(OURS)?;
    let others: Vec<&FloodTarget> = targets.iter().filter(|target| target.name != OURS).collect();
    let mut pairs = vec![Vec::with_capacity(ROUNDS); others.len()];
    let drops = || -> Result<u64> { Ok(bench.kernel.reason(Reason::NoMatch)?.packets) };
    let before = drops()?;
    for round in 0..=ROUNDS {
        for (target, pairs) in others.iter().zip(&mut pairs) {
            let firewall = firewall.drop_some(new_sources)?;
            let cost = target.drop_some(new_sources)?;
            // The first round is a warm-up.
            if round > 0 {
                pairs.push((cost, firewall));
            }
        }
    }
    let sent = u64::from(PACKETS) * (ROUNDS as u64 + 1);
    let dropped = drops()? - before;
    let sent_here = sent * others.len() as u64;
    // A new source may be an allowed one.
    ensure!(
        dropped <= sent_here && dropped * 50 > sent_here * 49,
        "{OURS}: counted {dropped} of {sent_here}"
    );
    for target in &targets {
        if let Some(opponent) = target.opponent {
            let counted = opponent.counted(&target.host)?;
            ensure!(
                counted <= sent && counted * 50 > sent * 49,
                "{}: counted {counted} of {sent}",
                target.name
            );
        }
    }
    let costs = others.iter().zip(pairs);
    Ok(costs.map(|(target, pairs)| Cost { name: target.name, cidrs, new_sources, pairs }).collect())
}

fn flood_targets(bench: &Bench, cidrs: usize) -> Result<Vec<FloodTarget>> {
    let allowed = networks(cidrs);
    let mut targets = vec![
        flood_target(bench, "empty", EMPTY, ["empty_drop", "new_source_drop"], None)?,
        flood_target(bench, "parsed", PARSED, ["parse_only", "new_source_parse"], None)?,
        flood_target(bench, "ours", OURS, [firewall_common::names::FIREWALL, "new_source_firewall"], None)?,
    ];
    for opponent in &OPPONENTS {
        let programs = ["empty_pass", "new_source_pass"];
        let target = flood_target(bench, opponent.host, opponent.name, programs, Some(opponent))?;
        opponent.set_up(bench.lab.dir(), &target.host, &allowed)?;
        targets.push(target);
    }
    Ok(targets)
}

/// Creates a separate host with one interface.
fn flood_target(
    bench: &Bench,
    host: &str,
    name: &'static str,
    programs: [&str; 2],
    opponent: Option<&'static Opponent>,
) -> Result<FloodTarget> {
    let wire = format!("{host}-wire");
    let (here, there) = (bench.lab.host(host)?, bench.lab.host(&wire)?);
    let address = format!("{ADDRESS4}/24");
    bench.lab.link(here.end("eth0", &[&address]), there.end("eth0", &[]))?;
    let frame = frame().to(here.mac("eth0")?).ipv4(STRANGER4, ADDRESS4).tcp(40_000, PORT).build();
    let inside = here.enter()?;
    let interface = if_nametoindex("eth0").context("eth0")?;
    drop(inside);
    let programs = programs.map(|program| bench.program(program));
    Ok(FloodTarget { name, host: here, interface, frame, programs, opponent })
}

impl FloodTarget {
    /// Returns nanoseconds of CPU time per packet.
    fn drop_some(&self, new_sources: bool) -> Result<f64> {
        let _inside = self.host.enter()?;
        let program = &self.programs[usize::from(new_sources)];
        let before = thread_time();
        program.receive(&self.frame, PACKETS, self.interface).with_context(|| self.name.to_owned())?;
        Ok((thread_time() - before) * 1e9 / f64::from(PACKETS))
    }
}
