//! Cost of one packet: each program runs many times on a frame in one test run.

mod report;

use std::path::Path;

use anyhow::Result;
use firewall_agent::bpf::Probe;
use firewall_common::fast_path;
use firewall_tests::bench::Machine;
use firewall_tests::packets::{Segment, frame, protocol};

use crate::before::Before;
use crate::cost::{Contender, Estimate, Pair, pairs, pin_to_a_core};
use crate::rules::{
    ADDRESS4, ADDRESS6, BPFFS, Bench, FRIEND4, FRIEND6, NEIGHBOUR4, PORT, STRANGER4, STRANGER6,
};
use crate::run::Pinned;
use firewall_tests::bench::say;

/// Prefixes in each family of one database.
const CIDRS: [usize; 6] = [1, 30, 300, 3_000, 10_000, 100_000];
/// Databases with an endpoint in each family and 30 prefixes.
const ENDPOINTS: [u16; 3] = [1, 8, 256];
/// Accelerations of the fast path, and subsets of them that show the effect of each.
const PARTS: [(&str, u32); 5] = [
    ("all accelerations", fast_path::ALL),
    ("without the verdict cache", fast_path::ALL & !fast_path::VERDICTS),
    ("without the endpoint cache", fast_path::ALL & !fast_path::ENDPOINTS),
    ("without source prefilters", fast_path::ALL & !fast_path::SOURCES),
    ("tries alone", 0),
];

/// Prefixes of a blocked range in each family.
const BLOCKED: [usize; 2] = [0, 100_000];

pub const PARSED: &str = "headers read, nothing else";
pub const ALLOWED: &str = "known source, allowed";
pub const DENIED: &str = "known source, denied";
pub const NEIGHBOUR_DENIED: &str = "known source, denied by the trie";
pub const NEVER_SEEN: &str = "never-seen source, denied";
pub const NEVER_SEEN6: &str = "IPv6, never-seen source, denied";
pub const ALLOWED6: &str = "IPv6, known source, allowed";
pub const DENIED6: &str = "IPv6, known source, denied";
pub const TAGGED: &str = "VLAN tag, known source, allowed";
pub const HEADERS: &str = "IPv6, 8 extension headers, allowed";
pub const FRAGMENT: &str = "later fragment, allowed";
pub const UNPROTECTED: &str = "unprotected port";

/// The cost of one program on one kind of packet.
pub struct Cost {
    pub name: &'static str,
    pub pairs: Vec<Pair>,
    /// To the empty program, pair by pair.
    pub ratio: Estimate,
}

/// All costs under one rule set.
pub struct Table {
    pub accelerations: &'static str,
    pub cidrs: usize,
    pub endpoints: u16,
    pub blocked: usize,
    pub costs: Vec<Cost>,
}

impl Table {
    pub fn ratio(&self, name: &str) -> Estimate {
        self.costs.iter().find(|cost| cost.name == name).unwrap().ratio
    }
}

/// Measures, and compares with the figures of an earlier run, if any. Returns whether the run is quiet enough to judge by.
pub fn measure(directory: &Path, before: Option<Before>) -> Result<bool> {
    let machine = Machine::detect()?;
    let core = pin_to_a_core();
    let (mut by_size, mut by_part, mut by_blocks, mut verified) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for cidrs in CIDRS {
        let mut bench = Bench::new(1, fast_path::ALL);
        bench.publish(1, cidrs);
        by_size.push(table(&bench, PARTS[0].0, cidrs, 1));
        if verified.is_empty() {
            for program in [Probe::firewall(Path::new(BPFFS))?, Probe::pinned(Path::new(BPFFS))?] {
                verified.push(program.verified_instructions()?);
            }
        }
    }
    for endpoints in ENDPOINTS {
        let mut bench = Bench::new(u32::from(endpoints), fast_path::ALL);
        bench.publish(endpoints, 30);
        by_size.push(table(&bench, PARTS[0].0, 30, endpoints));
    }
    for (name, accelerations) in PARTS {
        for cidrs in [30, 10_000] {
            let mut bench = Bench::new(1, accelerations);
            bench.publish(1, cidrs);
            by_part.push(table(&bench, name, cidrs, 1));
        }
    }
    for blocked in BLOCKED {
        let mut bench = Bench::new(1, fast_path::ALL);
        bench.blocked = blocked;
        bench.publish(1, 30);
        by_blocks.push(table(&bench, PARTS[0].0, 30, 1));
    }
    report::write(directory, &report::Run { machine, core, by_size, by_part, by_blocks, verified, before })
}

fn table(bench: &Bench, accelerations: &'static str, cidrs: usize, endpoints: u16) -> Table {
    let blocked = bench.blocked;
    say(&format!("{accelerations}, {cidrs} CIDRs, {endpoints} endpoints, {blocked} blocked prefixes"));
    let costs = with_contenders(bench, |empty, contenders| {
        let costs = pairs(empty, contenders).into_iter().zip(contenders).map(|(pairs, contender)| {
            let ratio = Estimate::of(pairs.iter().map(|pair| pair.cost / pair.empty));
            Cost { name: contender.name, pairs, ratio }
        });
        costs.collect()
    });
    Table { accelerations, cidrs, endpoints, blocked, costs }
}

/// Calls `measure` with the empty program and one contender for each kind of packet.
pub fn with_contenders<T>(bench: &Bench, measure: impl FnOnce(&Pinned, &[Contender<'_>]) -> T) -> T {
    let v4 = |source, port| frame().ipv4(source, ADDRESS4).tcp(40_000, port).build();
    let v6 = |source, port| frame().ipv6(source, ADDRESS6).tcp(40_000, port).build();
    let middle = Segment::raw(protocol::TCP, &[0; 32]);
    let headers = (0..8)
        .fold(frame().ipv6(FRIEND6, ADDRESS6), |packet, _| packet.destination_options(&[1, 4, 0, 0, 0, 0]));
    let (friend, stranger, neighbour, elsewhere) =
        (v4(FRIEND4, PORT), v4(STRANGER4, PORT), v4(NEIGHBOUR4, PORT), v4(STRANGER4, 80));
    let (friend6, stranger6) = (v6(FRIEND6, PORT), v6(STRANGER6, PORT));
    let walked = headers.tcp(40_000, PORT).build();
    let tagged = frame().vlan(7).ipv4(FRIEND4, ADDRESS4).tcp(40_000, PORT).build();
    let fragment = frame().ipv4(FRIEND4, ADDRESS4).fragment(64, false).carrying(middle).build();

    let [empty, parse, changing, new] =
        ["empty_drop", "parse_only", "new_source_drop", "new_source_firewall"]
            .map(|name| bench.program(name));
    let firewall = bench.firewall();
    let on = |name, program, frame| Contender { name, program, frame, beside: None };
    let renewed = |name, frame| Contender { name, program: &new, frame, beside: Some(&changing) };
    let contenders = [
        on(PARSED, &parse, &friend),
        on(ALLOWED, &firewall, &friend),
        on(DENIED, &firewall, &stranger),
        on(NEIGHBOUR_DENIED, &firewall, &neighbour),
        on(UNPROTECTED, &firewall, &elsewhere),
        on(ALLOWED6, &firewall, &friend6),
        on(DENIED6, &firewall, &stranger6),
        on(HEADERS, &firewall, &walked),
        on(TAGGED, &firewall, &tagged),
        on(FRAGMENT, &firewall, &fragment),
        renewed(NEVER_SEEN, &stranger),
        renewed(NEVER_SEEN6, &stranger6),
    ];
    measure(&empty, &contenders)
}
