//! Published maps are immutable, even for the agent.

use std::io;

use crate::LoadedPrograms;
use crate::raw::{Map, ROOM, trie_key};
use crate::rule_sets::Set;

#[test]
fn a_published_map_cannot_be_edited() {
    let loaded = LoadedPrograms::new();
    loaded.publish(Set::First, false, 1);
    for (dir, start) in [("sources", "v4-0-"), ("sources", "v6-0-"), ("endpoints", "table-")] {
        let mut pins = loaded.pins(dir);
        pins.retain(|pin| pin.file_name().unwrap().to_string_lossy().starts_with(start));
        assert!(!pins.is_empty(), "{dir}: nothing is named {start}");
        for pin in pins {
            let map = Map::pinned(&pin);
            for (edit, result) in edits(&map) {
                let refusal = result.unwrap_err().raw_os_error();
                assert_eq!(refusal, Some(libc::EPERM), "{}: {edit}", pin.display());
            }
            assert!(map.look_up(&map.next_key(None).unwrap()).is_ok(), "{}: still read", pin.display());
        }
    }
}

/// Control: the kernel accepts the same edits of a map that is not frozen.
#[test]
fn a_map_that_was_never_published_can_be_edited() {
    let trie = Map::trie(16);
    trie.insert(&trie_key("203.0.113.0/24".parse().unwrap()), &[0; ROOM]).unwrap();
    for (edit, result) in edits(&trie) {
        result.unwrap_or_else(|error| panic!("{edit}: {error}"));
    }
}

/// Returns every kind of edit of a non-empty map.
fn edits(map: &Map) -> [(&'static str, io::Result<()>); 3] {
    let there = map.next_key(None).unwrap();
    let value = map.look_up(&there).unwrap();
    let mut other = there;
    // The first byte of the address in each of these keys.
    other[4] ^= 0x80;
    [
        ("insert", map.insert(&other, &value)),
        ("replace", map.insert(&there, &value)),
        ("remove", map.remove(&there)),
    ]
}
