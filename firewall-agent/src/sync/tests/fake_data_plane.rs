//! Fake data plane, in memory, that refuses writes and shows the state after each.

use std::sync::Arc;

use anyhow::Result;

use crate::sync::block_list::{BlockList, BlockListKind, BlockReplacement, BlockedSource};
use crate::sync::data_plane::{DataPlane, Replacement, Sizes};
use crate::sync::model::{CounterId, Database, DatabaseSlot, Guards, Live, Ports, RuleCounter};
use crate::sync::table::Table;

/// Panic payload that simulates a killed process.
#[derive(Debug)]
pub(crate) struct Killed;

/// A data plane in memory. Accepts every write; tests make it refuse some.
#[derive(Debug, Clone)]
pub struct FakeDataPlane {
    /// Its contents.
    pub live: Live,
    /// Number of attempted writes.
    pub writes: usize,
    /// Number of replacements of allow lists; one may replace several.
    pub waits: usize,
    pub sizes: Sizes,
    /// The state after each write, unless an observer is set.
    pub history: Vec<Live>,
    /// Called with the state after each write.
    pub observer: Option<fn(&Live)>,
    /// Index of the write to refuse.
    pub failing: Option<usize>,
    /// Refuses every later write, too.
    pub dead: bool,
    /// The process ends at the write `failing`, which is not done.
    pub kills: bool,
    /// Refuses each replacement of this block list.
    pub without: Option<BlockListKind>,
}

/// Small tables, for tests.
impl Default for FakeDataPlane {
    fn default() -> Self {
        // The default counters and a few more are for rules only.
        Self::new(Live::default(), Sizes { databases: 4, counters: 24, prefix_counters: 6 })
    }
}

impl FakeDataPlane {
    /// A data plane with the contents `live`.
    #[must_use]
    pub fn new(live: Live, sizes: Sizes) -> Self {
        Self {
            live,
            writes: 0,
            waits: 0,
            sizes,
            history: Vec::new(),
            observer: None,
            failing: None,
            dead: false,
            kills: false,
            without: None,
        }
    }

    /// The data plane as found by a restarted agent, or by the next pass of this one.
    pub fn recovered(self) -> Self {
        Self::new(self.live, self.sizes)
    }

    fn fail(&self, number: usize) -> Result<()> {
        if self.failing.is_some_and(|failing| number == failing || (self.dead && number > failing)) {
            if self.kills {
                std::panic::resume_unwind(Box::new(Killed));
            }
            anyhow::bail!("write {number} refused");
        }
        Ok(())
    }

    fn write(&mut self, change: impl FnOnce(&mut Live)) -> Result<()> {
        self.writes += 1;
        self.fail(self.writes - 1)?;
        change(&mut self.live);
        match self.observer {
            Some(observe) => observe(&self.live),
            None => self.history.push(self.live.clone()),
        }
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
            let sources = Arc::make_mut(&mut live.sources);
            if v4 {
                sources.v4.clone_from(&database.sources.v4);
            } else {
                sources.v6.clone_from(&database.sources.v6);
            }
        })
    }
}

impl DataPlane for FakeDataPlane {
    fn sizes(&self) -> Sizes {
        self.sizes
    }

    fn set_ports(&mut self, claimed: &Ports, guarded: &Guards) -> Result<()> {
        self.write(|live| {
            live.claimed.clone_from(claimed);
            live.guarded.clone_from(guarded);
        })
    }

    fn set_counter(&mut self, counter: CounterId, rule: &RuleCounter) -> Result<()> {
        self.write(|live| {
            live.counters.insert(counter, Arc::new(rule.clone()));
        })
    }

    fn free_counter(&mut self, counter: CounterId) -> Result<()> {
        self.write(|live| {
            live.counters.remove(&counter);
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

    fn synchronize(&mut self) -> Result<()> {
        self.write(|_| ())
    }

    fn free_database(&mut self, slot: DatabaseSlot) -> Result<()> {
        self.write(|live| {
            live.databases.remove(&slot);
        })
    }

    fn publish_table(&mut self, table: &Table) -> Result<()> {
        self.write(|live| live.table.clone_from(table))
    }

    fn publish_blocks(&mut self, list: &BlockReplacement<'_>) -> Result<()> {
        anyhow::ensure!(self.without != Some(list.kind), "{:?}: refused", list.kind);
        for v4 in [true, false] {
            self.write(|live| {
                let is_of_family = |source: &BlockedSource| source.net.addr().is_ipv4() == v4;
                let old =
                    live.blocks.get(list.kind).sources.iter().filter(|(source, _)| !is_of_family(source));
                let new = list.sources.iter().filter(|(source, _)| is_of_family(source));
                let sources = old.chain(new).map(|(source, id)| (*source, id.clone())).collect();
                *live.blocks.get_mut(list.kind) = BlockList { sources: Arc::new(sources), is_known: true };
            })?;
        }
        Ok(())
    }
}
