//! Report of the packet costs.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::Result;
use firewall_tests::bench::Machine;
use serde_json::{Value, json};

use super::{
    ALLOWED, ALLOWED6, CIDRS, DENIED, DENIED6, FRAGMENT, HEADERS, NEIGHBOUR_DENIED, NEVER_SEEN, NEVER_SEEN6,
    TAGGED, Table, UNPROTECTED,
};
use crate::before::Before;
use crate::cost::{Estimate, PAIRS, Pair, SLICE, median};
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
    pub before: Option<Before>,
}

impl Run {
    /// The tables with 30 CIDRs or more, and one endpoint.
    fn lists(&self) -> impl Iterator<Item = &Table> {
        self.by_size[..CIDRS.len()].iter().filter(|table| table.cidrs >= 30)
    }

    /// Rows whose ratio is too noisy to judge a bar by.
    fn noisy(&self) -> Vec<String> {
        let costs = self.lists().flat_map(|table| table.costs.iter().map(|cost| (table.cidrs, cost)));
        let noisy = costs.filter(|(_, cost)| cost.ratio.is_noisy());
        noisy.map(|(cidrs, cost)| format!("{} ({cidrs} CIDRs)", cost.name)).collect()
    }
}

/// The limit that the tests enforce.
const VERIFIED: u32 = 50_000;

/// Bars: ratio to the empty program, and the most CIDRs that it holds for.
const BARS: [(&str, f64, usize); 10] = [
    (ALLOWED, 1.7, 10_000),
    (DENIED, 1.7, 10_000),
    (NEIGHBOUR_DENIED, 1.7, 10_000),
    (ALLOWED6, 2.0, 10_000),
    (DENIED6, 2.0, 10_000),
    (TAGGED, 2.0, 10_000),
    (UNPROTECTED, 1.4, 10_000),
    (NEVER_SEEN, 2.5, 100_000),
    (FRAGMENT, 4.0, 10_000),
    (HEADERS, 6.0, 10_000),
];

/// Returns whether the run is quiet enough.
pub fn write(directory: &Path, run: &Run) -> Result<bool> {
    firewall_tests::bench::write_report(directory, "packet", &markdown(run), &figures(run))?;
    let over_cidrs = |name: &str, tables: Vec<&Table>| Line {
        name: name.to_owned(),
        points: tables.iter().map(|table| (table.cidrs as f64, table.ratio(name).median)).collect(),
    };
    let plotted = [ALLOWED, DENIED, NEVER_SEEN, NEVER_SEEN6, UNPROTECTED]
        .map(|name| over_cidrs(name, run.by_size[..CIDRS.len()].iter().collect()));
    let alone = run.by_part.iter().filter(|table| table.accelerations == "tries alone").collect();
    let alone = over_cidrs(ALLOWED, alone);
    let alone = Line { name: "known source, allowed, by the tries alone".to_owned(), ..alone };
    let all: Vec<Line> = plotted.into_iter().chain([alone]).collect();
    let axes = ("CIDRs of the database, in each family", "times an empty XDP program");
    lines(&directory.join("packet.svg"), "Cost of a packet", axes, &all)?;
    Ok(run.noisy().is_empty())
}

fn markdown(run: &Run) -> String {
    let mut text = format!(
        "# What a packet costs\n\n\
         `cargo xtask bench packet`, on {} Pinned to core {}.\n\n\
         `BPF_PROG_TEST_RUN`; the time of the thread. Each row in {PAIRS} pairs of {SLICE} packets, of the empty program \
         and right after it of the row's, all rows taking turns. Ratios: median of the pairs, and the interval with the \
         true median at 95 %. The complete program, every counter on, loaded with CAP_BPF, CAP_NET_ADMIN and \
         CAP_PERFMON. Never-seen: the program meets a new random source every packet; what making it up costs beside \
         the empty program is subtracted. Known source: the same packet again and \
         again.\n\n![Cost of a packet](packet.svg)\n\n",
        run.machine.sentence(),
        run.core
    );
    match run.noisy().as_slice() {
        [] => {}
        noisy => {
            let _ = writeln!(text, "**Too noisy** to judge by: {}.\n", noisy.join(", "));
        }
    }
    text.push_str("| what | bar | worst of 30 CIDRs and more | |\n|---|---|---:|---|\n");
    for (name, bar, most) in BARS {
        let ratios = run.lists().filter(|table| table.cidrs <= most).map(|table| table.ratio(name));
        let worst = ratios.max_by(|one, other| one.median.total_cmp(&other.median)).unwrap();
        let _ = writeln!(
            text,
            "| {name}, up to {most} CIDRs | ≤ {bar} × empty | {worst} | {} |",
            worst.at_most(bar)
        );
    }
    let at = |cidrs| run.by_size.iter().find(|table| table.cidrs == cidrs).unwrap();
    for name in [ALLOWED, DENIED] {
        let change = at(10_000).ratio(name).median / at(30).ratio(name).median;
        let met = verdict((0.8..=1.2).contains(&change));
        let _ = writeln!(
            text,
            "| {name}, 10,000 CIDRs against 30 | ± 20 % | {:+.0} % | {met} |",
            (change - 1.0) * 100.0
        );
    }
    for name in [ALLOWED, DENIED, ALLOWED6, DENIED6] {
        let [without, with] = [0, 1].map(|at| run.by_blocks[at].ratio(name).median);
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
    if let Some(before) = &run.before {
        compare(&mut text, run, before);
    }
    text.push_str("\n## By size\n\nNanoseconds (times the empty program).\n\n");
    table(&mut text, &run.by_size, |table| format!("{} CIDRs, {} endpoints", table.cidrs, table.endpoints));
    text.push_str("\n## Blocked prefixes\n\n30 CIDRs. Nanoseconds (times the empty program).\n\n");
    table(&mut text, &run.by_blocks, |table| format!("{} blocked prefixes in each family", table.blocked));
    text.push_str("\n## Gain of each acceleration\n\nNanoseconds (times the empty program).\n\n");
    table(&mut text, &run.by_part, |table| format!("{}, {} CIDRs", table.accelerations, table.cidrs));
    text
}

/// The ratios of this run beside those of an earlier one.
fn compare(text: &mut String, run: &Run, before: &Before) {
    let _ = write!(
        text,
        "\n## Before and after\n\nTimes the empty program of the same run. Before: {}.\n\n\
         | packet | CIDRs | endpoints | before | after | |\n|---|---:|---:|---:|---:|---:|\n",
        before.source()
    );
    for table in &run.by_size {
        let is_same = |other: &&Value| other["cidrs"] == table.cidrs && other["endpoints"] == table.endpoints;
        let Some(other) = before.list().iter().find(is_same) else { continue };
        for cost in &table.costs {
            let is_same = |other: &&Value| other["packet"] == cost.name;
            let Some(other) = other["costs"].as_array().and_then(|all| all.iter().find(is_same)) else {
                continue;
            };
            // A number alone until the intervals came.
            let Some(ratio) = other["ratio"].as_f64().or_else(|| other["ratio"]["median"].as_f64()) else {
                continue;
            };
            let _ = writeln!(
                text,
                "| {} | {} | {} | {ratio:.2} | {} | {:+.0} % |",
                cost.name,
                table.cidrs,
                table.endpoints,
                cost.ratio,
                (cost.ratio.median / ratio - 1.0) * 100.0
            );
        }
    }
}

fn table(text: &mut String, tables: &[Table], head: impl Fn(&Table) -> String) {
    let heads: Vec<String> = tables.iter().map(head).collect();
    let _ = writeln!(text, "| packet | {} |\n|---|{}", heads.join(" | "), "---:|".repeat(tables.len()));
    for (at, cost) in tables[0].costs.iter().enumerate() {
        let cells: Vec<String> = tables
            .iter()
            .map(|table| {
                let cost = &table.costs[at];
                let nanoseconds = median(cost.pairs.iter().map(|pair| pair.cost));
                let Estimate { median, .. } = cost.ratio;
                format!("{nanoseconds:.0} ({median:.2})")
            })
            .collect();
        let _ = writeln!(text, "| {} | {} |", cost.name, cells.join(" | "));
    }
}

fn figures(run: &Run) -> Value {
    let tables = |tables: &[Table]| -> Vec<Value> {
        let costs = |table: &Table| -> Vec<Value> {
            let cost = |cost: &super::Cost| {
                let Estimate { low, median, high } = cost.ratio;
                let of = |value: &dyn Fn(&Pair) -> f64| cost.pairs.iter().map(value).collect::<Vec<_>>();
                json!({
                    "packet": cost.name,
                    "nanoseconds": of(&|pair| pair.cost),
                    "empty": of(&|pair| pair.empty),
                    "ratio": { "low": low, "median": median, "high": high },
                })
            };
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
