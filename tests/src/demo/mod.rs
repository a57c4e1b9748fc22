//! The agent at work, step by step: shown by `cargo xtask demo`, asserted by a test. A step says what it claims and
//! fails when that is not what came out.

mod claims;
mod files;
mod narrate;
mod pictures;
mod stage;
mod steps;
mod svg;

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Error, Result};

pub use narrate::narrate;
pub use pictures::pictures;
use stage::Stage;
use steps::STEPS;

#[derive(Debug)]
pub struct Step {
    pub title: &'static str,
    /// What must come out.
    pub claim: &'static str,
    /// Plays the step; the lines that came out, or the error that the claim did not hold.
    play: fn(&mut Stage) -> Result<Vec<String>>,
}

/// What whoever watches the demo gets to know, in order.
#[derive(Debug)]
pub enum Moment<'a> {
    /// The stage stands: hosts, routes, a server.
    Ready(&'a str, Duration),
    Begins(&'a Step),
    CameOut(&'a [String], Duration),
    Failed(&'a Error),
}

/// Plays every step with the agent at this path, up to the first that does not come out as claimed; that is the
/// error. Needs root; nothing is left behind.
pub fn play(agent: &Path, watch: &mut dyn FnMut(Moment<'_>)) -> Result<()> {
    let started = Instant::now();
    let mut stage = Stage::build(agent).context("the stage does not stand")?;
    watch(Moment::Ready(stage::MAP, started.elapsed()));
    for step in STEPS {
        watch(Moment::Begins(step));
        let started = Instant::now();
        match (step.play)(&mut stage) {
            Ok(lines) => watch(Moment::CameOut(&lines, started.elapsed())),
            Err(error) => {
                watch(Moment::Failed(&error));
                return Err(error.context(step.title));
            }
        }
    }
    Ok(())
}
