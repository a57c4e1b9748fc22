//! Desired against live state → publish. No I/O: the kernel is behind [`DataPlane`].

mod accepted;
mod accepted_ranges;
mod access;
mod admit;
mod batch;
mod block_list;
mod blocked_ranges;
mod claimed_destinations;
mod clock;
mod compiled;
mod contended;
mod counters;
mod data_plane;
mod desired;
mod destination;
mod digest;
mod dry_run;
mod endpoint_plan;
mod endpoints;
mod free;
mod guards;
mod hits;
mod in_force;
mod indices;
mod members;
mod model;
mod open_endpoints;
mod overlay;
mod persisted;
mod plan;
mod ports;
mod publish;
mod publish_blocks;
mod publish_table;
mod question;
mod ranges_from_kernel;
mod rebuild;
mod record;
mod remainder;
mod repair;
mod restoration;
mod room;
mod sample;
mod sessions;
mod state_store;
mod table;
#[cfg(test)]
mod tests;
mod unchanged;
mod write_tracker;

pub use accepted::{AcceptedFiles, parse};
pub use accepted_ranges::{AcceptedRanges, AdmittedRanges};
pub use access::Access;
pub use admit::{Admission, Candidate, FileBytes, Refusal, admit};
pub use block_list::{
    BlockId, BlockList, BlockListKind, BlockLists, BlockReplacement, BlockedSource, BlockedSources,
};
pub use blocked_ranges::{BlockedRanges, blocked_ranges_from_kernel};
pub use claimed_destinations::ClaimedDestinations;
pub use clock::Clock;
pub use data_plane::{DataPlane, Families, Replacement, Sizes};
pub use desired::{Capacity, Desired, DesiredDatabase, destinations};
pub use digest::{CommonDigests, common_digest, digest};
pub use hits::{Counted, DatabaseHits, FreedCounter, RuleHits, RuleKey, StoredHits};
pub use in_force::{InForce, RulesInForce};
pub use members::Members;
pub use model::{
    CounterId, CounterKind, Database, DatabaseSlot, Destination, Endpoints, Guards, Indices, Live, Ports,
    RuleCounter, Stamp, TableEntry,
};
pub use open_endpoints::{OpenEndpoint, OpenEndpoints};
pub use overlay::{Expiry, LocalBlock, MAX_ENTRIES, Overlay, OverlayAction, OverlayEntry, OverlayId};
pub use persisted::PersistedState;
pub use plan::{Change, CountedOn, Plan, Transition, plan};
pub use publish::{Published, publish};
pub use question::Question;
pub use ranges_from_kernel::ranges_from_kernel;
pub use rebuild::{ensure_known, rebuilt_table};
pub use record::{Changes, Floor, Key, Presence, Record, StoredFile, StoredRanges};
pub use repair::{Drift, repair};
pub use restoration::restored;
pub use sample::{Sample, samples};
pub use sessions::{Listeners, RefusedBy, Session, SessionJudge};
pub use state_store::StateStore;
pub use table::Table;
#[cfg(test)]
pub(crate) use tests::{FakeDataPlane, Killed, assert_confirmed};
