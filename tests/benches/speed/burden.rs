//! Cost of a burden: two hosts with the same databases, one of them burdened; pushes alternate between them.

mod bench_host;
mod past;

use std::fmt::Write as _;
use std::path::Path;

use anyhow::Result;
use firewall_tests::bench::Machine;
use firewall_tests::bench::propagation::Wire;
use firewall_tests::lab::Lab;
use serde_json::{Value, json};

pub use self::bench_host::BenchHost;
use self::bench_host::Figures;
use firewall_tests::bench::{say, verdict, write_report};

/// A burden on one of the hosts, with the figures of both.
struct Burden {
    name: &'static str,
    text: String,
    burdened: Figures,
    plain: Figures,
    bars: Bars,
}

/// Target figures of the burdened host.
struct Bars {
    /// Time to the wire at the 99th percentile, as a multiple of the plain host's.
    slower: Option<f64>,
    /// Time to the wire at the 99th percentile, in seconds.
    latest: Option<f64>,
    /// Resident memory beyond the plain host's, in bytes.
    memory: Option<f64>,
    /// Share of a core at rest, as a multiple of the plain host's.
    busier: Option<f64>,
    /// Share of a core at rest.
    share: Option<f64>,
}

const NO_BARS: Bars = Bars { slower: None, latest: None, memory: None, busier: None, share: None };
const MIB: f64 = 1024.0 * 1024.0;

pub fn measure(directory: &Path) -> Result<()> {
    let machine = Machine::detect()?;
    let burdens = [with_a_past()?, without_room()?, with_many_interfaces()?];
    write_report(directory, "burden", &report(&machine, &burdens), &figures(&machine, &burdens))
}

/// Returns the plain host and the one to burden, with these databases in force.
fn host_pair<'a>(
    lab: &Lab,
    databases: usize,
    more: &'a str,
    interfaces: &'a [&'a str],
) -> Result<[BenchHost; 2]> {
    let wire = Wire { more, interfaces, ..Wire::default() };
    let plain = BenchHost::new(lab, &Wire { db: "db-plain", clients: "clients-plain", ..wire }, databases)?;
    let burdened =
        BenchHost::new(lab, &Wire { db: "db-burdened", clients: "clients-burdened", ..wire }, databases)?;
    Ok([plain, burdened])
}

/// Ten thousand tombstones and twenty thousand removed databases.
fn with_a_past() -> Result<Burden> {
    say("a past: 20,000 databases that came and went, 10,000 tombstones");
    let lab = Lab::new()?;
    let [mut plain, mut burdened] = host_pair(&lab, 10, "", &["eth0"])?;
    past::live_through(&mut burdened)?;
    // As after the next upgrade: measures the present state, not past allocations.
    plain.restart()?;
    burdened.restart()?;
    let [plain, burdened] = bench_host::compare(&mut plain, &mut burdened)?;
    let text = format!(
        "{} databases that were removed, {} of them with a destination of their own at a port that no guard closes: as \
         many tombstones. Both agents were started again after it.",
        past::REMOVED,
        past::TOMBSTONES
    );
    let bars = Bars { slower: Some(1.2), memory: Some(4.0 * MIB), ..NO_BARS };
    Ok(Burden { name: "A past", text, burdened, plain, bars })
}

/// Two databases that do not fit, beside a hundred that do.
fn without_room() -> Result<Burden> {
    say("two databases without room beside a hundred");
    let lab = Lab::new()?;
    let more = format!("max_prefixes: {}\n", bench_host::prefixes(100));
    let [mut plain, mut burdened] = host_pair(&lab, 100, &more, &["eth0"])?;
    burdened.crowd(2)?;
    let [plain, burdened] = bench_host::compare(&mut plain, &mut burdened)?;
    let text =
        "Two databases for whose prefixes there is no room, beside a hundred databases that fit.".to_owned();
    let bars = Bars { slower: Some(1.2), busier: Some(1.2), ..NO_BARS };
    Ok(Burden { name: "No room", text, burdened, plain, bars })
}

/// Three hundred further interfaces that match the patterns.
fn with_many_interfaces() -> Result<Burden> {
    say("three hundred interfaces");
    let lab = Lab::new()?;
    let [mut plain, mut burdened] = host_pair(&lab, 10, "", &["eth0", "port*"])?;
    burdened.add_interfaces(&lab, 300)?;
    let [plain, burdened] = bench_host::compare(&mut plain, &mut burdened)?;
    let text = "300 further interfaces that the patterns match, native XDP on each.".to_owned();
    let bars = Bars { latest: Some(0.05), share: Some(0.01), ..NO_BARS };
    Ok(Burden { name: "Interfaces", text, burdened, plain, bars })
}

fn report(machine: &Machine, burdens: &[Burden]) -> String {
    let mut text = format!(
        "# What a burden costs\n\n`cargo xtask bench burden`, on {}\n\n\
         Two hosts with the same databases, one of them with a burden, run side by side; {} pushes to each, in turn. Time \
         to the wire: from before a rule file is written and renamed to the first datagram with the new verdict. \
         At rest: nothing happens for {:.0} s.\n",
        machine.sentence(),
        bench_host::PUSHES,
        bench_host::WATCHED.as_secs_f64(),
    );
    for Burden { name, text: burden, burdened, plain, bars } in burdens {
        let row = |what: &str, unit: f64, of: &dyn Fn(&Figures) -> f64, bars: &[(String, bool)]| {
            let bars: Vec<String> =
                bars.iter().map(|(bar, is_met)| format!("{bar}: {}", verdict(*is_met))).collect();
            format!(
                "| {what} | {:.2} | {:.2} | {} |\n",
                of(plain) * unit,
                of(burdened) * unit,
                bars.join("; ")
            )
        };
        let ratio = |of: &dyn Fn(&Figures) -> f64| of(burdened) / of(plain);
        let at_most = |factor: Option<f64>, of: &dyn Fn(&Figures) -> f64| {
            factor.map(|factor| (format!("≤ {factor} × (is {:.2})", ratio(of)), ratio(of) <= factor))
        };
        let wire: Vec<_> = at_most(bars.slower, &|one| one.percentile(99))
            .into_iter()
            .chain(bars.latest.map(|bar| (format!("≤ {:.0} ms", bar * 1e3), burdened.percentile(99) <= bar)))
            .collect();
        let memory: Vec<_> = bars
            .memory
            .map(|bar| {
                let more = burdened.resident - plain.resident;
                (format!("≤ + {:.0} MiB (is {:+.2})", bar / MIB, more / MIB), more <= bar)
            })
            .into_iter()
            .collect();
        let rest: Vec<_> = at_most(bars.busier, &|one| one.share)
            .into_iter()
            .chain(bars.share.map(|bar| (format!("≤ {:.0} %", bar * 100.0), burdened.share <= bar)))
            .collect();
        let _ = write!(
            text,
            "\n## {name}\n\n{burden}\n\n| | without | with | bar |\n|---|---:|---:|---|\n{}{}{}{}",
            row("to the wire, p50, ms", 1e3, &|one| one.percentile(50), &[]),
            row("to the wire, p99, ms", 1e3, &|one| one.percentile(99), &wire),
            row("resident, MiB", 1.0 / MIB, &|one| one.resident, &memory),
            row("at rest, % of a core", 100.0, &|one| one.share, &rest),
        );
    }
    text
}

fn figures(machine: &Machine, burdens: &[Burden]) -> Value {
    let side = |one: &Figures| json!({ "seconds_to_the_wire": one.to_the_wire, "resident_bytes": one.resident, "share_of_a_core": one.share });
    let burden = |one: &Burden| json!({ "burden": one.name, "without": side(&one.plain), "with": side(&one.burdened) });
    json!({ "machine": machine.json(), "burdens": burdens.iter().map(burden).collect::<Vec<_>>() })
}
