//! The agent demonstrated step by step: shown by `cargo xtask demo`, asserted by a test. Each step states a claim and
//! fails if the claim does not hold.

mod claims;
mod files;
mod hosts;
mod narrate;
mod pictures;
mod steps;
mod svg;

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Error, Result};

use hosts::DemoHosts;
pub use narrate::narrate;
pub use pictures::pictures;
use steps::STEPS;

#[derive(Debug)]
pub struct Step {
    pub title: &'static str,
    /// The claim that the step verifies.
    pub claim: &'static str,
    /// Runs the step; returns the lines to show, or an error if the claim does not hold.
    play: fn(&mut DemoHosts) -> Result<Vec<String>>,
}

/// Events of the demo, in order, for its observer.
#[derive(Debug)]
pub enum Moment<'a> {
    /// Ready: hosts, routes, a server.
    Ready(&'a str, Duration),
    Begins(&'a Step),
    CameOut(&'a [String], Duration),
    Failed(&'a Error),
}

/// Runs the steps with the agent at this path and returns the error of the first step that fails. Needs root; leaves
/// nothing behind.
pub fn play(agent: &Path, watch: &mut dyn FnMut(Moment<'_>)) -> Result<()> {
    let started = Instant::now();
    let mut hosts = DemoHosts::build(agent).context("cannot build the hosts of the demo")?;
    watch(Moment::Ready(hosts::MAP, started.elapsed()));
    for step in STEPS {
        watch(Moment::Begins(step));
        let started = Instant::now();
        match (step.play)(&mut hosts) {
            Ok(lines) => watch(Moment::CameOut(&lines, started.elapsed())),
            Err(error) => {
                watch(Moment::Failed(&error));
                return Err(error.context(step.title));
            }
        }
    }
    Ok(())
}
