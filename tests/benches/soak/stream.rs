//! The stream: datagrams of random pairs all the time, each judged by the verdict expected of its pair.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::Result;
use fastrand::Rng;

use crate::Stopper;
use crate::expectations::{Expectation, Pair, Verdict};
use crate::files::{DATABASES, SOURCES};
use crate::scene::Scene;
use crate::sockets::Sockets;

/// Pause between two bursts, and datagrams of a burst.
const PAUSE: Duration = Duration::from_millis(2);
const BURST: usize = 6;
/// Age at which a datagram is judged: it has arrived long since, or never will.
const AGE: Duration = Duration::from_secs(2);
/// Longest list of wrong verdicts in the report.
const LISTED: usize = 20;

/// Figures of the stream.
#[derive(Debug, Default)]
pub struct Judged {
    /// Judged datagrams of allowed pairs.
    pub allowed: u64,
    /// Judged datagrams of denied pairs.
    pub denied: u64,
    /// Datagrams that were not judged: the expected verdict changed meanwhile, or the link was down.
    pub unjudged: u64,
    pub lost: u64,
    pub leaked: u64,
    /// The first wrong verdicts, in words.
    pub wrong: Vec<String>,
}

struct Sent {
    number: u64,
    pair: Pair,
    expected: Expectation,
    link: u64,
    passes: u64,
    at: Instant,
}

/// Sends and judges until `stop`.
pub fn run(scene: &Scene, sockets: &Sockets, stop: Stopper<'_>, seed: u64) -> Result<Judged> {
    let (mut random, began) = (Rng::with_seed(seed), Instant::now());
    let (mut judged, mut sent) = (Judged::default(), VecDeque::new());
    while !stop.is_set() {
        for _ in 0..BURST {
            let pair = Pair { source: random.usize(..SOURCES), database: random.usize(..DATABASES) };
            let (expected, link) = (scene.expectations.get(pair), scene.link.load(Ordering::SeqCst));
            if let Some(number) = sockets.send(pair) {
                let passes = sockets.passes();
                sent.push_back(Sent { number, pair, expected, link, passes, at: Instant::now() });
            }
        }
        while let Some(one) = sent.front()
            && one.at.elapsed() > AGE
            && sockets.passes() > one.passes + 1
        {
            judged.judge(scene, sockets, one, began);
            sent.pop_front();
        }
        sleep(PAUSE);
    }
    Ok(judged)
}

impl Judged {
    fn judge(&mut self, scene: &Scene, sockets: &Sockets, sent: &Sent, began: Instant) {
        let has_arrived = sockets.has_arrived(sent.number);
        let is_steady = scene.expectations.get(sent.pair) == sent.expected;
        let is_up = sent.link.is_multiple_of(2) && scene.link.load(Ordering::SeqCst) == sent.link;
        match sent.expected.verdict {
            Verdict::Denied if is_steady => {
                self.denied += 1;
                self.leaked += u64::from(has_arrived);
                if has_arrived {
                    self.list("leaked", sent, began);
                }
            }
            Verdict::Allowed if is_steady && is_up => {
                self.allowed += 1;
                self.lost += u64::from(!has_arrived);
                if !has_arrived {
                    self.list("lost", sent, began);
                }
            }
            Verdict::Denied | Verdict::Allowed | Verdict::Changing => self.unjudged += 1,
        }
    }

    fn list(&mut self, what: &str, sent: &Sent, began: Instant) {
        if self.wrong.len() < LISTED {
            let Pair { source, database } = sent.pair;
            let after = (sent.at - began).as_secs_f64();
            self.wrong.push(format!("{what} after {after:.3} s: source {source}, database {database}"));
        }
    }
}
