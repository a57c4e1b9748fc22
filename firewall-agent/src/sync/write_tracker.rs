//! A data plane wrapper that records refused writes and replacements of the endpoint table.

use anyhow::Result;

use super::block_list::BlockReplacement;
use super::data_plane::{DataPlane, Replacement, Sizes};
use super::model::{CounterId, DatabaseSlot, Guards, Ports, RuleCounter};
use super::table::Table;

/// Forwards every call.
pub(super) struct WriteTracker<'a, P> {
    data_plane: &'a mut P,
    refused: bool,
    replaced_table: bool,
}

impl<'a, P> WriteTracker<'a, P> {
    pub fn new(data_plane: &'a mut P) -> Self {
        Self { data_plane, refused: false, replaced_table: false }
    }

    /// Returns `true` if any call has failed.
    pub fn has_refused(&self) -> bool {
        self.refused
    }

    /// Returns `true` once a replacement of the endpoint table was attempted.
    pub fn has_replaced_table(&self) -> bool {
        self.replaced_table
    }

    fn note(&mut self, result: Result<()>) -> Result<()> {
        self.refused |= result.is_err();
        result
    }
}

impl<P: DataPlane> DataPlane for WriteTracker<'_, P> {
    fn sizes(&self) -> Sizes {
        self.data_plane.sizes()
    }

    fn set_ports(&mut self, claimed: &Ports, guarded: &Guards) -> Result<()> {
        let result = self.data_plane.set_ports(claimed, guarded);
        self.note(result)
    }

    fn set_counter(&mut self, counter: CounterId, rule: &RuleCounter) -> Result<()> {
        let result = self.data_plane.set_counter(counter, rule);
        self.note(result)
    }

    fn free_counter(&mut self, counter: CounterId) -> Result<()> {
        let result = self.data_plane.free_counter(counter);
        self.note(result)
    }

    fn publish_sources(&mut self, together: &[Replacement<'_>]) -> Vec<Result<()>> {
        let results = self.data_plane.publish_sources(together);
        self.refused |= results.iter().any(Result::is_err);
        results
    }

    fn synchronize(&mut self) -> Result<()> {
        let result = self.data_plane.synchronize();
        self.note(result)
    }

    fn free_database(&mut self, slot: DatabaseSlot) -> Result<()> {
        let result = self.data_plane.free_database(slot);
        self.note(result)
    }

    fn publish_table(&mut self, table: &Table) -> Result<()> {
        self.replaced_table = true;
        let result = self.data_plane.publish_table(table);
        self.note(result)
    }

    fn publish_blocks(&mut self, list: &BlockReplacement<'_>) -> Result<()> {
        let result = self.data_plane.publish_blocks(list);
        self.note(result)
    }
}
