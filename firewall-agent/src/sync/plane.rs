//! What a publish needs of the kernel.

use std::ops::Range;

use anyhow::Result;

use super::model::{Database, Line, Ports, RuleSlot, Slot, Table};

/// Which address families of a database have other prefixes than before.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Families {
    pub v4: bool,
    pub v6: bool,
}

/// The new state of one database, of several that are replaced together.
#[derive(Debug, Clone, Copy)]
pub struct Replacement<'a> {
    pub slot: Slot,
    pub database: &'a Database,
    pub changed: Families,
}

/// The kernel, or its twin in memory. What decides about packets is replaced whole: the table, and each family of
/// [`DataPlane::publish_sources`]. Where a call may stop half-way, its errors say so.
pub trait DataPlane {
    /// How many databases and how many lines fit: slots are below. Line 0 is never used; the line after a database's
    /// slot is its default line.
    fn capacity(&self) -> (Slot, RuleSlot);

    /// The lines that may count single prefixes of managed ranges; rules may have them too when all others are in use.
    fn prefix_lines(&self) -> Range<RuleSlot>;

    /// Says which ports are claimed and which are guarded.
    ///
    /// # Errors
    /// When the kernel refuses a write; some ports may then have changed and others not.
    fn set_ports(&mut self, claimed: &Ports, guarded: &Ports) -> Result<()>;

    /// Gives a line a name, before anything counts on it.
    ///
    /// # Errors
    /// When the kernel refuses.
    fn set_line(&mut self, slot: RuleSlot, line: &Line) -> Result<()>;

    /// Sets a line's counter to zero and forgets its name. Nothing published may count on it any more, and what was
    /// under way must have settled.
    ///
    /// # Errors
    /// When the kernel refuses.
    fn free_line(&mut self, slot: RuleSlot) -> Result<()>;

    /// Records each database and replaces its allow list in the families that changed; one result for each, in their
    /// order. The failure of one holds up no other. When it returns, no packet that comes is judged by the old list of
    /// a database that did not fail.
    fn publish_sources(&mut self, together: &[Replacement<'_>]) -> Vec<Result<()>>;

    /// Returns when every packet that was under way is through: nothing counts on what was replaced before any more.
    ///
    /// # Errors
    /// When the kernel refuses.
    fn settle(&mut self) -> Result<()>;

    /// Forgets a database. Its allow list must be empty, and no endpoint may point at it any more.
    ///
    /// # Errors
    /// When the kernel refuses.
    fn free_database(&mut self, slot: Slot) -> Result<()>;

    /// Replaces the endpoint table. When it returns, no packet is judged by the old one any more.
    ///
    /// # Errors
    /// When the kernel refuses.
    fn publish_table(&mut self, table: &Table) -> Result<()>;
}
