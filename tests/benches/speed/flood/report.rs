//! Report of the floods.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::Result;
use firewall_tests::bench::Machine;
use serde_json::{Value, json};

use super::{CIDRS, Cost, EMPTY, OURS, PACKETS, ROUNDS};
use crate::cost::median;
use crate::plot::bars;
use firewall_tests::bench::verdict;

pub struct Run {
    pub machine: Machine,
    pub core: usize,
    pub costs: Vec<Cost>,
}

/// Target ratios: to the rate of nftables at its best hook, and of an empty drop.
const OVER_NFTABLES: f64 = 8.0;
const OVER_EMPTY: f64 = 0.8;

pub fn write(directory: &Path, run: &Run) -> Result<()> {
    firewall_tests::bench::write_report(directory, "flood", &markdown(run), &figures(run))?;
    let shown: Vec<(String, f64)> = run
        .costs
        .iter()
        .filter(|cost| cost.cidrs == CIDRS[0])
        .map(|cost| (format!("{}, {}", cost.name, sources(cost.new_sources)), cost.rate()))
        .rev()
        .collect();
    let title = "A flood of denied packets on one core, 30 CIDRs";
    bars(&directory.join("flood.svg"), title, "million packets a second", &shown)
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
         making of the packets included for all alike; medians of {ROUNDS} rounds of {PACKETS} packets, all \
         taking turns. New sources: a program makes up another source for every packet, before everything else, \
         in all places alike.\n\n![A flood of denied packets](flood.svg)\n\n\
         | CIDRs | sources | dropped by | million/s | ns a packet | beyond an empty drop | firewall against it | bar | |\n\
         |---:|---|---|---:|---:|---:|---:|---|---|\n",
        run.machine.sentence(),
        run.core
    );
    for cidrs in CIDRS {
        for new in [false, true] {
            let group: Vec<&Cost> =
                run.costs.iter().filter(|cost| cost.cidrs == cidrs && cost.new_sources == new).collect();
            let ours = group.iter().find(|cost| cost.name == OURS).unwrap();
            let empty = group.iter().find(|cost| cost.name == EMPTY).unwrap();
            let is_nftables = |cost: &&&Cost| cost.name.starts_with("nftables");
            let best = group.iter().filter(is_nftables).map(|cost| cost.rate()).fold(0.0, f64::max);
            for cost in &group {
                let times = over(ours, cost);
                let bar = if cost.name == EMPTY {
                    format!("≥ {OVER_EMPTY} × | {}", verdict(times >= OVER_EMPTY))
                } else if is_nftables(&cost) && cost.rate() >= best {
                    format!("≥ {OVER_NFTABLES} × the best | {}", verdict(times >= OVER_NFTABLES))
                } else {
                    " | ".to_owned()
                };
                let nanoseconds = median(cost.rounds.iter().copied());
                let beyond = median(cost.rounds.iter().zip(&empty.rounds).map(|(cost, empty)| cost - empty));
                let _ = writeln!(
                    text,
                    "| {cidrs} | {} | {} | {:.2} | {nanoseconds:.0} | {beyond:.0} | {times:.2} × | {bar} |",
                    sources(new),
                    cost.name,
                    cost.rate()
                );
            }
        }
    }
    text
}

/// Returns the median ratio of the drop rates over the rounds.
fn over(one: &Cost, other: &Cost) -> f64 {
    median(one.rounds.iter().zip(&other.rounds).map(|(one, other)| other / one))
}

fn figures(run: &Run) -> Value {
    let cost = |cost: &Cost| {
        json!({
            "dropped_by": cost.name,
            "cidrs": cost.cidrs,
            "new_sources": cost.new_sources,
            "nanoseconds": cost.rounds,
        })
    };
    json!({
        "machine": run.machine.json(),
        "core": run.core,
        "costs": run.costs.iter().map(cost).collect::<Vec<_>>(),
    })
}
