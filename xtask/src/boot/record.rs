//! The record of a run: steps and boots with their figures.

use std::time::Duration;

use super::release::Release;
use super::timeline::Timeline;
use super::traffic::Sent;

/// State of the protected port for the denied source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// Nothing of the denied source reaches a socket.
    Closed,
    /// The denied source gets in by UDP over both families: a control.
    Open,
}

/// Result of a step.
#[derive(Debug)]
pub struct Step {
    pub name: String,
    pub expected: Expected,
    /// Sent by the denied source during the step.
    pub sent: Sent,
    /// Packets and connections of the denied source that reached a socket.
    pub entered: u64,
    /// Datagrams and connections of the allowed source.
    pub allowed: u64,
    pub took: Duration,
    /// Further observations.
    pub note: String,
    pub failure: Option<String>,
}

/// A boot with the filter.
#[derive(Debug)]
pub struct Boot {
    pub name: String,
    pub timeline: Timeline,
    /// Time from power on to the last job of the boot.
    pub took: Duration,
}

/// Everything that a run has recorded.
#[derive(Debug)]
pub struct Record {
    pub release: &'static Release,
    /// As `uname -r` prints it.
    pub kernel: String,
    /// First line of `systemctl --version`.
    pub systemd: String,
    /// First line of the agent's `--version`, with the revision of its sources.
    pub agent: String,
    pub steps: Vec<Step>,
    pub boots: Vec<Boot>,
    /// Reason for which the run ended early.
    pub broken: Option<String>,
}

impl Record {
    pub fn new(release: &'static Release) -> Self {
        Self {
            release,
            kernel: String::new(),
            systemd: String::new(),
            agent: String::new(),
            steps: Vec::new(),
            boots: Vec::new(),
            broken: None,
        }
    }

    /// Returns the number of failed steps; a run that ended early counts as one.
    pub fn failures(&self) -> usize {
        let failed = self.steps.iter().filter(|step| step.failure.is_some()).count();
        failed + usize::from(self.broken.is_some() || self.steps.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boot::release::RELEASES;

    #[test]
    fn failed_step_early_end_and_no_step_are_failures() {
        let step = |failure: Option<&str>| Step {
            name: "boot".to_owned(),
            expected: Expected::Closed,
            sent: Sent::default(),
            entered: 0,
            allowed: 1,
            took: Duration::ZERO,
            note: String::new(),
            failure: failure.map(str::to_owned),
        };
        let mut record = Record::new(&RELEASES[0]);
        assert_eq!(record.failures(), 1);
        record.steps.push(step(None));
        assert_eq!(record.failures(), 0);
        record.steps.push(step(Some("denied source: got in")));
        assert_eq!(record.failures(), 1);
        record.broken = Some("the guest is silent".to_owned());
        assert_eq!(record.failures(), 2);
    }
}
