use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicBool, AtomicU32};

use anyhow::bail;

use super::*;

/// A disk of two files, with a switch that makes it hang.
#[derive(Default)]
struct Disk {
    files: Mutex<BTreeMap<u8, Vec<u8>>>,
    done: Mutex<Vec<(u8, Option<Vec<u8>>)>>,
    hangs: AtomicBool,
    full: AtomicBool,
    tries: AtomicU32,
}

fn disk() -> (Arc<Disk>, Background<u8>) {
    let disk = Arc::new(Disk::default());
    let inner = Arc::clone(&disk);
    let work = move |key: &u8, content: Option<&[u8]>| {
        inner.tries.fetch_add(1, SeqCst);
        while inner.hangs.load(SeqCst) {
            thread::sleep(Duration::from_millis(1));
        }
        if inner.full.load(SeqCst) {
            bail!("full");
        }
        inner.done.lock().unwrap().push((*key, content.map(<[u8]>::to_vec)));
        match content {
            Some(content) => inner.files.lock().unwrap().insert(*key, content.to_vec()),
            None => inner.files.lock().unwrap().remove(key),
        };
        Ok(())
    };
    (disk, Background::new(work))
}

fn until_ended(background: &Background<u8>, key: u8) {
    let started = Instant::now();
    while !background.has_ended(&key) {
        assert!(started.elapsed() < Duration::from_secs(60));
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_disk_that_hangs_holds_up_nobody_and_gets_the_newest_content_when_it_goes_on() {
    let (disk, background) = disk();
    background.wait_up_to(Duration::from_secs(60));
    assert!(matches!(background.ask(1, Some(b"old")), Some(Ok(()))), "the control: a disk that is quick");
    background.wait_up_to(HASTE);
    disk.hangs.store(true, SeqCst);
    let started = Instant::now();
    for number in 0..2000 {
        assert!(background.ask(2, Some(format!("ledger {number}").as_bytes())).is_none());
        assert!(background.ask(1, Some(format!("rules {number}").as_bytes())).is_none());
    }
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    assert!(!background.has_ended(&1));
    disk.hangs.store(false, SeqCst);
    until_ended(&background, 1);
    until_ended(&background, 2);
    assert!(!background.has_ended(&1), "said once");
    assert_eq!(disk.files.lock().unwrap()[&1], b"rules 1999");
    assert_eq!(disk.files.lock().unwrap()[&2], b"ledger 1999");
    let done = disk.done.lock().unwrap();
    assert!(done.len() <= 5, "what was superseded is left out: {}", done.len());
    assert_eq!(done[done.len() - 2].0, 1, "in the order of their keys");
}

#[test]
fn a_disk_that_refuses_is_asked_again_by_the_next_call_only() {
    let (disk, background) = disk();
    background.wait_up_to(Duration::from_secs(60));
    disk.full.store(true, SeqCst);
    assert!(matches!(background.ask(1, Some(b"a")), Some(Err(_))));
    assert_eq!(disk.tries.load(SeqCst), 1);
    disk.full.store(false, SeqCst);
    assert!(matches!(background.ask(1, Some(b"a")), Some(Ok(()))));
    assert_eq!(disk.tries.load(SeqCst), 2);
}

#[test]
fn who_ends_leaves_nothing_undone_and_removes_last() {
    let (disk, background) = disk();
    disk.hangs.store(true, SeqCst);
    // The first round: whatever follows waits for it.
    while background.ask(9, Some(b"first")).is_none() && disk.tries.load(SeqCst) == 0 {}
    for (key, content) in [(1, None), (3, Some(&b"ledger"[..])), (2, Some(&b"rules"[..]))] {
        assert!(background.ask(key, content).is_none());
    }
    disk.hangs.store(false, SeqCst);
    drop(background);
    let keys: Vec<u8> = disk.done.lock().unwrap().iter().map(|(key, _)| *key).collect();
    assert_eq!(keys, [9, 2, 3, 1]);
}
