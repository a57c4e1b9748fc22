//! Tests of the store on a real file, and on media that fail.

use std::fs;

use firewall_common::Tally;
use jiff::Timestamp;
use redb::TableDefinition;

use super::*;
use crate::rules::{DatabaseId, RangesKind};
use crate::sync::{
    DatabaseHits, Floor, InForce, Key, OverlayAction, OverlayEntry, Presence, RuleHits, RuleKey,
    RulesInForce, StoredFile, StoredRanges,
};

fn id(id: &str) -> DatabaseId {
    id.parse().unwrap()
}

fn file(path: &str) -> StoredFile {
    StoredFile {
        path: path.into(),
        signature: Some(b"signature"[..].into()),
        content: b"content\n...\n"[..].into(),
    }
}

fn rules() -> RulesInForce {
    let networks = ["0.0.0.0/0", "192.0.2.0/24", "198.51.100.7/32", "::/0", "2001:db8::/32"];
    let destinations = ["192.0.2.1:5432/tcp", "[2001:db8::1]:5432/udp"];
    RulesInForce {
        networks: networks.map(|network| network.parse().unwrap()).into(),
        destinations: destinations.map(|destination| destination.parse().unwrap()).into(),
    }
}

fn hits() -> DatabaseHits {
    let hits = RuleHits {
        since: Timestamp::UNIX_EPOCH,
        retired: Tally { packets: 1, bytes: 60 },
        live: Tally { packets: 2, bytes: 120 },
        last: None,
    };
    let last = Some("2026-09-01T12:00:00.5Z".parse().unwrap());
    [
        (RuleKey { id: "fr-1".to_owned(), range: None }, hits),
        (RuleKey { id: "fr-2".to_owned(), range: Some("man-a".to_owned()) }, RuleHits { last, ..hits }),
    ]
    .into()
}

/// One record of each kind.
fn records() -> Vec<Record> {
    let floor = Floor { revision: 7, presence: Presence::Removed, rebased: true, order: 3 };
    vec![
        Record::Floor(id("a"), floor),
        Record::File(id("a"), file("/rules.d/a.yaml")),
        Record::Ranges(
            RangesKind::Managed,
            StoredRanges { file: Some(file("/ranges.yaml")), effective: "ranges: []".to_owned() },
        ),
        Record::Claim("192.0.2.1:5432/tcp".parse().unwrap(), Some(id("a"))),
        Record::Claim("[2001:db8::1]:5432/udp".parse().unwrap(), None),
        Record::InForce(id("a"), InForce { is_lost: true, ..InForce::with(6, rules()) }),
        Record::InForce(id("b"), InForce::complete(9)),
        Record::Retired(id("a"), Tally { packets: 1, bytes: 60 }),
        Record::Hits(id("a"), hits()),
        Record::CountersOf("boot/7".to_owned()),
        Record::ClockMark("2026-09-01T12:00:00.5Z".parse::<Timestamp>().unwrap()),
        Record::Detached(Timestamp::UNIX_EPOCH),
        Record::RangeNotice("man-a".parse().unwrap(), "revision 8 loses 1 of 3 prefixes".to_owned()),
        Record::Ranges(
            RangesKind::Blocked,
            StoredRanges { file: Some(file("/blocked.yaml")), effective: "ranges: [1]".to_owned() },
        ),
        entry("block:3f9a", OverlayAction::Block { source: "192.0.2.0/24".parse().unwrap(), database: None }),
        entry(
            "block:3f9b",
            OverlayAction::Block { source: "2001:db8::/32".parse().unwrap(), database: Some(id("a")) },
        ),
        entry("close:07c2", OverlayAction::Close { database: id("a") }),
        entry(
            "allow:aa10",
            OverlayAction::Allow { source: "192.0.2.1/32".parse().unwrap(), database: id("a") },
        ),
    ]
}

fn entry(id: &str, action: OverlayAction) -> Record {
    let until = "2026-09-01T13:00:00.5Z".parse().unwrap();
    let (id, note) = (id.parse().unwrap(), "scan".to_owned());
    Record::Overlay(OverlayEntry { id, action, created_at: Timestamp::UNIX_EPOCH, until, note })
}

fn sorted(mut records: Vec<Record>) -> Vec<Record> {
    records.sort_by_key(Record::key);
    records
}

fn changes(records: Vec<Record>) -> Changes {
    let mut changes = Changes::default();
    records.into_iter().for_each(|record| changes.put(record));
    changes
}

#[test]
fn every_record_kind_is_stored_and_removed() {
    let dir = tempfile::tempdir().unwrap();
    let medium = || StateFile::new(dir.path());
    assert_eq!(LastGoodStore::new(medium()).load().unwrap(), []);
    let mut store = LastGoodStore::new(medium());
    store.commit(&changes(records())).unwrap();
    assert_eq!(sorted(LastGoodStore::new(medium()).load().unwrap()), sorted(records()));
    let mut gone = Changes::default();
    records().iter().for_each(|record| gone.remove(record.key()));
    store.commit(&gone).unwrap();
    assert_eq!(LastGoodStore::new(medium()).load().unwrap(), []);
}

/// A reader needs no lock, and sees one commit, whole.
#[test]
fn concurrent_reader_sees_a_single_commit() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = LastGoodStore::new(StateFile::new(dir.path()));
    store.commit(&Changes::default()).unwrap();
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for number in 0..200 {
                let retired = Tally { packets: number, bytes: number };
                let both = ["a", "b"].map(|name| Record::Retired(id(name), retired));
                store.commit(&changes(both.to_vec())).unwrap();
            }
        });
        let mut seen = 0;
        while !writer.is_finished() {
            let records = LastGoodStore::new(StateFile::new(dir.path())).load().unwrap();
            if let [Record::Retired(_, a), Record::Retired(_, b)] = &records[..] {
                assert_eq!(a, b);
                seen += 1;
            }
        }
        assert!(seen > 0, "nothing was ever seen");
    });
}

#[test]
fn unknown_format_version_is_refused_and_unchanged() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.redb");
    let database = Database::create(&path).unwrap();
    let transaction = database.begin_write().unwrap();
    let format: TableDefinition<'_, &str, u64> = TableDefinition::new("format");
    transaction.open_table(format).unwrap().insert("version", 2).unwrap();
    transaction.commit().unwrap();
    drop(database);
    let mut store = LastGoodStore::new(StateFile::new(dir.path()));
    for error in [store.load().map(drop), store.commit(&changes(records()))].map(Result::unwrap_err) {
        let error = format!("{error:#}");
        assert!(error.contains("state.redb: format version 2: must be 1"), "{error}");
    }
}

#[test]
fn store_without_a_format_version_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    drop(Database::create(dir.path().join("state.redb")).unwrap());
    let mut store = LastGoodStore::new(StateFile::new(dir.path()));
    for error in [store.load().map(drop), store.commit(&changes(records()))].map(Result::unwrap_err) {
        let error = format!("{error:#}");
        assert!(error.contains("no format version"), "{error}");
    }
}

/// A refused commit may have extended the file: its copy must fit beside it on a small partition.
#[test]
fn copy_takes_no_space_for_empty_pages() {
    use std::os::unix::fs::MetadataExt as _;
    const LENGTH: usize = 1 << 20;
    let dir = tempfile::tempdir().unwrap();
    let blocks = |filled: usize| {
        let bytes: Vec<u8> = (0..LENGTH).map(|at| u8::from(at < filled)).collect();
        StateFile::new(dir.path()).replace(&bytes).unwrap();
        let path = dir.path().join("state.redb");
        assert_eq!(fs::read(&path).unwrap(), bytes);
        fs::metadata(path).unwrap().blocks()
    };
    let (few, all) = (blocks(4096), blocks(LENGTH));
    assert!(few < all / 4, "{few} of {all} blocks");
}

#[test]
fn corruption_is_an_error_and_never_an_empty_store() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.redb");
    let mut store = LastGoodStore::new(StateFile::new(dir.path()));
    store.commit(&changes(records())).unwrap();
    drop(store);
    let whole = fs::read(&path).unwrap();
    let mut refused = 0;
    for at in (0..whole.len()).step_by(whole.len() / 64) {
        let mut damaged = whole.clone();
        damaged[at..].iter_mut().take(2048).for_each(|byte| *byte ^= 0x5a);
        fs::write(&path, damaged).unwrap();
        match LastGoodStore::new(StateFile::new(dir.path())).load() {
            // Free pages may contain anything.
            Ok(read) => assert_eq!(sorted(read), sorted(records()), "damage at {at}"),
            Err(_) => refused += 1,
        }
    }
    assert!(refused > 0, "no damage was noticed");
    for cut in [0, 1, 100, 4096, whole.len() / 2] {
        fs::write(&path, &whole[..cut]).unwrap();
        assert!(LastGoodStore::new(StateFile::new(dir.path())).load().is_err(), "{cut} bytes");
    }
}

#[test]
fn only_the_agent_may_read_the_store() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let state_dir = dir.path().join("state");
    let mut store = LastGoodStore::new(StateFile::new(&state_dir));
    store.commit(&changes(records())).unwrap();
    let mode = |path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(state_dir.clone()), mode(state_dir.join("state.redb"))), (0o700, 0o600));
}

#[test]
fn store_truncated_under_its_writer_is_not_reported_durable() {
    for is_cut in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let mut store = LastGoodStore::new(StateFile::new(dir.path()));
        store.commit(&changes(records())).unwrap();
        if is_cut {
            fs::File::options().write(true).open(dir.path().join("state.redb")).unwrap().set_len(0).unwrap();
        }
        let mark = || changes(vec![Record::ClockMark(Timestamp::UNIX_EPOCH)]);
        for _ in 0..2 {
            assert_eq!(store.commit(&mark()).is_err(), is_cut);
        }
        assert_eq!(store.load().is_err(), is_cut);
    }
}

#[test]
fn last_change_to_a_record_wins() {
    let mut first = changes(vec![Record::Detached(Timestamp::UNIX_EPOCH)]);
    let mut later = Changes::default();
    later.remove(Key::Detached);
    first.merge(later);
    let dir = tempfile::tempdir().unwrap();
    let mut store = LastGoodStore::new(StateFile::new(dir.path()));
    store.commit(&first).unwrap();
    assert_eq!(store.load().unwrap(), []);
}

#[test]
fn store_removed_under_its_writer_is_rewritten_completely() {
    let dir = tempfile::tempdir().unwrap();
    let state_dir = dir.path().join("state");
    let path = state_dir.join("state.redb");
    let mut store = LastGoodStore::new(StateFile::new(&state_dir));
    store.commit(&changes(records())).unwrap();
    let more = Record::Claim("192.0.2.9:5432/tcp".parse().unwrap(), None);
    for round in 0..3 {
        match round {
            0 => fs::remove_file(&path).unwrap(),
            1 => fs::remove_dir_all(&state_dir).unwrap(),
            _ => {
                fs::rename(&path, state_dir.join("aside")).unwrap();
                let mut other = LastGoodStore::new(StateFile::new(&state_dir));
                other.commit(&changes(vec![Record::Retired(id("c"), Tally::default())])).unwrap();
            }
        }
        store.commit(&changes(vec![more.clone()])).unwrap();
        let mut expected = [records(), vec![more.clone()]].concat();
        if round == 2 {
            expected.push(Record::Retired(id("c"), Tally::default()));
        }
        assert_eq!(sorted(LastGoodStore::new(StateFile::new(&state_dir)).load().unwrap()), sorted(expected));
    }
}
