//! Judgement of a soak: counts that must be zero, and bounds of its figures.

use std::time::Duration;

/// Longest 99th percentile from a push to the wire on an undisturbed host, in seconds.
pub const PROPAGATION: f64 = 1.0;
/// Fewest pushes of a kind whose 99th percentile is judged: of fewer it is the slowest of all, or almost.
pub const FEWEST_PUSHES: usize = 200;
/// Most descriptors of an agent above its first steady reading.
pub const DESCRIPTORS: usize = 32;
/// Most resident memory of an agent above its first steady reading, in bytes.
pub const RESIDENT: f64 = 32.0 * 1024.0 * 1024.0;
/// Age of an agent from which its readings are steady: everything that it needs has been allocated once.
const STEADY: Duration = Duration::from_secs(60);
/// Samples of one reading, which is the smallest of them: while it lasts, a publish of all databases has a hundred
/// descriptors more.
const READING: usize = 3;

/// Resources of the running agent at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// Time since the soak began.
    pub at: Duration,
    pub pid: u32,
    /// In bytes.
    pub resident: f64,
    pub descriptors: usize,
}

/// First steady and last reading of one agent.
#[derive(Clone, Copy, Debug)]
pub struct Growth {
    pub first: Sample,
    pub last: Sample,
}

impl Growth {
    pub fn descriptors(&self) -> usize {
        self.last.descriptors.saturating_sub(self.first.descriptors)
    }

    /// Returns the growth of the resident memory in bytes; negative if it shrank.
    pub fn resident(&self) -> f64 {
        self.last.resident - self.first.resident
    }

    pub fn time(&self) -> Duration {
        self.last.at - self.first.at
    }
}

/// Figures of a soak that are judged.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    /// Datagrams of denied sources that reached the socket.
    pub leaked: u64,
    /// Datagrams of allowed sources that did not.
    pub lost: u64,
    /// Connections of strangers to the PostgreSQL server.
    pub connected: u64,
    /// Runs of pgbench that failed.
    pub failed_runs: u64,
    /// Pairs of source and database whose verdict differs from the files at the end.
    pub differing: u64,
    /// Repairs after pushes and faults had ended: drift that was left over.
    pub drift: u64,
    /// Times from a push to the wire on an undisturbed host, in seconds, by kind of push.
    pub pushes: Vec<(&'static str, Vec<f64>)>,
    pub samples: Vec<Sample>,
}

impl Figures {
    /// Returns the promises and bounds that did not hold.
    pub fn broken(&self) -> Vec<String> {
        let counts = [
            (self.leaked, "datagrams leaked"),
            (self.lost, "datagrams lost"),
            (self.connected, "strangers connected"),
            (self.failed_runs, "runs of pgbench failed"),
            (self.differing, "verdicts differ from the files at the end"),
            (self.drift, "repairs of drift after the end"),
        ];
        let counts =
            counts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}"));
        let slow = self.slowest().filter(|(_, seconds)| *seconds > PROPAGATION);
        let slow = slow.map(|(push, seconds)| format!("{push}: p99 of {:.0} ms", seconds * 1e3));
        let growths = self.growths();
        let descriptors = growths.iter().map(Growth::descriptors).max().filter(|more| *more > DESCRIPTORS);
        let resident = growths.iter().map(Growth::resident).fold(0.0, f64::max);
        let resident =
            (resident > RESIDENT).then(|| format!("{:.1} MiB more resident", resident / f64::from(1 << 20)));
        counts
            .chain(slow)
            .chain(descriptors.map(|more| format!("{more} descriptors more")))
            .chain(resident)
            .collect()
    }

    /// Returns the kind of push with the longest 99th percentile, and that in seconds.
    pub fn slowest(&self) -> Option<(&'static str, f64)> {
        let judged = self.pushes.iter().filter(|(_, times)| times.len() >= FEWEST_PUSHES);
        judged
            .map(|(push, times)| (*push, percentiles(times)[1]))
            .max_by(|(_, one), (_, other)| one.total_cmp(other))
    }

    /// Returns the growth of each agent that lived long enough.
    pub fn growths(&self) -> Vec<Growth> {
        let lives = self.samples.chunk_by(|one, next| one.pid == next.pid);
        let growth = |life: &[Sample]| {
            let from = life.partition_point(|sample| sample.at <= life[0].at + STEADY);
            let steady = &life[from..];
            Some(Growth { first: reading(steady.first_chunk()?), last: reading(steady.last_chunk()?) })
        };
        lives.filter_map(growth).collect()
    }
}

/// Returns the smallest values of these samples, at the time of the last.
fn reading(samples: &[Sample; READING]) -> Sample {
    let smaller = |one: Sample, other: &Sample| Sample {
        resident: one.resident.min(other.resident),
        descriptors: one.descriptors.min(other.descriptors),
        ..*other
    };
    samples.iter().fold(samples[0], smaller)
}

/// Returns median, 99th percentile and maximum; zeros without values.
pub fn percentiles(times: &[f64]) -> [f64; 3] {
    let mut times = times.to_vec();
    times.sort_by(f64::total_cmp);
    let at = |percent: usize| times.get((times.len() * percent / 100).min(times.len().saturating_sub(1)));
    [50, 99, 100].map(|percent| at(percent).copied().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: f64 = 1024.0 * 1024.0;

    /// Returns samples of one agent, one every five seconds.
    fn life(pid: u32, descriptors: &[usize], resident: f64) -> Vec<Sample> {
        let sample = |(index, descriptors): (usize, &usize)| Sample {
            at: Duration::from_secs(5 * index as u64),
            pid,
            resident,
            descriptors: *descriptors,
        };
        descriptors.iter().enumerate().map(sample).collect()
    }

    /// Returns the samples of an agent whose last readings have this much more.
    fn grown(descriptors: usize, resident: f64) -> Figures {
        let mut samples = life(7, &[200; 40], 16.0 * MIB);
        for sample in &mut samples[30..] {
            sample.descriptors += descriptors;
            sample.resident += resident;
        }
        Figures { samples, ..Figures::default() }
    }

    fn pushed(slow: usize, all: usize, seconds: f64) -> Figures {
        let times = (0..all).map(|index| if index < slow { seconds } else { 0.01 }).collect();
        Figures { pushes: vec![("rule", vec![0.01; 500]), ("range", times)], ..Figures::default() }
    }

    #[test]
    fn each_count_above_zero_is_broken() {
        assert_eq!(Figures::default().broken(), [""; 0]);
        let one = Figures::default;
        let cases = [
            (Figures { leaked: 1, ..one() }, "1 datagrams leaked"),
            (Figures { lost: 1, ..one() }, "1 datagrams lost"),
            (Figures { connected: 1, ..one() }, "1 strangers connected"),
            (Figures { failed_runs: 1, ..one() }, "1 runs of pgbench failed"),
            (Figures { differing: 1, ..one() }, "1 verdicts differ from the files at the end"),
            (Figures { drift: 1, ..one() }, "1 repairs of drift after the end"),
        ];
        for (figures, what) in cases {
            assert_eq!(figures.broken(), [what]);
        }
    }

    #[test]
    fn growth_of_descriptors_beyond_the_bound_is_broken() {
        assert_eq!(grown(DESCRIPTORS, 0.0).broken(), [""; 0]);
        assert_eq!(grown(DESCRIPTORS + 1, 0.0).broken(), ["33 descriptors more"]);
        // Every agent is judged, not the last only.
        let mut two = grown(DESCRIPTORS + 1, 0.0);
        two.samples.extend(life(8, &[200; 40], 16.0 * MIB));
        assert_eq!(two.broken(), ["33 descriptors more"]);
    }

    #[test]
    fn growth_of_memory_beyond_the_bound_is_broken() {
        assert_eq!(grown(0, RESIDENT).broken(), [""; 0]);
        assert_eq!(grown(0, RESIDENT + MIB).broken(), ["33.0 MiB more resident"]);
        assert_eq!(grown(0, -RESIDENT).broken(), [""; 0]);
    }

    #[test]
    fn growth_leaves_out_the_first_minute_and_the_peak_of_a_publish() {
        let mut descriptors = [200; 40];
        descriptors[..12].fill(30);
        for peak in [13, 25, 39] {
            descriptors[peak] = 300;
        }
        let figures = Figures { samples: life(7, &descriptors, 16.0 * MIB), ..Figures::default() };
        assert_eq!(figures.growths().iter().map(Growth::descriptors).collect::<Vec<_>>(), [0]);
        // An agent that lived shorter is not judged.
        let short = Figures { samples: life(7, &[200; 15], 16.0 * MIB), ..Figures::default() };
        assert!(short.growths().is_empty());
    }

    #[test]
    fn p99_of_propagation_beyond_the_bound_is_broken() {
        assert_eq!(pushed(2, 200, PROPAGATION).broken(), [""; 0]);
        assert_eq!(pushed(1, 200, 1.5).broken(), [""; 0], "one of two hundred");
        assert_eq!(pushed(2, 200, 1.5).broken(), ["range: p99 of 1500 ms"]);
        assert_eq!(pushed(9, FEWEST_PUSHES - 1, 1.5).broken(), [""; 0], "too few");
    }
}
