//! Data plane in memory: `plan` publishes into it.

use std::sync::Arc;

use anyhow::Result;

use super::block_list::{BlockList, BlockReplacement};
use super::data_plane::{DataPlane, Replacement, Sizes};
use super::model::{CounterId, DatabaseSlot, Guards, Live, Ports, RuleCounter};
use super::table::Table;

/// A copy of the live state that accepts every write.
#[derive(Debug)]
pub(super) struct DryRun {
    live: Live,
    sizes: Sizes,
}

impl DryRun {
    pub fn new(live: Live, sizes: Sizes) -> Self {
        Self { live, sizes }
    }
}

impl DataPlane for DryRun {
    fn sizes(&self) -> Sizes {
        self.sizes
    }

    fn set_ports(&mut self, claimed: &Ports, guarded: &Guards) -> Result<()> {
        self.live.claimed.clone_from(claimed);
        self.live.guarded.clone_from(guarded);
        Ok(())
    }

    fn set_counter(&mut self, counter: CounterId, rule: &RuleCounter) -> Result<()> {
        self.live.counters.insert(counter, Arc::new(rule.clone()));
        Ok(())
    }

    fn free_counter(&mut self, counter: CounterId) -> Result<()> {
        self.live.counters.remove(&counter);
        Ok(())
    }

    fn publish_sources(&mut self, together: &[Replacement<'_>]) -> Vec<Result<()>> {
        for one in together {
            self.live.databases.insert(one.slot, one.database.clone());
        }
        together.iter().map(|_| Ok(())).collect()
    }

    fn synchronize(&mut self) -> Result<()> {
        Ok(())
    }

    fn free_database(&mut self, slot: DatabaseSlot) -> Result<()> {
        self.live.databases.remove(&slot);
        Ok(())
    }

    fn publish_table(&mut self, table: &Table) -> Result<()> {
        self.live.table.clone_from(table);
        Ok(())
    }

    fn publish_blocks(&mut self, list: &BlockReplacement<'_>) -> Result<()> {
        let sources = list.sources.clone();
        *self.live.blocks.get_mut(list.kind) = BlockList { sources, is_known: true };
        Ok(())
    }
}
