//! Cost of publishing, from few prefixes and databases to many, and of the agent at rest.

mod rest;

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::Instant;

use anyhow::Result;
use firewall_common::{fast_path, names};
use firewall_tests::bench::Machine;
use serde_json::{Value, json};

use crate::cost::median;
use crate::rules::Bench;
use crate::run::Pinned;
use firewall_tests::bench::{say, verdict, write_report};

/// Databases, endpoints of each, and prefixes of each, both in each family.
const SIZES: [(u16, u16, usize); 10] = [
    (1, 1, 30),
    (1, 1, 300),
    (1, 1, 3_000),
    (1, 1, 10_000),
    (1, 1, 100_000),
    (8, 1, 30),
    (64, 1, 30),
    (256, 1, 30),
    (250, 4, 30),
    (100, 1, 1_030),
];
const CHANGES: usize = 5;

struct Figures {
    databases: u16,
    ports: u16,
    cidrs: usize,
    /// Seconds for a publish of everything onto empty maps.
    first: f64,
    /// Seconds for adding one prefix and removing one in every database at once.
    changes: Vec<f64>,
    /// Bytes of the published maps: tries and endpoint table.
    published: u64,
    /// Bytes of the fixed maps, for this number of databases.
    fixed: u64,
}

pub fn measure(directory: &Path) -> Result<()> {
    let machine = Machine::detect()?;
    let mut all = Vec::new();
    for (databases, ports, cidrs) in SIZES {
        say(&format!("{databases} databases of {ports} endpoints and {cidrs} CIDRs"));
        all.push(publishes(databases, ports, cidrs)?);
    }
    say("the agent at rest");
    let rest = rest::measure()?;
    let report = report(&machine, &all, &rest);
    write_report(directory, "scale", &report, &figures(&machine, &all, &rest))
}

fn publishes(databases: u16, ports: u16, cidrs: usize) -> Result<Figures> {
    let mut bench = Bench::new(u32::from(databases), fast_path::ALL);
    bench.ports = ports;
    let mut publish = || {
        let desired = bench.next(databases, cidrs);
        let started = Instant::now();
        bench.put_in_force(&desired);
        started.elapsed().as_secs_f64()
    };
    let first = publish();
    let changes = (0..CHANGES).map(|_| publish()).collect();
    let (published, fixed) = memory(&bench)?;
    Ok(Figures { databases, ports, cidrs, first, changes, published, fixed })
}

/// Returns both as the kernel accounts them.
fn memory(bench: &Bench) -> Result<(u64, u64)> {
    let mut published = 0;
    for directory in [bench.pins.sources(), bench.pins.endpoints()] {
        for pin in fs::read_dir(directory)? {
            published += Pinned::open(&pin?.path()).locked();
        }
    }
    let fixed = names::MAPS.iter().map(|name| Pinned::open(&bench.pins.map(name)).locked());
    Ok((published, fixed.sum()))
}

fn report(machine: &Machine, all: &[Figures], rest: &rest::Rest) -> String {
    let mut text = format!(
        "# What publishing takes\n\n`cargo xtask bench scale`, on {}\n\n\
         One call of `sync::publish` on the real kernel: tries built, read back, frozen, pinned and swapped. First: \
         onto empty maps. Change: one prefix more and one less in every database, all at once; median of {CHANGES}. \
         Every database has as many endpoints and prefixes in both families. Memory as the kernel counts it \
         (`memlock`): what is published, and the maps that are there anyway for so many databases.\n\n\
         | databases | endpoints in each family | CIDRs in each family | first | change | published | other maps |\n|---:|---:|---:|---:|---:|---:|---:|\n",
        machine.sentence()
    );
    for Figures { databases, ports, cidrs, first, changes, published, fixed } in all {
        let change = median(changes.iter().copied()) * 1e3;
        let (published, fixed) = (*published as f64 / 1048576.0, *fixed as f64 / 1048576.0);
        let _ = writeln!(
            text,
            "| {databases} | {} | {cidrs} | {:.1} ms | {change:.1} ms | {published:.1} MiB | {fixed:.1} MiB |",
            databases * ports,
            first * 1e3
        );
    }
    let rest::Rest { databases, cidrs, seconds, resident, share } = rest;
    let _ = write!(
        text,
        "\n## At rest\n\nThe agent with {databases} databases of {cidrs} prefixes in force, attached, nothing to do, over \
         {seconds:.0} s.\n\n| what | figure | bar | |\n|---|---:|---|---|\n\
         | resident memory | {resident:.1} MB | ≤ 30 MB | {} |\n| of a core | {:.2} % | ≤ 0.5 % | {} |\n",
        verdict(*resident <= 30.0),
        share * 100.0,
        verdict(*share <= 0.005)
    );
    text
}

fn figures(machine: &Machine, all: &[Figures], rest: &rest::Rest) -> Value {
    let publish = |one: &Figures| {
        json!({
            "databases": one.databases,
            "endpoints": one.databases * one.ports,
            "cidrs": one.cidrs,
            "first_seconds": one.first,
            "change_seconds": one.changes,
            "published_bytes": one.published,
            "other_bytes": one.fixed,
        })
    };
    json!({
        "machine": machine.json(),
        "publishes": all.iter().map(publish).collect::<Vec<_>>(),
        "at_rest": { "databases": rest.databases, "resident_mb": rest.resident, "share_of_a_core": rest.share },
    })
}
