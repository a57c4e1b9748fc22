//! Report of a soak.

use std::fmt::Write as _;
use std::time::Duration;

use firewall_tests::bench::Machine;
use firewall_tests::bench::soak::{DESCRIPTORS, Figures, Growth, PROPAGATION, RESIDENT, Sample, percentiles};
use serde_json::{Value, json};

use crate::clients::{Pgbench, Strangers};
use crate::faults::{Fault, Over};
use crate::files::{DATABASES, SOURCES};
use crate::pusher::{Pushed, Times};
use crate::stream::Judged;

pub struct Report {
    pub machine: Machine,
    /// Version and revision of the agent, as its status has them.
    pub agent: String,
    pub seed: u64,
    pub time: Duration,
    pub figures: Figures,
    pub pushed: Pushed,
    pub faults: Vec<Over>,
    pub judged: Judged,
    pub pgbench: Pgbench,
    pub strangers: Strangers,
    /// Kinds and numbers of repairs that the last agent counted.
    pub repairs: Value,
}

impl Report {
    pub fn markdown(&self) -> String {
        let Self { figures, judged, pgbench, strangers, pushed, .. } = self;
        let hours = self.time.as_secs_f64() / 3600.0;
        let mut text = format!(
            "# Soak\n\n`cargo xtask soak`, {hours:.2} h, seed {}, agent {}, on {}\n\n\
             One host, {DATABASES} databases, {SOURCES} sources in each family. Three threads of work at once: pushes, \
             each followed until a packet shows its effect; faults, one at a time; and traffic. Once a packet has shown a \
             verdict, every datagram of that source to that database must agree until the next push that concerns it.\n\n\
             | promise | observed | broken |\n|---|---:|---:|\n",
            self.seed,
            self.agent,
            self.machine.sentence()
        );
        let rows = [
            ("datagrams of denied sources do not reach the socket", judged.denied, figures.leaked),
            ("datagrams of allowed sources reach it", judged.allowed, figures.lost),
            ("strangers cannot connect to PostgreSQL", strangers.tries, figures.connected),
            ("runs of pgbench of 20 s succeed", pgbench.runs, figures.failed_runs),
            (
                "the verdicts at the end are those of the files",
                (DATABASES * SOURCES) as u64,
                figures.differing,
            ),
        ];
        for (promise, observed, broken) in rows {
            let _ = writeln!(text, "| {promise} | {observed} | {broken} |");
        }
        self.add_bounds(&mut text);
        let _ = writeln!(
            text,
            "\nNot judged, since a push concerned them or the link was down: {} datagrams. pgbench: {} transactions. Repairs of \
             drift that the last agent counted: {}.\n",
            judged.unjudged, pgbench.transactions, self.repairs
        );
        for wrong in &judged.wrong {
            let _ = writeln!(text, "* {wrong}");
        }
        for error in &pgbench.failed {
            let _ = writeln!(text, "* pgbench: {error}");
        }
        text += "\n| push, from before the write to the wire | number | p50 | p99 | longest |\n|---|---:|---:|---:|---:|\n";
        for (name, Times { undisturbed, disturbed }) in pushed.kinds() {
            for (when, times) in [("", undisturbed), (", during a fault", disturbed)] {
                let [half, most, longest] =
                    percentiles(times).map(|seconds| format!("{:.1} ms", seconds * 1e3));
                let _ = writeln!(text, "| {name}{when} | {} | {half} | {most} | {longest} |", times.len());
            }
        }
        text += "\n| fault | number | longest time until the host is at rest |\n|---|---:|---:|\n";
        for fault in Fault::ALL {
            let recoveries =
                || self.faults.iter().filter(|over| over.fault == fault).map(|over| over.recovery);
            let longest = recoveries().max().unwrap_or_default().as_secs_f64();
            let _ = writeln!(text, "| {} | {} | {longest:.1} s |", fault.name(), recoveries().count());
        }
        let growths = figures.growths();
        if let Some(Growth { first, last }) = growths.iter().max_by_key(|growth| growth.time()) {
            let _ = writeln!(
                text,
                "\nThe agent that lived longest, {:.0} s after its first minute: {:.1} → {:.1} MiB resident, {} → {} \
                 descriptors. All agents: at most {:.1} MiB, {} descriptors.",
                (last.at - first.at).as_secs_f64(),
                mib(first.resident),
                mib(last.resident),
                first.descriptors,
                last.descriptors,
                mib(figures.samples.iter().map(|sample| sample.resident).fold(0.0, f64::max)),
                figures.samples.iter().map(|sample| sample.descriptors).max().unwrap_or_default(),
            );
        }
        text
    }

    fn add_bounds(&self, text: &mut String) {
        let figures = &self.figures;
        let slowest = figures.slowest().map_or_else(
            || "too few pushes".to_owned(),
            |(push, seconds)| format!("{:.1} ms ({push})", seconds * 1e3),
        );
        let growths = figures.growths();
        let growth = |most: Option<String>| most.unwrap_or_else(|| "no agent lived long enough".to_owned());
        let descriptors = growths.iter().map(Growth::descriptors).max();
        let resident = growths.iter().map(Growth::resident).max_by(f64::total_cmp);
        let _ = writeln!(
            text,
            "\n| bound | limit | observed |\n|---|---:|---:|\n\
             | p99 of a kind of push, undisturbed host | {:.1} ms | {slowest} |\n\
             | growth of an agent's descriptors after its first minute | {DESCRIPTORS} | {} |\n\
             | growth of its resident memory | {:.1} MiB | {} |\n\
             | drift that was left over after the last push and fault | 0 | {} |",
            PROPAGATION * 1e3,
            growth(descriptors.map(|more| more.to_string())),
            mib(RESIDENT),
            growth(resident.map(|more| format!("{:.1} MiB", mib(more)))),
            figures.drift,
        );
    }

    pub fn json(&self) -> Value {
        let times = |times: &Times| json!({"undisturbed": times.undisturbed, "disturbed": times.disturbed});
        let samples = |sample: &Sample| {
            json!([sample.at.as_secs(), sample.pid, sample.resident as u64, sample.descriptors])
        };
        json!({
            "machine": self.machine.json(),
            "agent": self.agent,
            "seed": self.seed,
            "seconds": self.time.as_secs(),
            "broken": self.figures.broken(),
            "denied": self.judged.denied,
            "allowed": self.judged.allowed,
            "leaked": self.figures.leaked,
            "lost": self.figures.lost,
            "drift": self.figures.drift,
            "rules": times(&self.pushed.rules),
            "ranges": times(&self.pushed.ranges),
            "databases": times(&self.pushed.databases),
            "expiries": times(&self.pushed.expiries),
            "faults": self.faults.iter().map(|over| json!([format!("{:?}", over.fault), over.recovery.as_secs_f64()])).collect::<Vec<_>>(),
            "samples": self.figures.samples.iter().map(samples).collect::<Vec<_>>(),
        })
    }
}

fn mib(bytes: f64) -> f64 {
    bytes / f64::from(1 << 20)
}
