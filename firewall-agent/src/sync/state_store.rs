//! Interface between the reconciler and the store of durable records.

use std::time::Duration;

use super::record::{Changes, Key};

/// Takes changes and makes them durable, in the order in which they were submitted.
pub trait StateStore {
    /// Adds changes. Returns at once: a slow or broken disk delays nobody.
    fn submit(&mut self, changes: Changes);

    /// Waits until everything submitted is durable, but no longer than `timeout`. Returns `true` when it is.
    fn flush(&mut self, timeout: Duration) -> bool;

    /// Returns `true` while some change waits for longer than a healthy disk takes: nobody should wait for it.
    fn is_behind(&self) -> bool;

    /// Returns `true` while the record of this key has a change that is not durable yet.
    fn is_pending(&self, key: &Key) -> bool;

    /// Error or delay that keeps changes from being durable; `None` when nothing is wrong.
    fn problem(&self) -> Option<String>;
}
