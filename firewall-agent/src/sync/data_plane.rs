//! Interface between a publish and the kernel.

use std::ops::Range;

use anyhow::Result;

use super::model::{CounterId, Database, DatabaseSlot, Ports, RuleCounter, Table};

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

/// The kernel, or the fake data plane. State that decides about packets is replaced as a whole: the table, and each
/// family of [`DataPlane::publish_sources`]. The errors of a call that may stop half-way say so.
pub trait DataPlane {
    /// Numbers of database slots and of rule counters; indices are below. Counter 0 is never used; the index after a
    /// database's slot is its default counter.
    fn capacity(&self) -> (DatabaseSlot, CounterId);

    /// Counters reserved for single prefixes of managed ranges; rules may use them when all others are in use.
    fn prefix_counters(&self) -> Range<CounterId>;

    /// Marks the claimed and the guarded ports.
    ///
    /// # Errors
    /// The kernel refused a write; some ports may then have changed and others not.
    fn set_ports(&mut self, claimed: &Ports, guarded: &Ports) -> Result<()>;

    /// Names a counter, before any prefix refers to it.
    ///
    /// # Errors
    /// The kernel refused a write.
    fn set_counter(&mut self, slot: CounterId, line: &RuleCounter) -> Result<()>;

    /// Zeroes a counter and removes its record. No published list may refer to it, and [`DataPlane::synchronize`] must have
    /// returned since.
    ///
    /// # Errors
    /// The kernel refused a write.
    fn free_counter(&mut self, slot: CounterId) -> Result<()>;

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
}
