//! The last good state in force, without a daemon: for a unit that is ordered before the network.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::Agent;

/// Time between two looks at interfaces that are not there yet.
const PAUSE: Duration = Duration::from_millis(100);

impl Agent {
    /// Waits until every configured interface is there and filtered, and leaves; says what is in force.
    ///
    /// # Errors
    /// When an interface is not filtered after `patience`, something that was stored is not used, or something could
    /// not be published. What could be is in force all the same.
    pub fn restore(mut self, patience: Duration) -> Result<String> {
        let detached = self.keeper.host.detached();
        let started = Instant::now();
        while detached.is_none() && self.interfaces.errors().next().is_some() && started.elapsed() < patience
        {
            sleep(PAUSE);
            self.interfaces.changed();
            self.look_at_interfaces(Instant::now());
        }
        self.write_status();
        if let Some(since) = detached {
            return Ok(format!(
                "nothing is attached: detached by an operator since {since:.0}, until `attach`"
            ));
        }
        let wrong = self.interfaces.errors().chain(self.keeper.journal.unfinished());
        let wrong: Vec<&str> = wrong.chain(&self.keeper.host.unused).map(String::as_str).collect();
        ensure!(wrong.is_empty(), "{}", wrong.join("; "));
        let attached: Vec<&str> = self.interfaces.attached().map(String::as_str).collect();
        Ok(format!(
            "in force: {} databases at generation {}; filtered: {}",
            self.keeper.host.live.databases.len(),
            self.keeper.host.live.generation,
            attached.join(", ")
        ))
    }
}
