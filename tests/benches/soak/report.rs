//! Report of a soak.

use std::fmt::Write as _;
use std::time::Duration;

use firewall_tests::bench::Machine;
use serde_json::{Value, json};

use crate::clients::{Pgbench, Strangers};
use crate::faults::{Fault, Over};
use crate::files::{DATABASES, SOURCES};
use crate::pusher::{Pushed, Times};
use crate::stream::Judged;
use crate::watch::Sample;

/// Age of an agent from which its memory is compared: everything that it needs has been allocated once.
const FIRST_MINUTE: Duration = Duration::from_secs(60);

pub struct Report {
    pub machine: Machine,
    pub seed: u64,
    pub time: Duration,
    pub pushed: Pushed,
    pub faults: Vec<Over>,
    pub judged: Judged,
    pub pgbench: Pgbench,
    pub strangers: Strangers,
    pub samples: Vec<Sample>,
    /// Pairs of source and database whose verdict differs from the files at the end.
    pub differing: usize,
    /// Kinds and numbers of repairs that the last agent counted.
    pub repairs: Value,
}

impl Report {
    /// Returns the promises that did not hold.
    pub fn broken(&self) -> Vec<String> {
        let counts = [
            (self.judged.leaked, "datagrams leaked"),
            (self.judged.lost, "datagrams lost"),
            (self.strangers.connected, "strangers connected"),
            (self.pgbench.failed.len() as u64, "runs of pgbench failed"),
            (self.differing as u64, "verdicts differ from the files at the end"),
        ];
        counts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect()
    }

    pub fn markdown(&self) -> String {
        let Self { judged, pgbench, strangers, pushed, .. } = self;
        let hours = self.time.as_secs_f64() / 3600.0;
        let mut text = format!(
            "# Soak\n\n`cargo xtask soak`, {hours:.2} h, seed {}, on {}\n\n\
             One host, {DATABASES} databases, {SOURCES} sources in each family. Three threads of work at once: pushes, \
             each followed until a packet shows its effect; faults, one at a time; and traffic. Once a packet has shown a \
             verdict, every datagram of that source to that database must agree until the next push that concerns it.\n\n\
             | promise | observed | broken |\n|---|---:|---:|\n",
            self.seed,
            self.machine.sentence()
        );
        let rows = [
            ("datagrams of denied sources do not reach the socket", judged.denied, judged.leaked),
            ("datagrams of allowed sources reach it", judged.allowed, judged.lost),
            ("strangers cannot connect to PostgreSQL", strangers.tries, strangers.connected),
            ("runs of pgbench of 20 s succeed", pgbench.runs, pgbench.failed.len() as u64),
            (
                "the verdicts at the end are those of the files",
                (DATABASES * SOURCES) as u64,
                self.differing as u64,
            ),
        ];
        for (promise, observed, broken) in rows {
            let _ = writeln!(text, "| {promise} | {observed} | {broken} |");
        }
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
        let series = [
            ("rule of one database", &pushed.rules),
            ("managed range, until the last of all databases shows it", &pushed.ranges),
            ("database removed or back", &pushed.databases),
            ("end of a rule, from its time", &pushed.expiries),
        ];
        for (name, Times { undisturbed, disturbed }) in series {
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
        if let Some((first, last)) = self.longest_lived() {
            let mib = |sample: &Sample| sample.resident / f64::from(1 << 20);
            let _ = writeln!(
                text,
                "\nThe agent that lived longest, {:.0} s after its first minute: {:.1} → {:.1} MiB resident, {} → {} \
                 descriptors. All agents: at most {:.1} MiB, {} descriptors.",
                (last.at - first.at).as_secs_f64(),
                mib(&first),
                mib(&last),
                first.descriptors,
                last.descriptors,
                self.samples.iter().map(mib).fold(0.0, f64::max),
                self.samples.iter().map(|sample| sample.descriptors).max().unwrap_or_default(),
            );
        }
        text
    }

    pub fn json(&self) -> Value {
        let times = |times: &Times| json!({"undisturbed": times.undisturbed, "disturbed": times.disturbed});
        let samples = |sample: &Sample| {
            json!([sample.at.as_secs(), sample.pid, sample.resident as u64, sample.descriptors])
        };
        json!({
            "machine": self.machine.json(),
            "seed": self.seed,
            "seconds": self.time.as_secs(),
            "broken": self.broken(),
            "denied": self.judged.denied,
            "allowed": self.judged.allowed,
            "leaked": self.judged.leaked,
            "lost": self.judged.lost,
            "rules": times(&self.pushed.rules),
            "ranges": times(&self.pushed.ranges),
            "databases": times(&self.pushed.databases),
            "expiries": times(&self.pushed.expiries),
            "faults": self.faults.iter().map(|over| json!([format!("{:?}", over.fault), over.recovery.as_secs_f64()])).collect::<Vec<_>>(),
            "samples": self.samples.iter().map(samples).collect::<Vec<_>>(),
        })
    }

    /// Returns the first settled sample of the agent that lived longest, and its last.
    fn longest_lived(&self) -> Option<(Sample, Sample)> {
        let lives = self.samples.chunk_by(|one, next| one.pid == next.pid);
        let life = |samples: &&[Sample]| samples[samples.len() - 1].at - samples[0].at;
        let longest = lives.max_by_key(life)?;
        let first = longest.iter().find(|sample| sample.at > longest[0].at + FIRST_MINUTE)?;
        Some((*first, *longest.last()?))
    }
}

/// Returns median, 99th percentile and maximum; zeros without values.
fn percentiles(times: &[f64]) -> [f64; 3] {
    let mut times = times.to_vec();
    times.sort_by(f64::total_cmp);
    let at = |percent: usize| times.get((times.len() * percent / 100).min(times.len().saturating_sub(1)));
    [50, 99, 100].map(|percent| at(percent).copied().unwrap_or_default())
}
