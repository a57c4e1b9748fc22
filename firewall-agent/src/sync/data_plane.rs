//! Interface between a publish and the kernel.

use anyhow::Result;

use super::block_list::BlockReplacement;
use super::model::{CounterId, Database, DatabaseSlot, Guards, Indices, Ports, RuleCounter};
use super::table::Table;

/// Address families in which a database's prefixes changed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Families {
    pub v4: bool,
    pub v6: bool,
}

/// The new state of one of several databases that are replaced together.
#[derive(Debug, Clone, Copy)]
pub struct Replacement<'a> {
    pub slot: DatabaseSlot,
    pub database: &'a Database,
    pub changed: Families,
}

/// Sizes of a data plane's tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sizes {
    /// Number of database slots.
    pub databases: u32,
    /// Number of counters, including index 0, which is never assigned.
    pub counters: u32,
    /// Number of counters, the last ones, that are reserved for single prefixes of managed ranges.
    pub prefix_counters: u32,
}

impl Sizes {
    /// Every database slot.
    #[must_use]
    pub fn slots(&self) -> Indices<DatabaseSlot> {
        Indices::new(0..self.databases)
    }

    /// Counters that rules may use: all but index 0 and the default counters. Those reserved for single prefixes come
    /// last.
    #[must_use]
    pub fn rule_counters(&self) -> Indices<CounterId> {
        Indices::new(self.databases.saturating_add(1)..self.counters)
    }

    /// Counters reserved for single prefixes of managed ranges.
    #[must_use]
    pub fn prefix_counters(&self) -> Indices<CounterId> {
        Indices::new(self.counters.saturating_sub(self.prefix_counters)..self.counters)
    }
}

/// The kernel, or the fake data plane. State that decides about packets is replaced as a whole: the table, and each
/// family of [`DataPlane::publish_sources`]. The errors of a call that may stop half-way say so.
pub trait DataPlane {
    /// Sizes of its tables.
    fn sizes(&self) -> Sizes;

    /// Marks the claimed and the guarded ports. A packet in between sees each port's old or new state.
    ///
    /// # Errors
    /// The kernel refused a write; some ports may then have changed and others not.
    fn set_ports(&mut self, claimed: &Ports, guarded: &Guards) -> Result<()>;

    /// Names a counter, before any prefix refers to it.
    ///
    /// # Errors
    /// The kernel refused a write.
    fn set_counter(&mut self, counter: CounterId, rule: &RuleCounter) -> Result<()>;

    /// Zeroes a counter and removes its record. No published list may refer to it, and [`DataPlane::synchronize`] must have
    /// returned since.
    ///
    /// # Errors
    /// The kernel refused a write.
    fn free_counter(&mut self, counter: CounterId) -> Result<()>;

    /// Records each database and replaces its allow list in the changed families. Returns one result per database, in
    /// order; a failure of one affects no other. After the return, no new packet is judged by the old list of a
    /// database that did not fail.
    fn publish_sources(&mut self, together: &[Replacement<'_>]) -> Vec<Result<()>>;

    /// Synchronizes: returns when no program run sees the replaced maps or counters.
    ///
    /// # Errors
    /// The kernel refused a call.
    fn synchronize(&mut self) -> Result<()>;

    /// Removes a database. Its allow list must be empty, and no endpoint may refer to it.
    ///
    /// # Errors
    /// The kernel refused a write.
    fn free_database(&mut self, slot: DatabaseSlot) -> Result<()>;

    /// Replaces the endpoint table. After the return, no packet is judged by the old one.
    ///
    /// # Errors
    /// The kernel refused a write.
    fn publish_table(&mut self, table: &Table) -> Result<()>;

    /// Replaces a block list, one address family after the other. After the return, no packet is judged by the old one.
    ///
    /// # Errors
    /// The kernel refused a write; the list of one family may then be the new one.
    fn publish_blocks(&mut self, list: &BlockReplacement<'_>) -> Result<()>;
}
