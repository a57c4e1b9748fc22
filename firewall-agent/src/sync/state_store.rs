//! Interface between the reconciler and the store of durable records.

use std::time::Duration;

use super::record::{Changes, Key};

/// Makes changes durable, in the order of submission.
pub trait StateStore {
    /// Adds changes and returns at once: a slow or broken disk delays no caller.
    fn submit(&mut self, changes: Changes);

    /// Waits up to `timeout` until every submitted change is durable. Returns `true` when it is.
    fn flush(&mut self, timeout: Duration) -> bool;

    /// Returns `true` while some change waits for longer than a healthy disk takes: callers should not wait for it.
    fn is_behind(&self) -> bool;

    /// Returns `true` while the record of this key has a change that is not durable yet.
    fn is_pending(&self, key: &Key) -> bool;

    /// Error or delay that prevents changes from becoming durable; `None` without one.
    fn problem(&self) -> Option<String>;
}
