//! What was stored is given back as it was, or not at all, whatever becomes of its bytes on the disk.

#![no_main]

use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use firewall_agent::files::store::{Entry, Store};
use firewall_agent::rules::DatabaseId;
use libfuzzer_sys::fuzz_target;
use tempfile::TempDir;

static DIR: LazyLock<TempDir> = LazyLock::new(|| {
    let memory = Path::new("/dev/shm");
    let made = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    made.expect("a directory for the store")
});

// Input: where to damage, with what, how much to cut; then the content.
fuzz_target!(|input: (u16, u8, u8, &[u8])| {
    let (at, flip, cut, content) = input;
    let store = Store::open(DIR.path()).expect("a store");
    let id: DatabaseId = "orders".parse().expect("an id");
    store.save(&Entry::Database(&id), content).expect("stored");
    assert_eq!(store.load().databases.get(&id).map(Vec::as_slice), Some(content));
    let path = DIR.path().join("last-good/database-orders");
    let whole = fs::read(&path).expect("the stored file");
    let mut damaged = whole.clone();
    let at = usize::from(at) % damaged.len();
    damaged[at] ^= flip;
    damaged.truncate(damaged.len() - usize::from(cut).min(damaged.len()));
    fs::write(&path, &damaged).expect("damaged");
    let loaded = store.load();
    match loaded.databases.get(&id) {
        Some(back) => assert!(damaged == whole && back == content),
        None => assert!(damaged != whole && loaded.problems.len() == 1),
    }
    // Bytes that no agent wrote.
    fs::write(&path, content).expect("written");
    assert!(store.load().databases.is_empty());
});
