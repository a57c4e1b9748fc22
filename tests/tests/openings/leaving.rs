//! A destination leaves its database while the agent is stopped, runs, or is killed; then the host boots.

use std::thread::sleep;
use std::time::Duration;

use crate::stage::{ALLOWED, E1, E2, RULE_FILE, STRANGER, Stage, removed, rules};

/// The previous revision, the revision that drops a destination, and the destinations then open and closed.
type Case = (fn(u64) -> String, fn(u64) -> String, &'static [&'static str], &'static [&'static str]);

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

fn both(revision: u64) -> String {
    rules(revision, &[E1, E2], &[ALLOWED])
}

#[test]
fn a_destination_that_leaves_while_the_agent_is_stopped_is_closed_after_a_boot() {
    for (before, after, open, closed) in CASES {
        let stage = Stage::new("");
        stage.push(&before(1));
        stage.run();
        stage.until_applied("a", 1);
        stage.sees(&[E1, E2], &[]);
        stage.stop();
        stage.push(&after(2));
        stage.boot(0, open, closed);
        // A second boot without changes.
        stage.stop();
        stage.boot(0, open, closed);
    }
}

#[test]
fn a_destination_that_leaves_while_the_agent_runs_is_closed_after_a_boot() {
    for (before, after, open, closed) in CASES {
        let stage = Stage::new("");
        stage.push(&before(1));
        stage.run();
        stage.until_applied("a", 1);
        stage.sees(&[E1, E2], &[]);
        stage.push(&after(2));
        stage.until_sees(open, closed);
        stage.stop();
        stage.boot(0, open, closed);
        stage.stop();
    }
}

#[test]
fn a_destination_that_leaves_as_the_agent_is_killed_is_closed_after_a_boot() {
    for (before, after, open, closed) in CASES {
        let stage = Stage::new("");
        stage.push(&before(1));
        stage.run();
        for (round, pause) in [0, 1, 3, 10, 30].into_iter().enumerate() {
            let revision = 2 * round as u64 + 1;
            stage.push(&before(revision));
            stage.until_applied("a", revision);
            stage.sees(&[E1, E2], &[]);
            stage.push(&after(revision + 1));
            sleep(Duration::from_millis(pause));
            stage.kill();
            stage.boot(0, open, closed);
        }
    }
}

/// The files are gone as well: the previous revision or the new one is in force, from the store.
#[test]
fn a_boot_without_the_rule_files_lets_no_stranger_in() {
    for (before, after, ..) in CASES {
        let stage = Stage::new("");
        for (round, pause) in [0, 5, 50].into_iter().enumerate() {
            let revision = 2 * round as u64 + 1;
            stage.push(&before(revision));
            stage.run();
            stage.until_applied("a", revision);
            stage.sees(&[E1, E2], &[]);
            stage.push(&after(revision + 1));
            sleep(Duration::from_millis(pause));
            stage.kill();
            stage.home.remove_rules(RULE_FILE).unwrap();
            stage.reboot();
            let restored = stage.home.ask(&["restore", "--wait", "2s"]).unwrap();
            assert_eq!(restored.code, Some(0), "{restored:?}");
            [E1, E2].iter().for_each(|to| stage.refuses(STRANGER, to));
            stage.beside_strangers(|| stage.run());
            stage.stop();
        }
    }
}
