//! Stored records load unchanged or not at all, for any damage to the bytes on disk.

#![no_main]

use std::fs;
use std::path::Path;
use std::sync::{Arc, LazyLock};

use firewall_agent::files::store::{LastGoodStore, StateFile};
use firewall_agent::sync::{Changes, Record, StoredFile};
use libfuzzer_sys::fuzz_target;
use tempfile::TempDir;

static DIR: LazyLock<TempDir> = LazyLock::new(|| {
    let memory = Path::new("/dev/shm");
    let made = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    made.expect("a directory for the store")
});

// Input: page and byte to damage, XOR mask, number of pages to cut; then the content.
fuzz_target!(|input: (u8, u16, u8, u8, &[u8])| {
    let (page, at, flip, cut, content) = input;
    let path = DIR.path().join("state.redb");
    let _ = fs::remove_file(&path);
    let file =
        StoredFile { path: "/rules.d/orders.yaml".into(), signature: None, content: Arc::from(content) };
    let record = Record::File("orders".parse().expect("an id"), file);
    let mut changes = Changes::default();
    changes.put(record.clone());
    let mut store = LastGoodStore::new(StateFile::new(DIR.path()));
    store.commit(&changes).expect("stored");
    drop(store);
    let load = || LastGoodStore::new(StateFile::new(DIR.path())).load();
    assert_eq!(load().expect("loaded"), std::slice::from_ref(&record));
    let mut damaged = fs::read(&path).expect("the stored file");
    let at = (usize::from(page) * 4096 + usize::from(at)) % damaged.len();
    damaged[at] ^= flip;
    damaged.truncate(damaged.len() - (usize::from(cut) * 4096).min(damaged.len()));
    fs::write(&path, &damaged).expect("damaged");
    match load() {
        // A damaged header leads back to the previous commit, which was empty.
        Ok(records) => assert!(records == [record] || records.is_empty(), "{records:?}"),
        Err(_) => assert!(flip != 0 || cut != 0, "nothing was damaged"),
    }
    // Bytes that no agent wrote.
    fs::write(&path, content).expect("written");
    assert!(content.is_empty() || load().is_err());
});
