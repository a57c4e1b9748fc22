//! The in-memory twin of the kernel, with failures on demand.

use std::ops::Range;

use anyhow::{Result, bail};

use super::model::{Claim, Database, Line, Live, Ports, RuleSlot, Slot, Table, Target};
use super::plane::{DataPlane, Replacement};

/// What a killed process unwinds with.
#[derive(Debug)]
pub(crate) struct Killed;

/// Holds what a kernel would, and refuses the `failing`th write and, if `dead`, every one after it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Memory {
    pub live: Live,
    /// The state after each write.
    pub history: Vec<Live>,
    pub failing: Option<usize>,
    pub dead: bool,
    /// The process ends at the `failing`th write, which is not done.
    pub kills: bool,
    /// Writes that were asked for.
    pub writes: usize,
    /// How often allow lists were replaced, some together.
    pub waits: usize,
}

impl Memory {
    /// What a restarted agent finds, or the next pass of this one.
    pub fn recovered(self) -> Self {
        Self { live: self.live, ..Self::default() }
    }

    fn write(&mut self, change: impl FnOnce(&mut Live)) -> Result<()> {
        let number = self.writes;
        self.writes += 1;
        if self.failing.is_some_and(|failing| number == failing || (self.dead && number > failing)) {
            if self.kills {
                std::panic::resume_unwind(Box::new(Killed));
            }
            bail!("write {number} is refused");
        }
        change(&mut self.live);
        self.history.push(self.live.clone());
        Ok(())
    }

    fn record(&mut self, one: &Replacement<'_>) -> Result<()> {
        let Replacement { slot, database, .. } = *one;
        self.write(|live| {
            let sources = live.databases.get(&slot).map(|before| before.sources.clone()).unwrap_or_default();
            live.databases.insert(slot, Database { stamp: None, sources, ..database.clone() });
        })
    }

    fn replace_family(&mut self, one: &Replacement<'_>, v4: bool) -> Result<()> {
        let Replacement { slot, database, changed } = *one;
        if if v4 { !changed.v4 } else { !changed.v6 } {
            return Ok(());
        }
        self.write(|live| {
            let Some(live) = live.databases.get_mut(&slot) else { return };
            if v4 {
                live.sources.v4.clone_from(&database.sources.v4);
            } else {
                live.sources.v6.clone_from(&database.sources.v6);
            }
        })
    }
}

impl DataPlane for Memory {
    fn capacity(&self) -> (Slot, RuleSlot) {
        (4, 24)
    }

    fn prefix_lines(&self) -> Range<RuleSlot> {
        // The default lines and a few more are rules' alone.
        18..24
    }

    fn set_ports(&mut self, claimed: &Ports, guarded: &Ports) -> Result<()> {
        self.write(|live| {
            live.claimed.clone_from(claimed);
            live.guarded.clone_from(guarded);
        })
    }

    fn set_line(&mut self, slot: RuleSlot, line: &Line) -> Result<()> {
        self.write(|live| {
            live.lines.insert(slot, line.clone());
        })
    }

    fn free_line(&mut self, slot: RuleSlot) -> Result<()> {
        self.write(|live| {
            live.lines.remove(&slot);
        })
    }

    fn publish_sources(&mut self, together: &[Replacement<'_>]) -> Vec<Result<()>> {
        let mut results: Vec<Result<()>> = together.iter().map(|one| self.record(one)).collect();
        for v4 in [true, false] {
            for (one, result) in together.iter().zip(&mut results) {
                if result.is_ok() {
                    *result = self.replace_family(one, v4);
                }
            }
        }
        for (one, result) in together.iter().zip(&results) {
            if result.is_ok()
                && let Some(live) = self.live.databases.get_mut(&one.slot)
            {
                live.stamp.clone_from(&one.database.stamp);
            }
        }
        self.waits += 1;
        results
    }

    fn settle(&mut self) -> Result<()> {
        self.write(|_| ())
    }

    fn free_database(&mut self, slot: Slot) -> Result<()> {
        self.write(|live| {
            live.databases.remove(&slot);
        })
    }

    fn publish_table(&mut self, table: &Table) -> Result<()> {
        self.write(|live| live.table.clone_from(table))
    }
}

/// Whether a TCP packet from `source` to `target` passes, as the XDP program decides it.
pub(super) fn passes(live: &Live, source: std::net::IpAddr, target: &Target) -> bool {
    let everywhere = Target { address: None, ..*target };
    let endpoints = &live.table.endpoints;
    let claim = live
        .claimed
        .contains(&target.port)
        .then(|| endpoints.get(target).or_else(|| endpoints.get(&everywhere)));
    match claim.flatten() {
        Some(Claim::Closed) => false,
        Some(Claim::Open { mode: crate::rules::Mode::Monitor, .. }) => true,
        Some(Claim::Open { slot, .. }) => live.databases.get(slot).is_some_and(|database| match source {
            std::net::IpAddr::V4(source) => database.sources.v4.keys().any(|net| net.contains(&source)),
            std::net::IpAddr::V6(source) => database.sources.v6.keys().any(|net| net.contains(&source)),
        }),
        None => !live.guarded.contains(&target.port),
    }
}
