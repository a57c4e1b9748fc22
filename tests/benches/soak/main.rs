//! A soak: one host with fifty databases under pushes, faults and traffic, for hours; run by `cargo xtask soak`, never
//! by a test.
//!
//! `soak HOURS DIRECTORY [SEED]` writes its report to the directory, and fails if anything leaked, was lost or stuck, or
//! exceeded a bound.

#![expect(clippy::unwrap_used, reason = "a soak whose thread panicked ends with a panic")]

mod clients;
mod expectations;
mod faults;
mod files;
mod pusher;
mod report;
mod scene;
mod sockets;
mod stream;
mod watch;

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use firewall_tests::bench::Machine;
use firewall_tests::bench::soak::Figures;
use firewall_tests::lab::Lab;
use serde_json::Value;

use crate::faults::Faults;
use crate::pusher::Pusher;
use crate::report::Report;
use crate::scene::Scene;
use crate::sockets::{Receiver, Sockets};
use firewall_tests::bench::say;

/// Time for drift checks after the end: several of the agent's default `drift_interval`.
const DRIFT_CHECKS: Duration = Duration::from_secs(5);
/// Time between two lines on the terminal.
const REPORTED: Duration = Duration::from_secs(60);

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let [hours, directory, seed @ ..] = arguments.as_slice() else {
        bail!("{arguments:?}: not HOURS DIRECTORY [SEED]")
    };
    let hours: f64 = hours.parse().with_context(|| format!("{hours:?}: not a number of hours"))?;
    let seed = match seed {
        [] => fastrand::u64(..),
        [seed, ..] => seed.parse().with_context(|| format!("{seed:?}: not a seed"))?,
    };
    let report = soak(Duration::from_secs_f64(hours * 3600.0), seed)?;
    firewall_tests::bench::write_report(Path::new(directory), "soak", &report.markdown(), &report.json())?;
    let broken = report.figures.broken();
    ensure!(broken.is_empty(), "soak: {}; seed {seed}", broken.join(", "));
    Ok(())
}

fn soak(time: Duration, seed: u64) -> Result<Report> {
    say(&format!("soak: {:.2} h, seed {seed}", time.as_secs_f64() / 3600.0));
    let machine = Machine::detect()?;
    let lab = Lab::new()?;
    let scene = Scene::build(&lab)?;
    let (sockets, receiver) = (Sockets::open(&scene.outside)?, Receiver::open(&scene.db)?);
    let (flag, receiving) = (AtomicBool::new(false), AtomicBool::new(false));
    let (stop, received) = (Stopper(&flag), Stopper(&receiving));
    let report = thread::scope(|scope| {
        let receiver = scope.spawn(|| received.guard(receiver.run(&sockets, received)));
        let done = work(&scene, &sockets, stop, machine, time, seed);
        stop.set();
        received.set();
        receiver.join().unwrap()?;
        done
    });
    report.with_context(|| format!("seed {seed}; the agent's log ends with:\n{}", scene.last_words()))
}

fn work(
    scene: &Scene,
    sockets: &Sockets,
    stop: Stopper<'_>,
    machine: Machine,
    time: Duration,
    seed: u64,
) -> Result<Report> {
    let mut pusher = Pusher::new(scene, sockets, seed);
    pusher.write_first()?;
    let mut faults = Faults::new(scene, sockets, seed)?;
    // Without a filter, a friend gets in as well.
    scene.at_rest()?;
    pusher.open_all()?;
    let began = Instant::now();
    thread::scope(|scope| {
        let stream = scope.spawn(|| stop.guard(stream::run(scene, sockets, stop, seed)));
        let pgbench = scope.spawn(|| stop.guard(clients::pgbench(scene, stop)));
        let strangers = scope.spawn(|| stop.guard(clients::strangers(scene, stop)));
        let samples = scope.spawn(|| watch::run(scene, stop));
        let pushing = scope.spawn(move || stop.guard(push(pusher, stop, began)));
        // On this thread: an agent dies with the thread that started it, and must outlive the others.
        let caused = stop.guard(faults.run(stop, began, time));
        stop.set();
        let pusher = pushing.join().unwrap();
        caused?;
        let pusher = pusher?;
        let (judged, pgbench) = (stream.join().unwrap()?, pgbench.join().unwrap()?);
        let (strangers, samples) = (strangers.join().unwrap()?, samples.join().unwrap());
        let before = repairs(&scene.at_rest()?)?;
        let differing = pusher.differing()?;
        let time = began.elapsed();
        thread::sleep(DRIFT_CHECKS);
        let status = scene.at_rest()?;
        let pushed = pusher.into_figures();
        let figures = Figures {
            leaked: judged.leaked,
            lost: judged.lost,
            connected: strangers.connected,
            failed_runs: pgbench.failed.len() as u64,
            differing: differing as u64,
            drift: repairs(&status)?.saturating_sub(before),
            pushes: pushed.undisturbed(),
            samples,
        };
        Ok(Report {
            machine,
            agent: status["agent"]["version"].as_str().context("no version of the agent")?.to_owned(),
            seed,
            time,
            figures,
            pushed,
            faults: faults.into_over(),
            judged,
            pgbench,
            strangers,
            repairs: status["repairs"].clone(),
        })
    })
}

/// Returns the number of repairs that the agent of this status counts.
fn repairs(status: &Value) -> Result<u64> {
    let kinds = status["repairs"].as_object().context("no repairs in the status")?;
    Ok(kinds.values().filter_map(Value::as_u64).sum())
}

fn push<'a>(mut pusher: Pusher<'a>, stop: Stopper<'_>, began: Instant) -> Result<Pusher<'a>> {
    let mut reported = Instant::now();
    while !stop.is_set() {
        pusher.act()?;
        if reported.elapsed() > REPORTED {
            reported = Instant::now();
            say(&format!("{:4.0} s: {}", began.elapsed().as_secs_f64(), pusher.summary()));
        }
    }
    Ok(pusher)
}

/// The flag that ends the threads of the soak.
#[derive(Clone, Copy, Debug)]
pub struct Stopper<'a>(&'a AtomicBool);

impl Stopper<'_> {
    pub fn is_set(self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    pub fn set(self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Sets the flag if a thread has failed, so that the others do not wait for it.
    fn guard<T>(self, done: Result<T>) -> Result<T> {
        if done.is_err() {
            self.set();
        }
        done
    }
}
