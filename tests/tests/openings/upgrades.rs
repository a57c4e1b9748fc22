//! Upgrade to another map layout, and back, on a host with destinations that must stay closed.

use std::path::Path;

use firewall_tests::lab::{RuleFile, TestHost, agent_binary, next_layout_binary};

use crate::setup::{ALLOWED, Connections as _, E1, E2, removed, rules, unfiltered};

/// A revision that drops destinations, and the destinations then open and closed.
type Case = (fn(u64) -> RuleFile, &'static [&'static str], &'static [&'static str]);

const CASES: [Case; 2] =
    [(|revision| rules(revision, &[E2], &[ALLOWED]), &[E2], &[E1]), (removed, &[], &[E1, E2])];

#[test]
fn closed_destination_stays_closed_over_layouts_and_boots() {
    let host = with_both();
    host.push(&rules(2, &[E2], &[ALLOWED]));
    host.until_sees(&[E2], &[E1]);
    for program in [next_layout_binary().unwrap(), agent_binary().unwrap()] {
        upgrade(&host, &program);
        host.beside_strangers(|| host.run());
        host.until_applied("a", 2);
        host.sees(&[E2], &[E1]);
        host.stop();
        host.boot(0, &[E2], &[E1]);
    }
}

#[test]
fn destination_removed_during_an_upgrade_is_closed() {
    let programs = [next_layout_binary().unwrap(), agent_binary().unwrap()];
    let host = with_both();
    let mut revision = 2;
    for program in &programs {
        for boots in [false, true] {
            for (after, open, closed) in CASES {
                upgrade(&host, program);
                host.push(&after(revision));
                if boots {
                    host.boot(0, open, closed);
                } else {
                    host.beside_strangers(|| host.run());
                    host.until_sees(open, closed);
                }
                host.stop();
                // A second boot with the same build.
                host.boot(0, open, closed);
                host.push(&rules(revision + 1, &[E1, E2], &[ALLOWED]));
                host.until_applied("a", revision + 1);
                host.sees(&[E1, E2], &[]);
                // The next round starts with the other layout in the kernel.
                upgrade(&host, if *program == programs[0] { &programs[1] } else { &programs[0] });
                host.run();
                host.until_applied("a", revision + 1);
                revision += 2;
            }
        }
    }
}

#[test]
fn revision_without_room_blocks_no_upgrade() {
    let host = unfiltered("max_prefixes: 2\n");
    host.push(&rules(1, &[E1, E2], &[ALLOWED]));
    host.run();
    host.until_applied("a", 1);
    host.push(&rules(2, &[E2], &[ALLOWED, "10.77.0.4", "10.77.0.5"]));
    host.until_sees(&[E2], &[E1]);
    for program in [next_layout_binary().unwrap(), agent_binary().unwrap()] {
        upgrade(&host, &program);
        host.beside_strangers(|| host.run());
        host.sees(&[E2], &[E1]);
        let errors = host.status()["errors"].to_string();
        assert!(errors.contains("database a: no room for 3 prefixes"), "{errors}");
        host.stop();
        host.boot(6, &[E2], &[E1]);
    }
}

/// Stops the agent and replaces its binary.
fn upgrade(host: &TestHost, program: &Path) {
    host.stop();
    host.home.install(program).unwrap();
}

fn with_both() -> TestHost {
    let host = unfiltered("");
    host.push(&rules(1, &[E1, E2], &[ALLOWED]));
    host.run();
    host.until_applied("a", 1);
    host.sees(&[E1, E2], &[]);
    host
}
