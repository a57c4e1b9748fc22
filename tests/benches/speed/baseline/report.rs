//! Report of the clients' figures.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::Result;
use firewall_tests::bench::Machine;
use serde_json::json;

use super::pgbench::Felt;
use super::sockets::Cost;
use super::{FLOOD, ROUNDS, SECONDS, Series};
use crate::cost::median;

pub fn write(directory: &Path, machine: &Machine, all: &[Series], costs: &[Cost]) -> Result<()> {
    let mut text = format!(
        "# What an allowed client feels\n\n`cargo xtask bench baseline`, on {}\n\n\
         One pgbench client, `SELECT 1` over TLS, through a veth pair, {ROUNDS} rounds of {SECONDS} s, all rows taking \
         turns; medians, and from the least to the most. The best round is the one that the rest of the machine disturbed least. Flood: {FLOOD} SYNs a second to the same endpoint from the \
         clients' side, each of a new source that is not allowed. Generator, server and client share the machine's \
         cores. No firewall: an XDP program that passes everything.\n\n\
         | between client and server | transactions/s | p99 |\n|---|---:|---:|\n",
        machine.sentence()
    );
    for series in all {
        let rate = spread(&series.felt, |felt| felt.rate, 0);
        let p99 = spread(&series.felt, |felt| felt.p99, 3);
        let _ = writeln!(text, "| {} | {rate} | {p99} ms |", series.name);
    }
    let _ = writeln!(
        text,
        "\nTransactions, round by round: through the firewall {:+.1} % against none; with its socket filter {:+.1} % \
         against none, {:+.1} % against the firewall without it.\n\n\
         At the server's sockets, while one client works; the kernel counts the runs, and its two clock reads are in \
         each figure. The empty program passes every packet.\n\n\
         | program | packets | ns a packet |\n|---|---:|---:|",
        difference(&all[0], &all[1]),
        difference(&all[0], &all[2]),
        difference(&all[1], &all[2]),
    );
    for Cost { name, packets, nanoseconds } in costs {
        let _ = writeln!(text, "| `{name}` | {packets} | {nanoseconds:.0} |");
    }
    let series = |one: &Series| {
        json!({
            "between": one.name,
            "rates": one.felt.iter().map(|felt| felt.rate).collect::<Vec<_>>(),
            "p99_ms": one.felt.iter().map(|felt| felt.p99).collect::<Vec<_>>(),
        })
    };
    let cost = |one: &Cost| json!({ "program": one.name, "packets": one.packets, "ns": one.nanoseconds });
    let figures = json!({
        "machine": machine.json(),
        "series": all.iter().map(series).collect::<Vec<_>>(),
        "sockets": costs.iter().map(cost).collect::<Vec<_>>(),
    });
    firewall_tests::bench::write_report(directory, "baseline", &text, &figures)
}

/// Median difference of the transactions in a round, in percent of the first.
fn difference(one: &Series, other: &Series) -> f64 {
    let rates = one.felt.iter().zip(&other.felt).map(|(one, other)| other.rate / one.rate);
    (median(rates) - 1.0) * 100.0
}

fn spread(felt: &[Felt], value: impl Fn(&Felt) -> f64, digits: usize) -> String {
    let values: Vec<f64> = felt.iter().map(value).collect();
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    let most = values.iter().copied().fold(0.0, f64::max);
    format!("{:.digits$} ({least:.digits$}–{most:.digits$})", median(values.iter().copied()))
}
