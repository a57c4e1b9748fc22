//! Counted comparisons of destinations: the cost of a publish on any machine.

use std::cell::Cell;
use std::cmp::Ordering;

use crate::sync::Destination;

thread_local! {
    static COMPARISONS: Cell<u64> = const { Cell::new(0) };
}

impl PartialEq for Destination {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Destination {}

impl Ord for Destination {
    fn cmp(&self, other: &Self) -> Ordering {
        COMPARISONS.set(COMPARISONS.get() + 1);
        (self.address, self.port, self.protocol).cmp(&(other.address, other.port, other.protocol))
    }
}

impl PartialOrd for Destination {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Comparisons while `work` ran on this thread.
pub fn comparisons(work: impl FnOnce()) -> u64 {
    let before = COMPARISONS.get();
    work();
    COMPARISONS.get() - before
}
