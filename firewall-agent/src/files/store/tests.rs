use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::thread;

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use tempfile::TempDir;

use super::*;
use crate::rules::{DatabaseRules, Limits, read_database};

const RULES: &str = "\
schema_version: 1
database_id: db-1
revision: 42
generated_at: 2026-08-21T15:27:32Z
endpoints: [{type: rw, port: 30092}]
rules:
  - {id: fr-1, type: custom_range, cidr: 203.0.113.0/24}
...
";

fn id(id: &str) -> DatabaseId {
    id.parse().unwrap()
}

fn store() -> (TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    (dir, store)
}

/// Loads a store whose only problem is with one file, and gives that problem without the path.
fn only_problem(store: &Store, name: &str) -> (Loaded, String) {
    let mut loaded = store.load();
    assert_eq!(loaded.problems.len(), 1, "{loaded:?}");
    let problem = loaded.problems.remove(0);
    let path = format!("{}: ", store.dir.join(name).display());
    let problem = problem.strip_prefix(&path).unwrap_or_else(|| panic!("{problem}: does not name {path}"));
    (loaded, problem.to_owned())
}

#[test]
fn what_is_saved_is_loaded_until_it_is_replaced_or_removed() {
    let (dir, store) = store();
    assert_eq!(store.load(), Loaded::default());
    let (a, b, longest) = (id("a"), id("A"), id(&"x".repeat(64)));
    let content: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    for entry in [Entry::Database(&a), Entry::Database(&longest), Entry::Ranges, Entry::Ledger] {
        store.save(&entry, b"old").unwrap();
        store.save(&entry, &content).unwrap();
    }
    store.save(&Entry::Database(&b), b"").unwrap();
    let mut wanted = Loaded {
        databases: [(a, content.clone()), (b.clone(), Vec::new()), (longest, content.clone())].into(),
        ranges: Some(content.clone()),
        ledger: Some(content),
        problems: Vec::new(),
    };
    assert_eq!(Store::open(dir.path()).unwrap().load(), wanted);

    for entry in [Entry::Database(&b), Entry::Ranges] {
        store.remove(&entry).unwrap();
        store.remove(&entry).unwrap();
    }
    wanted.databases.remove(&b);
    wanted.ranges = None;
    assert_eq!(store.load(), wanted);
}

#[test]
fn only_the_owner_may_look_inside() {
    let (_dir, store) = store();
    store.save(&Entry::Ledger, b"x").unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&store.dir), mode(&store.path(&Entry::Ledger))), (0o700, 0o600));
}

#[test]
fn what_a_crash_left_half_written_is_removed() {
    let (dir, store) = store();
    store.save(&Entry::Ranges, b"kept").unwrap();
    let left = store.dir.join(".firewall-agent-x1y2z3");
    fs::write(&left, b"firewall-agent last-good 1 rang").unwrap();
    assert_eq!(store.load().problems, [""; 0]);
    let reopened = Store::open(dir.path()).unwrap();
    assert!(!left.exists());
    assert_eq!(reopened.load().ranges.as_deref(), Some(&b"kept"[..]));
}

/// What a file of [`RULES`], damaged to `stored`, would mean without its checksum.
fn rules_without_checksum(stored: &[u8]) -> Option<DatabaseRules> {
    let content = &stored[stored.iter().position(|byte| *byte == b'\n')? + 1..];
    let limits = Limits { max_rules: 30, allow_monitor: false, node_name: None };
    read_database(content, &limits).ok().map(|checked| checked.value)
}

#[test]
fn every_truncation_and_every_flipped_bit_is_refused_and_nothing_else() {
    let (_dir, store) = store();
    let (entry, other) = (id("db-1"), id("db-2"));
    store.save(&Entry::Database(&entry), RULES.as_bytes()).unwrap();
    store.save(&Entry::Database(&other), b"other").unwrap();
    let path = store.path(&Entry::Database(&entry));
    let good = fs::read(&path).unwrap();
    let rules = rules_without_checksum(&good).unwrap();

    let truncated = (0..good.len()).map(|length| good[..length].to_vec());
    let flipped = (0..good.len() * 8).map(|bit| {
        let mut bad = good.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        bad
    });
    let grown = (0..=u8::MAX).map(|byte| [&good[..], &[byte]].concat());
    let mut other_rules = 0;
    for bad in truncated.chain(flipped).chain(grown) {
        fs::write(&path, &bad).unwrap();
        let (loaded, problem) = only_problem(&store, "database-db-1");
        assert_eq!(loaded.databases, [(other.clone(), b"other".to_vec())].into(), "{problem}");
        other_rules += usize::from(rules_without_checksum(&bad).is_some_and(|other| other != rules));
    }
    // The control: the content's own shape does not show the damage.
    assert!(other_rules > 50, "{other_rules} damaged files read as other rules");

    fs::write(&path, good).unwrap();
    assert_eq!(store.load().problems, [""; 0]);
}

#[test]
fn a_file_that_is_not_its_entry_s_own_is_refused_with_its_reason() {
    let (_dir, store) = store();
    let (a, b) = (id("a"), id("b"));
    store.save(&Entry::Database(&a), RULES.as_bytes()).unwrap();
    store.save(&Entry::Ledger, b"ledger").unwrap();
    let file_of_a = store.path(&Entry::Database(&a));
    let stored = fs::read_to_string(&file_of_a).unwrap();
    let ledger = fs::read_to_string(store.path(&Entry::Ledger)).unwrap();
    let relabelled = stored.replacen("database a", "database b", 1);
    for (name, text, reason) in [
        ("database-b", stored.as_str(), r#"holds "database" "a" instead of "database" "b""#),
        ("database-b", &ledger, r#"holds "ledger" "-" instead of "database" "b""#),
        ("database-b", &relabelled, "damaged: the checksum is another"),
        ("database-b", RULES, "not a stored file of the agent: its first line is another"),
        ("database-b", "", "not a stored file of the agent: its first line is another"),
        ("database-b", &stored.replacen(" 1 ", " 2 ", 1), r#"format version "2": this agent reads "1""#),
        ("database-b", "firewall-agent last-good 2\nx", r#"format version "2": this agent reads "1""#),
        ("database-b", "firewall-agent last-good 1", "header is cut short"),
        ("database-b", "firewall-agent last-good 1 database b 0\n", "header is damaged"),
        ("ranges", &ledger, r#"holds "ledger" "-" instead of "ranges" "-""#),
        ("database-", &stored, "not of the agent"),
        ("database-a.yaml", &stored, "not of the agent"),
        ("a", &stored, "not of the agent"),
    ] {
        let path = store.dir.join(name);
        fs::write(&path, text).unwrap();
        let (loaded, problem) = only_problem(&store, name);
        assert_eq!(problem, reason, "{name}");
        assert_eq!(loaded.databases.keys().collect::<Vec<_>>(), [&a], "{name}");
        assert_eq!((loaded.ranges, loaded.ledger), (None, Some(b"ledger".to_vec())), "{name}");
        fs::remove_file(path).unwrap();
    }
    symlink(&file_of_a, store.path(&Entry::Database(&b))).unwrap();
    assert!(only_problem(&store, "database-b").1.starts_with("cannot be read: "));
    fs::remove_file(store.path(&Entry::Database(&b))).unwrap();
    fs::create_dir(store.path(&Entry::Ranges)).unwrap();
    assert_eq!(only_problem(&store, "ranges").1, "not a regular file");
}

#[test]
fn a_file_that_would_not_be_read_is_not_written() {
    let (_dir, store) = store();
    let error = store.save(&Entry::Ledger, &vec![0; MAX_STORED_BYTES]).unwrap_err().to_string();
    assert!(error.starts_with(&store.dir.join("ledger").display().to_string()), "{error}");
    File::create(store.path(&Entry::Ledger)).unwrap().set_len(MAX_STORED_BYTES as u64 + 1).unwrap();
    assert_eq!(only_problem(&store, "ledger").1, format!("more than {MAX_STORED_BYTES} bytes"));
}

#[test]
fn a_directory_that_cannot_be_written_is_an_error_that_names_the_path() {
    let (_dir, store) = store();
    fs::remove_dir(&store.dir).unwrap();
    let path = store.path(&Entry::Ranges).display().to_string();
    let error = format!("{:#}", store.save(&Entry::Ranges, b"x").unwrap_err());
    assert!(error.starts_with(&format!("{path}: cannot be written: ")), "{error}");
    store.remove(&Entry::Ranges).unwrap();
    let problems = store.load().problems;
    assert!(problems[0].starts_with(&format!("{}: cannot be listed: ", store.dir.display())), "{problems:?}");

    fs::write(&store.dir, b"a file").unwrap();
    let error = format!("{:#}", store.remove(&Entry::Ranges).unwrap_err());
    assert!(error.starts_with(&format!("{path}: cannot be removed: ")), "{error}");
    let error = format!("{:#}", Store::open(store.dir.parent().unwrap()).unwrap_err());
    assert!(error.starts_with(&format!("{}: cannot be listed: ", store.dir.display())), "{error}");
}

#[test]
fn on_a_full_disk_the_former_content_stays() {
    let dir = tempfile::tempdir().unwrap();
    let state_dir = dir.path().to_owned();
    // The namespace of mounts is this thread's own, and ends with it.
    let full_disk = move || {
        match unshare(CloneFlags::CLONE_NEWNS) {
            Err(Errno::EPERM) => return eprintln!("not shown: only root may mount a small disk"),
            unshared => unshared.unwrap(),
        }
        let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
        mount(None::<&str>, "/", None::<&str>, private, None::<&str>).unwrap();
        mount(Some("tmpfs"), &state_dir, Some("tmpfs"), MsFlags::empty(), Some("size=256k")).unwrap();

        let store = Store::open(&state_dir).unwrap();
        store.save(&Entry::Ranges, b"former").unwrap();
        let error = store.save(&Entry::Ranges, &vec![0; 1 << 20]).unwrap_err();
        let path = store.path(&Entry::Ranges);
        assert!(
            format!("{error:#}").starts_with(&format!("{}: cannot be written: ", path.display())),
            "{error:#}"
        );
        let source = error.chain().find_map(|cause| cause.downcast_ref::<io::Error>());
        assert_eq!(source.unwrap().kind(), ErrorKind::StorageFull, "{error:#}");
        let former = Loaded { ranges: Some(b"former".to_vec()), ..Loaded::default() };
        assert_eq!(store.load(), former);
        // What was written in vain takes no room.
        store.save(&Entry::Ledger, &vec![0; 200 << 10]).unwrap();
    };
    thread::spawn(full_disk).join().unwrap();
}
