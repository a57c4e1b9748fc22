//! Report of the packet costs.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::Result;
use firewall_tests::bench::Machine;
use serde_json::{Value, json};

use super::{
    ALLOWED, ALLOWED6, CIDRS, DENIED, DENIED6, EMPTY, NEIGHBOUR_DENIED, NEVER_SEEN, NEVER_SEEN6, TAGGED,
    Table, UNPROTECTED,
};
use crate::cost::{ROUNDS, SLICE, SLICES, median};
use crate::plot::{Line, lines};
use firewall_tests::bench::verdict;

pub struct Run {
    pub machine: Machine,
    pub core: usize,
    pub by_size: Vec<Table>,
    pub by_part: Vec<Table>,
    /// Without blocked prefixes, and with them.
    pub by_blocks: Vec<Table>,
    /// Instructions of the program and of the probe program.
    pub verified: Vec<u32>,
}

/// The limit that the tests enforce.
const VERIFIED: u32 = 50_000;

pub fn write(directory: &Path, run: &Run) -> Result<()> {
    firewall_tests::bench::write_report(directory, "packet", &markdown(run), &figures(run))?;
    let over_cidrs = |name: &str, tables: Vec<&Table>| Line {
        name: name.to_owned(),
        points: tables.iter().map(|table| (table.cidrs as f64, table.ratio(name))).collect(),
    };
    let plotted = [ALLOWED, DENIED, NEVER_SEEN, NEVER_SEEN6, UNPROTECTED]
        .map(|name| over_cidrs(name, run.by_size[..CIDRS.len()].iter().collect()));
    let alone = run.by_part.iter().filter(|table| table.accelerations == "tries alone").collect();
    let alone = over_cidrs(ALLOWED, alone);
    let alone = Line { name: "known source, allowed, by the tries alone".to_owned(), ..alone };
    let all: Vec<Line> = plotted.into_iter().chain([alone]).collect();
    let axes = ("CIDRs of the database, in each family", "times an empty XDP program");
    lines(&directory.join("packet.svg"), "Cost of a packet", axes, &all)
}

fn markdown(run: &Run) -> String {
    let mut text = format!(
        "# What a packet costs\n\n\
         `cargo xtask bench packet`, on {} Pinned to core {}.\n\n\
         `BPF_PROG_TEST_RUN`; the time of the thread, the least of {SLICES} slices of {SLICE} packets, all rows taking \
         turns in each of {ROUNDS} rounds; medians of the rounds, and of the ratios within a round. The complete \
         program, every counter on, loaded with CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON. Never-seen: the program meets \
         a new random source every packet; what making it up costs beside the empty program is subtracted. Known \
         source: the same packet again and again.\n\n![Cost of a packet](packet.svg)\n\n",
        run.machine.sentence(),
        run.core
    );
    text.push_str("| what | bar | worst of 30 to 10,000 CIDRs | |\n|---|---|---:|---|\n");
    let middle = || run.by_size[..CIDRS.len()].iter().filter(|table| (30..=10_000).contains(&table.cidrs));
    let worst = |name: &str| middle().map(|table| table.ratio(name)).fold(0.0, f64::max);
    for (name, bar) in [
        (ALLOWED, 1.7),
        (DENIED, 1.7),
        (NEIGHBOUR_DENIED, 1.7),
        (ALLOWED6, 2.0),
        (DENIED6, 2.0),
        (TAGGED, 2.0),
        (UNPROTECTED, 1.4),
        (NEVER_SEEN, 2.5),
    ] {
        let worst = worst(name);
        let _ = writeln!(text, "| {name} | ≤ {bar} × empty | {worst:.2} | {} |", verdict(worst <= bar));
    }
    let at = |cidrs| run.by_size.iter().find(|table| table.cidrs == cidrs).unwrap();
    for name in [ALLOWED, DENIED] {
        let change = at(10_000).ratio(name) / at(30).ratio(name);
        let met = verdict((0.8..=1.2).contains(&change));
        let _ = writeln!(
            text,
            "| {name}, 10,000 CIDRs against 30 | ± 20 % | {:+.0} % | {met} |",
            (change - 1.0) * 100.0
        );
    }
    for name in [ALLOWED, DENIED, ALLOWED6, DENIED6] {
        let [without, with] = [0, 1].map(|at| run.by_blocks[at].ratio(name));
        let change = with / without;
        let met = verdict((0.9..=1.1).contains(&change));
        let blocked = run.by_blocks[1].blocked;
        let _ = writeln!(
            text,
            "| {name}, {blocked} blocked prefixes against none | ± 10 % | {:+.0} % | {met} |",
            (change - 1.0) * 100.0
        );
    }
    for (name, count) in ["firewall", "probe"].iter().zip(&run.verified) {
        let met = verdict(*count <= VERIFIED);
        let _ = writeln!(text, "| instructions verified, {name} | ≤ {VERIFIED} | {count} | {met} |");
    }
    text.push_str("\n## By size\n\nNanoseconds (times the empty program).\n\n");
    table(&mut text, &run.by_size, |table| format!("{} CIDRs, {} endpoints", table.cidrs, table.endpoints));
    text.push_str("\n## Blocked prefixes\n\n30 CIDRs. Nanoseconds (times the empty program).\n\n");
    table(&mut text, &run.by_blocks, |table| format!("{} blocked prefixes in each family", table.blocked));
    text.push_str("\n## Gain of each acceleration\n\nNanoseconds (times the empty program).\n\n");
    table(&mut text, &run.by_part, |table| format!("{}, {} CIDRs", table.accelerations, table.cidrs));
    text
}

fn table(text: &mut String, tables: &[Table], head: impl Fn(&Table) -> String) {
    let heads: Vec<String> = tables.iter().map(head).collect();
    let _ = writeln!(text, "| packet | {} |\n|---|{}", heads.join(" | "), "---:|".repeat(tables.len()));
    for (at, cost) in tables[0].costs.iter().enumerate() {
        let cells: Vec<String> = tables
            .iter()
            .map(|table| {
                let cost = &table.costs[at];
                let ratio = if cost.name == EMPTY { String::new() } else { format!(" ({:.2})", cost.ratio) };
                format!("{:.0}{ratio}", median(cost.rounds.iter().copied()))
            })
            .collect();
        let _ = writeln!(text, "| {} | {} |", cost.name, cells.join(" | "));
    }
}

fn figures(run: &Run) -> Value {
    let tables = |tables: &[Table]| -> Vec<Value> {
        let costs = |table: &Table| -> Vec<Value> {
            let cost = |cost: &super::Cost| json!({ "packet": cost.name, "nanoseconds": cost.rounds, "ratio": cost.ratio });
            table.costs.iter().map(cost).collect()
        };
        tables
            .iter()
            .map(|table| {
                json!({
                    "accelerations": table.accelerations,
                    "cidrs": table.cidrs,
                    "endpoints": table.endpoints,
                    "blocked": table.blocked,
                    "costs": costs(table),
                })
            })
            .collect()
    };
    json!({
        "machine": run.machine.json(),
        "core": run.core,
        "verified_instructions": { "firewall": run.verified[0], "probe": run.verified[1] },
        "by_size": tables(&run.by_size),
        "by_blocked_prefixes": tables(&run.by_blocks),
        "by_acceleration": tables(&run.by_part),
    })
}
