//! Database records: domain ⇄ kernel, and which of a record's two stamps is in force.

use anyhow::{Context as _, Result};
use firewall_common::{DatabaseRecord, Stamp as StampRecord};
use jiff::Timestamp;

use super::convert::{text_from_bytes, text_to_bytes};
use crate::sync::{Database, Sources, Stamp};

/// Kernel ids of a database's live tries; 0 where there is none.
pub(super) type TrieIds = [u32; 2];

/// The record to write before the tries with `ids` replace those of `live`.
pub(super) fn record(
    database: &Database,
    ids: TrieIds,
    before: Option<&DatabaseRecord>,
    live: TrieIds,
) -> DatabaseRecord {
    let newest = database.stamp.as_ref().map_or_else(StampRecord::default, |stamp| StampRecord {
        revision: stamp.revision,
        generation: stamp.generation,
        applied_at: u64::try_from(stamp.applied_at.as_second()).unwrap_or(0),
        tries: ids,
        digest: stamp.digest,
    });
    DatabaseRecord {
        id: text_to_bytes(&database.id.to_string()),
        name: text_to_bytes(&database.name),
        default_counter: database.default_counter,
        reserved: 0,
        newest,
        previous: before.and_then(|before| in_force(before, live)).copied().unwrap_or_default(),
    }
}

/// The database of a record, with the stamp that matches the live tries.
///
/// # Errors
/// When a field of the record contains a value that this agent never writes there.
pub(super) fn database(record: &DatabaseRecord, live: TrieIds, sources: Sources) -> Result<Database> {
    let id = text_from_bytes(&record.id).context("database record: id")?;
    let of_record = |field: &str| format!("database record {id:?}: {field}");
    let stamp = in_force(record, live).map(stamp).transpose().with_context(|| of_record("stamp"))?;
    Ok(Database {
        id: id.parse().with_context(|| of_record("id"))?,
        name: text_from_bytes(&record.name).with_context(|| of_record("name"))?,
        default_counter: record.default_counter,
        floor: floor(record),
        stamp,
        sources,
    })
}

/// The revision floor: a rule file with a lower revision is rejected. The newest stamp has a lower revision than the
/// previous one only after a `rebase`; the previous one must not return as a floor then.
fn floor(record: &DatabaseRecord) -> u64 {
    if record.newest.generation == 0 { record.previous.revision } else { record.newest.revision }
}

/// The highest generation in a record.
pub(super) fn generation(record: &DatabaseRecord) -> u64 {
    record.newest.generation.max(record.previous.generation)
}

fn stamp(stamp: &StampRecord) -> Result<Stamp> {
    let seconds = i64::try_from(stamp.applied_at).ok();
    Ok(Stamp {
        revision: stamp.revision,
        generation: stamp.generation,
        applied_at: seconds
            .and_then(|seconds| Timestamp::from_second(seconds).ok())
            .with_context(|| format!("applied at {} s: beyond the calendar", stamp.applied_at))?,
        digest: stamp.digest,
    })
}

fn in_force(record: &DatabaseRecord, live: TrieIds) -> Option<&StampRecord> {
    [&record.newest, &record.previous].into_iter().find(|stamp| stamp.generation != 0 && stamp.tries == live)
}
