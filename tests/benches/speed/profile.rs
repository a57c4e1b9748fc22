//! Where the time of a packet goes: the functions in which the processor is, sampled by `perf` while a program runs.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use firewall_common::fast_path;
use firewall_tests::bench::{Machine, say, write_report};
use firewall_tests::lab::Lab;
use serde_json::json;

use crate::cost::{Contender, SLICE, median, pin_to_a_core};
use crate::packet::with_contenders;
use crate::rules::Bench;

/// CIDRs of the database, in each family.
const CIDRS: [usize; 2] = [30, 10_000];
const SAMPLED: Duration = Duration::from_secs(3);
/// Functions below this share of the samples are summed up.
const SHOWN: f64 = 0.01;

/// Nanoseconds of one packet by function, most first.
struct Profile {
    name: &'static str,
    cidrs: usize,
    total: f64,
    parts: Vec<(String, f64)>,
}

pub fn measure(directory: &Path) -> Result<()> {
    let machine = Machine::detect()?;
    let core = pin_to_a_core();
    let mut profiles = Vec::new();
    for cidrs in CIDRS {
        let mut bench = Bench::new(1, fast_path::ALL);
        bench.publish(1, cidrs);
        with_contenders(&bench, |empty, contenders| -> Result<()> {
            let frame = contenders.first().context("no packet")?.frame;
            let empty = Contender { name: "empty program", program: empty, frame, beside: None };
            for contender in [&empty].into_iter().chain(contenders) {
                say(&format!("{}, {cidrs} CIDRs", contender.name));
                profiles.push(profile(&bench.lab, contender, core, cidrs)?);
            }
            Ok(())
        })?;
    }
    write_report(directory, "profile", &markdown(&machine, core, &profiles), &figures(&machine, &profiles))
}

fn profile(lab: &Lab, contender: &Contender<'_>, core: usize, cidrs: usize) -> Result<Profile> {
    let samples = lab.dir().join("perf.data");
    let seconds = SAMPLED.as_secs().to_string();
    let mut perf = Command::new("perf")
        .args(["record", "--quiet", "--event", "cpu-clock", "--count", "100000", "--cpu", &core.to_string()])
        .arg("--output")
        .arg(&samples)
        .args(["--", "sleep", &seconds])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("perf: not started")?;
    let call = contender.program.call(contender.frame);
    let mut costs = Vec::new();
    let end = Instant::now() + SAMPLED;
    while Instant::now() < end {
        costs.push(contender.program.time(contender.frame, SLICE, call));
    }
    ensure!(perf.wait()?.success(), "perf record failed");
    let mut script = Command::new("perf");
    script.arg("script").arg("--input").arg(&samples).args(["--fields", "ip,sym"]).stderr(Stdio::null());
    let text = String::from_utf8(script.output().context("perf script")?.stdout)?;
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for symbol in text.lines().filter_map(|line| line.split_whitespace().nth(1)) {
        *counts.entry(symbol).or_default() += 1;
    }
    let all: usize = counts.values().sum();
    ensure!(all > 1_000, "{}: {all} samples", contender.name);
    let total = median(costs);
    let (mut parts, mut rest) = (Vec::new(), 0.0);
    for (symbol, count) in counts {
        let share = count as f64 / all as f64;
        if share < SHOWN {
            rest += share * total;
        } else {
            parts.push((readable(symbol), share * total));
        }
    }
    parts.sort_by(|one, other| other.1.total_cmp(&one.1));
    parts.push(("others".to_owned(), rest));
    Ok(Profile { name: contender.name, cidrs, total, parts })
}

/// The name of a function; of a program's without the tag.
fn readable(symbol: &str) -> String {
    let program = symbol.strip_prefix("bpf_prog_").and_then(|rest| rest.split_once('_'));
    program.map_or_else(|| format!("`{symbol}`"), |(_, name)| format!("**`{name}`**"))
}

fn markdown(machine: &Machine, core: usize, profiles: &[Profile]) -> String {
    let mut text = format!(
        "# Where the nanoseconds go\n\n\
         `cargo xtask bench profile`, on {} Pinned to core {core}.\n\n\
         `BPF_PROG_TEST_RUN` of one packet again and again, sampled by `perf` every 0.1 ms of the core's time for {} s, which slows the packet down. \
         The share of a function in the samples, times the median cost of a packet. Bold: functions of the programs. \
         `bpf_test_run`, `bpf_test_timer_continue` and `__local_bh_enable_ip` are the test run itself, which an empty \
         program pays as well.\n\n| packet | CIDRs | ns | of them in |\n|---|---:|---:|---|\n",
        machine.sentence(),
        SAMPLED.as_secs(),
    );
    for Profile { name, cidrs, total, parts } in profiles {
        let parts: Vec<String> = parts.iter().map(|(name, cost)| format!("{name} {cost:.1}")).collect();
        let _ = writeln!(text, "| {name} | {cidrs} | {total:.0} | {} |", parts.join(", "));
    }
    text
}

fn figures(machine: &Machine, profiles: &[Profile]) -> serde_json::Value {
    let profile = |one: &Profile| {
        let parts: BTreeMap<&str, f64> =
            one.parts.iter().map(|(name, cost)| (name.trim_matches(['*', '`']), *cost)).collect();
        json!({ "packet": one.name, "cidrs": one.cidrs, "nanoseconds": one.total, "in": parts })
    };
    json!({ "machine": machine.json(), "profiles": profiles.iter().map(profile).collect::<Vec<_>>() })
}
