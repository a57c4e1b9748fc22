//! `restore`: the last good state in force without a daemon, for a unit that is ordered before the network.

use std::thread::sleep;
use std::time::{Duration, Instant};

use super::Agent;

/// Pause between two attempts to attach.
const PAUSE: Duration = Duration::from_millis(100);

/// Result of a restore.
#[derive(Debug)]
pub struct Restored {
    /// One line for the operator.
    pub summary: String,
    /// Configured interfaces that are not filtered, with the reason.
    pub not_filtered: Vec<String>,
    /// Accepted rules that are not in force, with the reason.
    pub not_in_force: Vec<String>,
}

impl Agent {
    /// Waits until every configured interface is there and filtered, but no longer than `patience`.
    #[must_use]
    pub fn restore(mut self, patience: Duration) -> Restored {
        let detached = self.reconciler.detached();
        let started = Instant::now();
        while detached.is_none() && self.interfaces.errors().next().is_some() && started.elapsed() < patience
        {
            sleep(PAUSE);
            self.interfaces.changed();
            self.attach_interfaces(Instant::now());
        }
        self.write_status();
        if let Some(since) = detached {
            let summary =
                format!("nothing is attached: detached by an operator since {since:.0}, until `attach`");
            return Restored { summary, not_filtered: Vec::new(), not_in_force: Vec::new() };
        }
        let attached: Vec<&str> = self.interfaces.attached().map(String::as_str).collect();
        let live = &self.reconciler.live;
        let summary = format!(
            "in force: {} databases at generation {}; filtered: {}",
            live.databases.len(),
            live.generation,
            attached.join(", ")
        );
        let conditions = &self.reporter.conditions;
        Restored { summary, not_filtered: conditions.unfiltered(), not_in_force: conditions.incomplete() }
    }
}
