//! Indices of the kernel's tables: two types, so that a slot is never passed as a counter.

use std::fmt;
use std::marker::PhantomData;
use std::ops::Range;

/// Index of a database in the kernel's tables, assigned as long as the database is on this host.
///
/// It is no [`CounterId`]:
///
/// ```
/// use firewall_agent::sync::{CounterId, DatabaseSlot};
/// fn count(database: DatabaseSlot, on: CounterId) {}
/// count(DatabaseSlot(1), CounterId(2));
/// ```
///
/// ```compile_fail,E0308
/// use firewall_agent::sync::{CounterId, DatabaseSlot};
/// fn count(database: DatabaseSlot, on: CounterId) {}
/// count(CounterId(2), DatabaseSlot(1));
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DatabaseSlot(pub u32);

/// Index of a rule counter; belongs to (database, rule) as long as the rule exists.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CounterId(pub u32);

impl DatabaseSlot {
    /// No database: the owner of counters of the whole host.
    pub const NONE: Self = Self(u32::MAX);

    /// The counter of the packets that no rule of the database allows: reserved for the slot, so that it is always
    /// available.
    #[must_use]
    pub const fn default_counter(self) -> CounterId {
        CounterId(self.0 + 1)
    }

    /// The slot after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl CounterId {
    /// Never assigned: in a verdict, no counter decided.
    pub const NONE: Self = Self(0);
}

impl fmt::Display for DatabaseSlot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for CounterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl From<u32> for DatabaseSlot {
    fn from(index: u32) -> Self {
        Self(index)
    }
}

impl From<u32> for CounterId {
    fn from(index: u32) -> Self {
        Self(index)
    }
}

/// Consecutive indices of one kind, in ascending order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Indices<T> {
    range: Range<u32>,
    kind: PhantomData<T>,
}

impl<T> Indices<T> {
    pub(crate) fn new(range: Range<u32>) -> Self {
        Self { range, kind: PhantomData }
    }
}

impl<T: From<u32>> Iterator for Indices<T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        self.range.next().map(T::from)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.range.size_hint()
    }
}

impl<T: From<u32>> ExactSizeIterator for Indices<T> {}
