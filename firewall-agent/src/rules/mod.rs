//! Domain of the agent: bytes of a file to typed rules to a compiled rule set. No I/O.
//!
//! Raw file contents stay inside this module: it returns only validated types.

mod cause;
mod compile;
mod database;
mod ident;
mod json_schema;
mod network;
pub(crate) mod parser;
mod prefix_map;
mod problem;
mod ranges;
mod shrink_guard;
mod signature;

pub use cause::{Cause, Rejection};
pub use compile::{CounterKey, RuleSet, compile};
pub use database::{
    DatabaseRules, Endpoint, InternalRange, Limits, Mode, Protocol, Rule, Source, State, read_database,
};
pub use ident::{DatabaseId, InvalidIdent, RangeId, RuleId};
pub use json_schema::{database_schema, ranges_schema};
pub use prefix_map::PrefixMap;
pub use problem::{Checked, Note, Problem};
pub use ranges::{ManagedRange, ManagedRanges, RangesKind, is_ranges_file, read_ranges};
pub use shrink_guard::{GuardedRanges, apply_shrink_guard};
pub use signature::{TrustedKey, check_signature};

/// Largest file that is read, in bytes.
pub const MAX_FILE_BYTES: usize = 4 << 20;
