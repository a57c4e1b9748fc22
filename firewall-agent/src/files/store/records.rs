//! Records in tables: one table for each kind of record, and the format version.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail, ensure};
use firewall_common::Tally;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use jiff::Timestamp;
use redb::{
    Database, Key as TableKey, ReadTransaction, ReadableDatabase as _, ReadableTable as _, TableDefinition,
    TableError, TableHandle as _, Value, WriteTransaction,
};

use crate::rules::{DatabaseId, RangesKind};
use crate::sync::{
    Changes, DatabaseHits, Destination, Floor, InForce, Key, OverlayAction, OverlayEntry, Presence, Record,
    RuleHits, RuleKey, RulesInForce, StoredFile, StoredRanges,
};

/// Version of everything below. A store of another version is refused.
const VERSION: u64 = 1;

/// Path, signature, content; bytes as they are on disk.
type FileRow = (&'static [u8], Option<&'static [u8]>, &'static [u8]);
/// Lost; IPv4 and IPv6 networks as address and prefix length; destinations as `ADDRESS:PORT/PROTOCOL`.
type RulesRow = (bool, Vec<(u32, u8)>, Vec<(u128, u8)>, Vec<String>);
/// Command, source and database, each empty where the entry has none; created and until, in nanoseconds since 1970 in
/// UTC; note.
type OverlayRow = (&'static str, &'static str, &'static str, i128, i128, &'static str);
/// Rule id, range id; start of the count; packets and bytes of counters that are gone, and of the kernel's; last hit.
/// Times are nanoseconds since 1970 in UTC.
type HitsRow = (String, Option<String>, i128, (u64, u64), (u64, u64), Option<i128>);
type Table<K, V> = TableDefinition<'static, K, V>;

const FORMAT: Table<&str, u64> = TableDefinition::new("format");
const FORMAT_VERSION: &str = "version";

/// Rule files by database id.
const FILES: Table<&str, FileRow> = TableDefinition::new("files");
/// Effective lists as YAML, by the kind of ranges; and their source file.
const RANGES: Table<&str, &str> = TableDefinition::new("ranges");
const RANGES_FILE: Table<&str, FileRow> = TableDefinition::new("ranges_file");
const NEWEST: &str = "newest";
const BLOCKED: &str = "blocked";
/// Claimant by destination as `ADDRESS:PORT/PROTOCOL`; empty if unknown.
const CLAIMS: Table<&str, &str> = TableDefinition::new("claims");
/// Revision, presence (0 active, 1 removed, 2 forgotten), rebased, order; by database id.
const FLOORS: Table<&str, (u64, u8, bool, u64)> = TableDefinition::new("floors");
/// Revision by database id; and the rules in force while those of the accepted file wait.
const IN_FORCE: Table<&str, u64> = TableDefinition::new("in_force");
const RULES_IN_FORCE: Table<&str, RulesRow> = TableDefinition::new("rules_in_force");
/// Packets and bytes by database id.
const RETIRED: Table<&str, (u64, u64)> = TableDefinition::new("retired");
/// Counts of the rules of a database by its id; and the kernel's counters that were read, by a constant key.
const HITS: Table<&str, Vec<HitsRow>> = TableDefinition::new("hits");
const COUNTERS: Table<&str, &str> = TableDefinition::new("counters");
/// Nanoseconds since 1970 in UTC, by name.
const TIMES: Table<&str, i128> = TableDefinition::new("times");
const CLOCK_MARK: &str = "clock_mark";
const DETACHED: &str = "detached";
/// Notice by range id.
const RANGE_NOTICES: Table<&str, &str> = TableDefinition::new("range_notices");
/// Entries of the overlay by id.
const OVERLAY: Table<&str, OverlayRow> = TableDefinition::new("overlay");

/// Writes the format version into a new store.
///
/// # Errors
/// The store refuses.
pub(super) fn prepare(database: &Database) -> Result<()> {
    let transaction = database.begin_write()?;
    transaction.open_table(FORMAT)?.insert(FORMAT_VERSION, VERSION)?;
    Ok(transaction.commit()?)
}

/// # Errors
/// The store has another version or none, or cannot be read.
pub(super) fn ensure_known(database: &Database) -> Result<()> {
    ensure_version(&database.begin_read()?)
}

fn ensure_version(transaction: &ReadTransaction) -> Result<()> {
    let mut found = None;
    each(transaction, FORMAT, |_, version| {
        found = Some(version);
        Ok(())
    })?;
    let version = found.context("no format version: not an agent's store")?;
    ensure!(version == VERSION, "format version {version}: must be {VERSION}");
    Ok(())
}

/// Applies all changes in one transaction.
pub(super) fn write(database: &Database, changes: &Changes) -> Result<()> {
    let transaction = database.begin_write()?;
    for (key, record) in changes.iter() {
        match record {
            Some(record) => put(&transaction, record)?,
            None => remove(&transaction, key)?,
        }
    }
    Ok(transaction.commit()?)
}

fn put(transaction: &WriteTransaction, record: &Record) -> Result<()> {
    match record {
        Record::File(id, file) => insert(transaction, FILES, id.as_str(), row(file))?,
        Record::Ranges(kind, StoredRanges { file, effective }) => {
            insert(transaction, RANGES, ranges_key(*kind), effective.as_str())?;
            match file {
                Some(file) => insert(transaction, RANGES_FILE, ranges_key(*kind), row(file))?,
                None => delete(transaction, RANGES_FILE, ranges_key(*kind))?,
            }
        }
        Record::Claim(destination, owner) => {
            let owner = owner.as_ref().map_or("", DatabaseId::as_str);
            insert(transaction, CLAIMS, destination.to_string().as_str(), owner)?;
        }
        Record::Floor(id, floor) => {
            let presence = match floor.presence {
                Presence::Active => 0,
                Presence::Removed => 1,
                Presence::Forgotten => 2,
            };
            let value = (floor.revision, presence, floor.rebased, floor.order);
            insert(transaction, FLOORS, id.as_str(), value)?;
        }
        Record::InForce(id, InForce { revision, rules, is_lost }) => {
            insert(transaction, IN_FORCE, id.as_str(), *revision)?;
            match rules {
                Some(rules) => insert(transaction, RULES_IN_FORCE, id.as_str(), rules_row(rules, *is_lost))?,
                None => delete(transaction, RULES_IN_FORCE, id.as_str())?,
            }
        }
        Record::Retired(id, retired) => {
            insert(transaction, RETIRED, id.as_str(), (retired.packets, retired.bytes))?;
        }
        Record::Hits(id, hits) => insert(transaction, HITS, id.as_str(), hits_row(hits))?,
        Record::CountersOf(identity) => insert(transaction, COUNTERS, NEWEST, identity.as_str())?,
        Record::ClockMark(mark) => insert(transaction, TIMES, CLOCK_MARK, mark.as_nanosecond())?,
        Record::Detached(since) => insert(transaction, TIMES, DETACHED, since.as_nanosecond())?,
        Record::RangeNotice(id, notice) => insert(transaction, RANGE_NOTICES, id.as_str(), notice.as_str())?,
        Record::Overlay(entry) => {
            let OverlayEntry { id, action, created_at, until, note } = entry;
            let source = action.source().map(|source| source.to_string()).unwrap_or_default();
            let database = action.database().map_or("", DatabaseId::as_str);
            let times = (created_at.as_nanosecond(), until.as_nanosecond());
            let row = (action.verb(), source.as_str(), database, times.0, times.1, note.as_str());
            insert(transaction, OVERLAY, id.as_str(), row)?;
        }
    }
    Ok(())
}

fn remove(transaction: &WriteTransaction, key: &Key) -> Result<()> {
    match key {
        Key::File(id) => delete(transaction, FILES, id.as_str()),
        Key::Ranges(kind) => {
            delete(transaction, RANGES, ranges_key(*kind))?;
            delete(transaction, RANGES_FILE, ranges_key(*kind))
        }
        Key::Claim(destination) => delete(transaction, CLAIMS, destination.to_string().as_str()),
        Key::Floor(id) => delete(transaction, FLOORS, id.as_str()),
        Key::InForce(id) => {
            delete(transaction, IN_FORCE, id.as_str())?;
            delete(transaction, RULES_IN_FORCE, id.as_str())
        }
        Key::Retired(id) => delete(transaction, RETIRED, id.as_str()),
        Key::Hits(id) => delete(transaction, HITS, id.as_str()),
        Key::CountersOf => delete(transaction, COUNTERS, NEWEST),
        Key::ClockMark => delete(transaction, TIMES, CLOCK_MARK),
        Key::Detached => delete(transaction, TIMES, DETACHED),
        Key::RangeNotice(id) => delete(transaction, RANGE_NOTICES, id.as_str()),
        Key::Overlay(id) => delete(transaction, OVERLAY, id.as_str()),
    }
}

fn ranges_key(kind: RangesKind) -> &'static str {
    match kind {
        RangesKind::Managed => NEWEST,
        RangesKind::Blocked => BLOCKED,
    }
}

fn insert<'a, V: Value + 'static>(
    transaction: &WriteTransaction,
    table: Table<&'static str, V>,
    key: &str,
    value: V::SelfType<'a>,
) -> Result<()> {
    transaction.open_table(table)?.insert(key, value)?;
    Ok(())
}

fn delete<V: Value + 'static>(
    transaction: &WriteTransaction,
    table: Table<&'static str, V>,
    key: &str,
) -> Result<()> {
    transaction.open_table(table)?.remove(key)?;
    Ok(())
}

/// Reads every record of a store.
///
/// # Errors
/// The store has another version, cannot be read, or has a row that no agent writes.
pub(super) fn read(database: &Database) -> Result<Vec<Record>> {
    let transaction = database.begin_read()?;
    ensure_version(&transaction)?;
    let mut records = Vec::new();
    each(&transaction, FLOORS, |id, (revision, presence, rebased, order)| {
        let presence = match presence {
            0 => Presence::Active,
            1 => Presence::Removed,
            2 => Presence::Forgotten,
            other => bail!("presence {other}: unknown value"),
        };
        records.push(Record::Floor(id.parse()?, Floor { revision, presence, rebased, order }));
        Ok(())
    })?;
    each(&transaction, FILES, |id, file| {
        records.push(Record::File(id.parse()?, stored(file)));
        Ok(())
    })?;
    let mut ranges_files = BTreeMap::new();
    each(&transaction, RANGES_FILE, |key, file| {
        ranges_files.insert(key.to_owned(), stored(file));
        Ok(())
    })?;
    each(&transaction, RANGES, |key, effective| {
        let kind = RangesKind::ALL.into_iter().find(|kind| ranges_key(*kind) == key);
        let kind = kind.context("unknown kind of ranges")?;
        let effective = effective.to_owned();
        records.push(Record::Ranges(kind, StoredRanges { file: ranges_files.remove(key), effective }));
        Ok(())
    })?;
    each(&transaction, CLAIMS, |destination, owner| {
        let owner = if owner.is_empty() { None } else { Some(owner.parse()?) };
        records.push(Record::Claim(destination.parse().map_err(anyhow::Error::msg)?, owner));
        Ok(())
    })?;
    let mut rules = BTreeMap::new();
    each(&transaction, RULES_IN_FORCE, |id, row| {
        rules.insert(id.to_owned(), stored_rules(row)?);
        Ok(())
    })?;
    each(&transaction, IN_FORCE, |id, revision| {
        let in_force = match rules.remove(id) {
            Some((rules, is_lost)) => InForce { revision, rules: Some(rules), is_lost },
            None => InForce::complete(revision),
        };
        records.push(Record::InForce(id.parse()?, in_force));
        Ok(())
    })?;
    each(&transaction, RETIRED, |id, (packets, bytes)| {
        records.push(Record::Retired(id.parse()?, Tally { packets, bytes }));
        Ok(())
    })?;
    each(&transaction, HITS, |id, rows| {
        records.push(Record::Hits(id.parse()?, stored_hits(rows)?));
        Ok(())
    })?;
    each(&transaction, COUNTERS, |_, identity| {
        records.push(Record::CountersOf(identity.to_owned()));
        Ok(())
    })?;
    each(&transaction, RANGE_NOTICES, |id, notice| {
        records.push(Record::RangeNotice(id.parse()?, notice.to_owned()));
        Ok(())
    })?;
    each(&transaction, OVERLAY, |id, (verb, source, database, created_at, until, note)| {
        records.push(Record::Overlay(OverlayEntry {
            id: id.parse().map_err(anyhow::Error::msg)?,
            action: overlay_action(verb, source, database)?,
            created_at: Timestamp::from_nanosecond(created_at)?,
            until: Timestamp::from_nanosecond(until)?,
            note: note.to_owned(),
        }));
        Ok(())
    })?;
    each(&transaction, TIMES, |name, nanoseconds| {
        let time = Timestamp::from_nanosecond(nanoseconds)?;
        records.push(match name {
            CLOCK_MARK => Record::ClockMark(time),
            DETACHED => Record::Detached(time),
            _ => bail!("unknown time name"),
        });
        Ok(())
    })?;
    Ok(records)
}

/// Reads the claims of a store of any format version, as far as possible.
pub(super) fn read_claims(database: &Database) -> Result<Vec<Destination>> {
    let mut claims = Vec::new();
    each(&database.begin_read()?, CLAIMS, |destination, _| {
        claims.extend(destination.parse::<Destination>());
        Ok(())
    })?;
    Ok(claims)
}

/// Calls `take` with every row of a table, if the table exists.
fn each<K, V>(
    transaction: &ReadTransaction,
    table: Table<K, V>,
    mut take: impl for<'a> FnMut(K::SelfType<'a>, V::SelfType<'a>) -> Result<()>,
) -> Result<()>
where
    K: TableKey + 'static,
    V: Value + 'static,
{
    let name = table.name().to_owned();
    let rows = match transaction.open_table(table) {
        Ok(rows) => rows,
        Err(TableError::TableDoesNotExist(_)) => return Ok(()),
        Err(error) => return Err(error).with_context(|| format!("table {name}")),
    };
    for row in rows.iter().with_context(|| format!("table {name}"))? {
        let (key, value) = row.with_context(|| format!("table {name}"))?;
        let key = key.value();
        let shown = format!("table {name}: row {key:?}");
        take(key, value.value()).context(shown)?;
    }
    Ok(())
}

fn row(file: &StoredFile) -> (&[u8], Option<&[u8]>, &[u8]) {
    (file.path.as_os_str().as_bytes(), file.signature.as_deref(), &file.content)
}

fn rules_row(rules: &RulesInForce, is_lost: bool) -> RulesRow {
    let (mut v4, mut v6) = (Vec::new(), Vec::new());
    for network in &rules.networks {
        match network {
            IpNet::V4(network) => v4.push((network.addr().to_bits(), network.prefix_len())),
            IpNet::V6(network) => v6.push((network.addr().to_bits(), network.prefix_len())),
        }
    }
    (is_lost, v4, v6, rules.destinations.iter().map(ToString::to_string).collect())
}

fn stored_rules((is_lost, v4, v6, destinations): RulesRow) -> Result<(RulesInForce, bool)> {
    let mut rules = RulesInForce::default();
    for (address, length) in v4 {
        rules.networks.insert(Ipv4Net::new(address.into(), length)?.into());
    }
    for (address, length) in v6 {
        rules.networks.insert(Ipv6Net::new(address.into(), length)?.into());
    }
    for destination in destinations {
        rules.destinations.insert(destination.parse().map_err(anyhow::Error::msg)?);
    }
    Ok((rules, is_lost))
}

fn overlay_action(verb: &str, source: &str, database: &str) -> Result<OverlayAction> {
    let of_database = || database.parse::<DatabaseId>();
    Ok(match verb {
        "block" => {
            let database = if database.is_empty() { None } else { Some(of_database()?) };
            OverlayAction::Block { source: source.parse()?, database }
        }
        "close" => OverlayAction::Close { database: of_database()? },
        "allow" => OverlayAction::Allow { source: source.parse()?, database: of_database()? },
        other => bail!("command {other:?}: unknown value"),
    })
}

fn hits_row(hits: &DatabaseHits) -> Vec<HitsRow> {
    let row = |(rule, hits): (&RuleKey, &RuleHits)| {
        let RuleHits { since, retired, live, last } = hits;
        let [retired, live] = [retired, live].map(|tally| (tally.packets, tally.bytes));
        let last = last.map(Timestamp::as_nanosecond);
        (rule.id.clone(), rule.range.clone(), since.as_nanosecond(), retired, live, last)
    };
    hits.iter().map(row).collect()
}

fn stored_hits(rows: Vec<HitsRow>) -> Result<DatabaseHits> {
    let tally = |(packets, bytes)| Tally { packets, bytes };
    let rules = rows.into_iter().map(|(id, range, since, retired, live, last)| {
        let since = Timestamp::from_nanosecond(since)?;
        let last = last.map(Timestamp::from_nanosecond).transpose()?;
        Ok((RuleKey { id, range }, RuleHits { since, retired: tally(retired), live: tally(live), last }))
    });
    rules.collect()
}

fn stored((path, signature, content): (&[u8], Option<&[u8]>, &[u8])) -> StoredFile {
    StoredFile {
        path: PathBuf::from(OsStr::from_bytes(path)),
        signature: signature.map(Arc::from),
        content: Arc::from(content),
    }
}
