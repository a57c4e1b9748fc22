//! Report of the floods.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::Result;
use firewall_tests::bench::Machine;
use serde_json::{Value, json};

use super::{CIDRS, Cost, EMPTY, OURS, PACKETS, PARSED, ROUNDS};
use crate::before::Before;
use crate::cost::{Estimate, median};
use crate::plot::bars;

pub struct Run {
    pub machine: Machine,
    pub core: usize,
    /// Of every target but the firewall, which each is paired with.
    pub costs: Vec<Cost>,
    pub before: Option<Before>,
}

impl Run {
    /// The costs with so many CIDRs, and with new sources or one.
    fn group(&self, cidrs: usize, new_sources: bool) -> Vec<&Cost> {
        self.costs.iter().filter(|cost| cost.cidrs == cidrs && cost.new_sources == new_sources).collect()
    }

    /// Ratios that have a bar and are too noisy to judge by.
    fn noisy(&self) -> Vec<String> {
        let noisy = |cost: &&Cost| bar(cost).is_some() && cost.firewall_against_it().is_noisy();
        let costs = self.costs.iter().filter(noisy);
        costs
            .map(|cost| format!("{} ({} CIDRs, {})", cost.name, cost.cidrs, sources(cost.new_sources)))
            .collect()
    }
}

/// The least ratio of the firewall's drop rate to this target's.
fn bar(cost: &Cost) -> Option<f64> {
    match (cost.name, cost.new_sources, cost.cidrs) {
        (EMPTY, false, _) => Some(0.8),
        (EMPTY, true, 10_000) => Some(0.65),
        (EMPTY, true, _) => Some(0.7),
        (PARSED, false, _) => Some(0.9),
        (PARSED, true, _) => Some(0.85),
        _ => None,
    }
}

/// The same against nftables at its best hook.
const OVER_NFTABLES: [f64; 2] = [8.0, 5.5];

/// The firewall's rate, from its pairs with the empty program.
fn our_rate(empty: &Cost) -> f64 {
    1e3 / median(empty.pairs.iter().map(|(_, firewall)| *firewall))
}

/// Returns whether the run is quiet enough.
pub fn write(directory: &Path, run: &Run) -> Result<bool> {
    firewall_tests::bench::write_report(directory, "flood", &markdown(run), &figures(run))?;
    let mut shown: Vec<(String, f64)> = Vec::new();
    for new in [false, true] {
        for cost in run.group(CIDRS[0], new) {
            if cost.name == EMPTY {
                shown.push((format!("{OURS}, {}", sources(new)), our_rate(cost)));
            }
            shown.push((format!("{}, {}", cost.name, sources(new)), cost.rate()));
        }
    }
    shown.reverse();
    let title = "A flood of denied packets on one core, 30 CIDRs";
    bars(&directory.join("flood.svg"), title, "million packets a second", &shown)?;
    Ok(run.noisy().is_empty())
}

fn sources(new: bool) -> &'static str {
    if new { "new sources" } else { "one source" }
}

fn markdown(run: &Run) -> String {
    let mut text = format!(
        "# A flood of denied packets\n\n\
         `cargo xtask bench flood`, on {} Pinned to core {}.\n\n\
         TCP SYNs to a protected endpoint, from a source that is not allowed, injected as if received by a veth \
         interface (`BPF_PROG_TEST_RUN` with live frames); the packet filters get what an XDP program passes on. \
         Each place has a network namespace of its own and the same allowed networks, and counts what it drops, \
         which is compared with what was sent. Packets a second of one core, by the time that the thread ran, the \
         making of the packets included for all alike; {ROUNDS} pairs of {PACKETS} packets, at the firewall and right \
         after it at the other place. Ratios: median of the pairs, and the interval with the true median at 95 %. New sources: a program makes up another source for every packet, before everything else, \
         in all places alike.\n\n![A flood of denied packets](flood.svg)\n\n\
         | CIDRs | sources | dropped by | million/s | ns a packet | firewall against it | bar | |\n\
         |---:|---|---|---:|---:|---:|---|---|\n",
        run.machine.sentence(),
        run.core
    );
    for cidrs in CIDRS {
        for new in [false, true] {
            let group = run.group(cidrs, new);
            let is_nftables = |cost: &&&Cost| cost.name.starts_with("nftables");
            let best = group.iter().filter(is_nftables).map(|cost| cost.rate()).fold(0.0, f64::max);
            for cost in &group {
                if cost.name == EMPTY {
                    let rate = our_rate(cost);
                    let _ = writeln!(
                        text,
                        "| {cidrs} | {} | {OURS} | {rate:.2} | {:.0} | | | |",
                        sources(new),
                        1e3 / rate
                    );
                }
                let times = cost.firewall_against_it();
                let least = if is_nftables(&cost) && cost.rate() >= best {
                    Some(OVER_NFTABLES[usize::from(new)])
                } else {
                    bar(cost)
                };
                let judged = least.map_or_else(
                    || " | ".to_owned(),
                    |least| format!("≥ {least} × | {}", times.at_least(least)),
                );
                let _ = writeln!(
                    text,
                    "| {cidrs} | {} | {} | {:.2} | {:.0} | {times} | {judged} |",
                    sources(new),
                    cost.name,
                    cost.rate(),
                    cost.cost()
                );
            }
        }
    }
    if !run.noisy().is_empty() {
        let _ = writeln!(text, "\n**Too noisy** to judge by: {}.", run.noisy().join(", "));
    }
    if let Some(before) = &run.before {
        compare(&mut text, run, before);
    }
    text
}

/// The ratios of this run beside those of an earlier one.
fn compare(text: &mut String, run: &Run, before: &Before) {
    let _ = write!(
        text,
        "\n## Before and after\n\nDrop rate of the firewall as a multiple. Before: {}.\n\n\
         | CIDRs | sources | against | before | after |\n|---:|---|---|---:|---:|\n",
        before.source()
    );
    for cost in &run.costs {
        let is_same = |other: &&Value| {
            other["dropped_by"] == cost.name
                && other["cidrs"] == cost.cidrs
                && other["new_sources"] == cost.new_sources
        };
        let other = before.list().iter().find(is_same);
        let Some(ratio) = other.and_then(|other| other["firewall_against_it"]["median"].as_f64()) else {
            continue;
        };
        let _ = writeln!(
            text,
            "| {} | {} | {} | {ratio:.2} | {} |",
            cost.cidrs,
            sources(cost.new_sources),
            cost.name,
            cost.firewall_against_it()
        );
    }
}

fn figures(run: &Run) -> Value {
    let cost = |cost: &Cost| {
        let Estimate { low, median, high } = cost.firewall_against_it();
        let (other, firewall): (Vec<f64>, Vec<f64>) = cost.pairs.iter().copied().unzip();
        json!({
            "dropped_by": cost.name,
            "cidrs": cost.cidrs,
            "new_sources": cost.new_sources,
            "nanoseconds": other,
            "firewall_nanoseconds": firewall,
            "firewall_against_it": { "low": low, "median": median, "high": high },
        })
    };
    json!({
        "machine": run.machine.json(),
        "core": run.core,
        "costs": run.costs.iter().map(cost).collect::<Vec<_>>(),
    })
}
