//! Cost of publishing, from few prefixes and databases to many, of one change beside many databases, and of the agent at
//! rest.

mod changed;
mod interfaces;
mod rest;

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::Instant;

use anyhow::Result;
use firewall_common::{fast_path, names};
use firewall_tests::bench::Machine;
use serde_json::{Value, json};

use self::changed::Changes;
use self::rest::{Idle, Rest};
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
/// Databases with a range of their own, prefixes in each range, and changes of one file.
const ONE_FILE: (usize, usize, usize) = (256, 1_000, 400);
/// Databases that use one range, its prefixes, and changes of the range.
const SHARED_RANGE: (usize, usize, usize) = (200, 2_000, 20);
/// Interfaces that the patterns match, beside the first.
const INTERFACES: usize = 256;
/// Target of the resident memory at rest, in millions of bytes.
const RESIDENT: f64 = 20.0;

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
    let (databases, managed, times) = ONE_FILE;
    say(&format!("{times} changes of one file among {databases}, {managed} managed prefixes each"));
    let one_file = changed::one_file(databases, managed, times)?;
    let (databases, managed, times) = SHARED_RANGE;
    say(&format!("{times} changes of one range of {managed} prefixes, used by {databases} databases"));
    let shared_range = changed::shared_range(databases, managed, times)?;
    say("the agent at rest");
    let rest = rest::measure()?;
    say(&format!("the agent at rest with {INTERFACES} interfaces"));
    let interfaces = interfaces::measure(INTERFACES)?;
    let agent = Agents { one_file, shared_range, rest, interfaces };
    let report = report(&machine, &all, &agent);
    write_report(directory, "scale", &report, &figures(&machine, &all, &agent))
}

/// Figures of running agents.
struct Agents {
    one_file: Changes,
    shared_range: Changes,
    rest: Rest,
    interfaces: Idle,
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

fn report(machine: &Machine, all: &[Figures], agent: &Agents) -> String {
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
    text + &changes_report(&agent.one_file, &agent.shared_range)
        + &rest_report(&agent.rest, &agent.interfaces)
}

fn changes_report(one_file: &Changes, shared_range: &Changes) -> String {
    let row = |what: &str, one: &Changes, bar: &str| {
        let (p50, p99) = (one.percentile(50) * 1e3, one.percentile(99) * 1e3);
        let (published, resident) = (one.published as f64 / 1048576.0, one.resident);
        let times = one.seconds.len();
        format!(
            "| {what} | {times} | {p50:.1} ms | {p99:.1} ms | {published:.1} MiB | {resident:.1} MB | {bar} |\n"
        )
    };
    let bar = format!("p99 ≤ 20 ms: {}", verdict(one_file.percentile(99) <= 0.02));
    format!(
        "\n## One change beside many databases\n\nThe whole agent, from before a file is written and renamed to the first \
         packet with the new verdict. One file: a source more or less in one of {} databases, each with 30 rules, one of \
         them a managed range of {} prefixes of its own. One range: a prefix exchanged in a range of {} prefixes that {} \
         databases use, until the last of them has it in force. The kernel has a trie for each database, since the \
         values in it are the database's own counters. Memory: the published tries as the kernel counts them, and the \
         resident agent.\n\n\
         | change | times | p50 | p99 | published | agent | bar |\n|---|---:|---:|---:|---:|---:|---|\n{}{}",
        one_file.databases,
        one_file.managed,
        shared_range.managed,
        shared_range.databases,
        row("one file", one_file, &bar),
        row("one range", shared_range, ""),
    )
}

fn rest_report(Rest { databases, cidrs, idle }: &Rest, interfaces: &Idle) -> String {
    let Idle { seconds, resident, share } = idle;
    format!(
        "\n## At rest\n\nThe agent with {databases} databases of {cidrs} prefixes in force, attached, nothing to do, over \
         {seconds:.0} s; and one with {INTERFACES} further interfaces.\n\n| what | figure | bar | |\n|---|---:|---|---|\n\
         | resident memory | {resident:.1} MB | ≤ {RESIDENT:.0} MB | {} |\n| of a core | {:.2} % | ≤ 0.5 % | {} |\n\
         | of a core, {INTERFACES} interfaces | {:.2} % | ≤ 1 % | {} |\n",
        verdict(*resident <= RESIDENT),
        share * 100.0,
        verdict(*share <= 0.005),
        interfaces.share * 100.0,
        verdict(interfaces.share <= 0.01)
    )
}

fn figures(machine: &Machine, all: &[Figures], agent: &Agents) -> Value {
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
    let changes = |one: &Changes| {
        json!({
            "databases": one.databases,
            "managed": one.managed,
            "seconds_to_the_wire": one.seconds,
            "published_bytes": one.published,
            "resident_mb": one.resident,
        })
    };
    json!({
        "machine": machine.json(),
        "publishes": all.iter().map(publish).collect::<Vec<_>>(),
        "one_file": changes(&agent.one_file),
        "one_range": changes(&agent.shared_range),
        "at_rest": {
            "databases": agent.rest.databases,
            "resident_mb": agent.rest.idle.resident,
            "share_of_a_core": agent.rest.idle.share,
        },
        "interfaces": { "interfaces": INTERFACES, "share_of_a_core": agent.interfaces.share },
    })
}
