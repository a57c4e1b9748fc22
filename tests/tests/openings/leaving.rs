//! A destination leaves its database while the agent is stopped, runs, or is killed; then the host boots.

use std::thread::sleep;
use std::time::Duration;

use firewall_tests::lab::RuleFile;

use crate::setup::{ALLOWED, Connections as _, E1, E2, RULE_FILE, STRANGER, removed, rules, unfiltered};

/// The previous revision, the revision that drops a destination, and the destinations then open and closed.
type Case = (fn(u64) -> RuleFile, fn(u64) -> RuleFile, &'static [&'static str], &'static [&'static str]);

const CASES: [Case; 3] = [
    (both, |revision| rules(revision, &[E2], &[ALLOWED]), &[E2], &[E1]),
    (both, removed, &[], &[E1, E2]),
    (
        |revision| rules(revision, &["8080"], &[ALLOWED]),
        |revision| rules(revision, &[E1], &[ALLOWED]),
        &[E1],
        &[E2],
    ),
];

fn both(revision: u64) -> RuleFile {
    rules(revision, &[E1, E2], &[ALLOWED])
}

#[test]
fn destination_removed_while_stopped_is_closed_after_boot() {
    for (before, after, open, closed) in CASES {
        let host = unfiltered("");
        host.push(&before(1));
        host.run();
        host.until_applied("a", 1);
        host.sees(&[E1, E2], &[]);
        host.stop();
        host.push(&after(2));
        host.boot(0, open, closed);
        // A second boot without changes.
        host.stop();
        host.boot(0, open, closed);
    }
}

#[test]
fn destination_removed_while_running_is_closed_after_boot() {
    for (before, after, open, closed) in CASES {
        let host = unfiltered("");
        host.push(&before(1));
        host.run();
        host.until_applied("a", 1);
        host.sees(&[E1, E2], &[]);
        host.push(&after(2));
        host.until_sees(open, closed);
        host.stop();
        host.boot(0, open, closed);
        host.stop();
    }
}

#[test]
fn destination_removed_during_a_kill_is_closed_after_boot() {
    for (before, after, open, closed) in CASES {
        let host = unfiltered("");
        host.push(&before(1));
        host.run();
        for (round, pause) in [0, 1, 3, 10, 30].into_iter().enumerate() {
            let revision = 2 * round as u64 + 1;
            host.push(&before(revision));
            host.until_applied("a", revision);
            host.sees(&[E1, E2], &[]);
            host.push(&after(revision + 1));
            sleep(Duration::from_millis(pause));
            host.kill();
            host.boot(0, open, closed);
        }
    }
}

/// The files are gone as well: the previous revision or the new one is in force, from the store.
#[test]
fn boot_without_rule_files_admits_no_unlisted_source() {
    for (before, after, ..) in CASES {
        let host = unfiltered("");
        for (round, pause) in [0, 5, 50].into_iter().enumerate() {
            let revision = 2 * round as u64 + 1;
            host.push(&before(revision));
            host.run();
            host.until_applied("a", revision);
            host.sees(&[E1, E2], &[]);
            host.push(&after(revision + 1));
            sleep(Duration::from_millis(pause));
            host.kill();
            host.home.remove_rules(RULE_FILE).unwrap();
            host.reboot();
            let restored = host.ask(&["restore", "--wait", "2s"]);
            assert_eq!(restored.code, Some(0), "{restored:?}");
            [E1, E2].iter().for_each(|to| host.refuses(STRANGER, to));
            host.beside_strangers(|| host.run());
            host.stop();
        }
    }
}
