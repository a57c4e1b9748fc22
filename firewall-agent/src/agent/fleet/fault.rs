//! Faults of the loop that the histories must find: the controls of the property.

use jiff::Timestamp;

use super::machine::{Disk, Twin};
use crate::agent::host::Host;
use crate::agent::keeper::Keeper;
use crate::files::scan::Snapshot;
use crate::files::store::{Entry, Store};
use crate::sync::Live;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    None,
    /// Admission takes any revision.
    AnyRevision,
    /// Neither the kernel nor the store remembers which revision was there.
    NoFloor,
    /// A file that was cut at the end of a line is whole.
    CutFiles,
    /// The time that expiry had reached is not kept.
    NoTime,
}

impl Fault {
    pub const ALL: [Self; 4] = [Self::AnyRevision, Self::NoFloor, Self::CutFiles, Self::NoTime];

    /// Before a look.
    pub fn spoil(self, keeper: &mut Keeper<Twin, Disk>, snapshot: &mut Snapshot) {
        if self == Self::AnyRevision {
            let taken = &mut keeper.host.taken;
            taken.ledger.rebased = taken.admitted.keys().map(ToString::to_string).collect();
        }
        if self == Self::CutFiles {
            for content in snapshot.rules.values_mut().filter_map(|seen| seen.content.as_mut().ok()) {
                let lines = content.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
                if !content.ends_with(b"\n...\n") {
                    content.truncate(lines);
                    content.extend(b"...\n");
                }
            }
        }
    }

    /// Before what is in the kernel and on the disk is joined.
    pub fn spoil_start(self, live: &mut Live, store: &Store) {
        if self == Self::NoFloor {
            for database in live.databases.values_mut() {
                database.floor = 0;
                store.remove(&Entry::Database(&database.id)).unwrap();
            }
        }
    }

    /// After that.
    pub fn spoil_host(self, host: &mut Host<Twin, Disk>) {
        if self == Self::NoTime {
            host.taken.ledger.high_water = Timestamp::UNIX_EPOCH;
        }
    }
}
