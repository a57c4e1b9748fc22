//! A block takes effect before its command returns, under a steady stream, and through kill, upgrade and reboot.

use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use firewall_tests::lab::{agent_binary, next_layout_binary};

use crate::boots::reboot;
use crate::setup::{ALLOWED, DATABASE, PORT, SERVERS, hosts};

/// Silence after which no datagram is in flight.
const GRACE: Duration = Duration::from_millis(300);
/// Interval of the datagrams.
const PAUSE: Duration = Duration::from_micros(50);

/// More datagrams than a socket holds.
const QUEUED: usize = 100_000;

/// Returns the number of the last datagram that arrives, once none does any more; `None` without any.
fn last_arrival(target: &UdpSocket, most: usize) -> Option<u64> {
    let mut number = [0; 8];
    let arrivals = std::iter::from_fn(|| {
        let length = target.recv(&mut number).ok()?;
        (length == 8).then(|| u64::from_be_bytes(number))
    });
    arrivals.take(most).max()
}

#[test]
fn no_datagram_of_a_blocked_source_arrives_after_the_answer() {
    let host = hosts();
    host.start();
    host.until_revision(DATABASE, 1);
    let target = host.db.udp((SERVERS[0], PORT)).unwrap();
    target.set_read_timeout(Some(GRACE)).unwrap();
    let source = host.outside.udp((ALLOWED[0], 0)).unwrap();
    source.connect((SERVERS[0], PORT)).unwrap();
    let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let sender = {
        let (stop, sent) = (Arc::clone(&stop), Arc::clone(&sent));
        thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                let number = sent.fetch_add(1, Ordering::SeqCst) + 1;
                // A full queue drops it.
                let _ = source.send(&number.to_be_bytes());
                thread::sleep(PAUSE);
            }
        })
    };
    assert!(last_arrival(&target, 100).is_some(), "control: allowed");
    let block = host.ask(&["block", ALLOWED[0], "--for", "1h"]);
    // One may be numbered and not sent yet.
    let answered = sent.load(Ordering::SeqCst) + 1;
    assert_eq!(block.code, Some(0), "{block:?}");
    let last = last_arrival(&target, usize::MAX).unwrap_or(0);
    assert!(last <= answered, "{last} arrived, {answered} was sent before the answer");
    host.kill();
    assert_eq!(last_arrival(&target, usize::MAX), None, "without an agent");
    host.start();
    assert_eq!(last_arrival(&target, usize::MAX), None, "after the restart");
    for program in [next_layout_binary().unwrap(), agent_binary().unwrap()] {
        host.kill();
        host.home.install(&program).unwrap();
        host.start();
        host.until("the layout is migrated", |status| status["ready"] == true);
        assert_eq!(last_arrival(&target, usize::MAX), None, "after the change of layout");
    }
    host.kill();
    reboot(&host);
    assert!(last_arrival(&target, 100).is_some(), "control: nothing filters");
    host.start();
    host.until("it filters", |status| status["ready"] == true);
    // Those that arrived before.
    last_arrival(&target, QUEUED);
    assert_eq!(last_arrival(&target, usize::MAX), None, "after the reboot");
    let entry = host.json(&["overlay"])[0]["id"].as_str().unwrap().to_owned();
    assert_eq!(host.ask(&["overlay", "drop", &entry]).code, Some(0));
    assert!(last_arrival(&target, 100).is_some(), "control: allowed again");
    stop.store(true, Ordering::Relaxed);
    sender.join().unwrap();
}
