//! Events: log lines that the durable history stores, too.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Name of the field that makes a log line an event. Its value is one of the names below.
pub const FIELD: &str = "event";

/// The agent started, or stopped in order.
pub const STARTED: &str = "started";
pub const STOPPED: &str = "stopped";
/// A revision of a database was accepted, and is in force.
pub const ACCEPTED: &str = "accepted";
pub const IN_FORCE: &str = "in_force";
/// A file was rejected.
pub const REJECTED: &str = "rejected";
/// A database left this host; its endpoints stay closed.
pub const REMOVED: &str = "removed";
/// A managed range in force changed.
pub const RANGE: &str = "range";
/// A link to an interface or of the socket filter was made, adopted or detached.
pub const LINK: &str = "link";
/// A kernel object differed from what the agent left there, and was repaired.
pub const DRIFT: &str = "drift";
/// A condition became true, or false.
pub const CONDITION: &str = "condition";
/// An entry of the overlay was added, dropped, or expired.
pub const OVERLAY: &str = "overlay";
/// An operator's command changed something, or failed.
pub const COMMAND: &str = "command";

/// Every name, as `events --kind` takes it.
pub const KINDS: [&str; 12] = [
    STARTED, STOPPED, ACCEPTED, IN_FORCE, REJECTED, REMOVED, RANGE, LINK, DRIFT, CONDITION, OVERLAY, COMMAND,
];

/// One event of the history. Field names are an interface.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    pub time: Timestamp,
    /// One of [`KINDS`].
    pub event: String,
    pub message: String,
    /// The other fields of the log line: `database`, `revision`, `file` and `interface`, for example.
    #[serde(flatten)]
    pub fields: Map<String, Value>,
}

impl Event {
    /// Returns `true` if a field names this subject: a database, for example.
    #[must_use]
    pub fn is_about(&self, subject: &str) -> bool {
        ["database", "subject"]
            .iter()
            .any(|field| self.fields.get(*field).and_then(Value::as_str) == Some(subject))
    }
}
