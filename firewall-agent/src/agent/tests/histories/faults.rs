//! Faults below the reconciler that the histories must find: the controls of the property. `cargo xtask mutants` plants
//! faults of the reconciler itself in its source.

use crate::sync::{Changes, Presence, Record};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    None,
    /// Claims are never stored.
    NoClaims,
    /// A file is stored in one transaction, its claims in the next.
    ClaimsApart,
    /// A destination is opened before its claim is durable.
    NothingWithheld,
    /// Nothing is committed before the publish.
    CommitAfterPublish,
    /// `forget` drops the revision floor.
    NoFloorOnceForgotten,
    /// The time that expiry has reached is not stored.
    NoClockMark,
}

impl Fault {
    pub const ALL: [Self; 6] = [
        Self::NoClaims,
        Self::ClaimsApart,
        Self::NothingWithheld,
        Self::CommitAfterPublish,
        Self::NoFloorOnceForgotten,
        Self::NoClockMark,
    ];

    /// Changes as submitted to the store.
    pub fn submitted(self, changes: Changes) -> Changes {
        let mut submitted = Changes::default();
        if changes.confirms() {
            submitted.confirm();
        }
        for (key, record) in changes {
            let Some(record) = record else {
                submitted.remove(key);
                continue;
            };
            match (self, record) {
                (Self::NoClaims, Record::Claim(..)) | (Self::NoClockMark, Record::ClockMark(_)) => {}
                (Self::NoFloorOnceForgotten, Record::Floor(_, floor))
                    if floor.presence == Presence::Forgotten =>
                {
                    submitted.remove(key);
                }
                (_, record) => submitted.put(record),
            }
        }
        submitted
    }

    /// Transactions for the changes.
    pub fn batches(self, changes: &Changes) -> Vec<Changes> {
        if self != Self::ClaimsApart {
            return vec![changes.clone()];
        }
        let (mut first, mut second) = (Changes::default(), Changes::default());
        for (key, record) in changes.iter() {
            match record {
                Some(claim @ Record::Claim(..)) => second.put(claim.clone()),
                Some(record) => first.put(record.clone()),
                None => first.remove(key.clone()),
            }
        }
        vec![first, second]
    }
}
