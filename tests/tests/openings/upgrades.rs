//! Upgrade to another map layout, and back, on a host with destinations that must stay closed.

use std::path::Path;

use firewall_tests::lab::{agent_binary, next_layout_binary};

use crate::stage::{ALLOWED, E1, E2, Stage, removed, rules};

/// A revision that drops destinations, and the destinations then open and closed.
type Case = (fn(u64) -> String, &'static [&'static str], &'static [&'static str]);

const CASES: [Case; 2] =
    [(|revision| rules(revision, &[E2], &[ALLOWED]), &[E2], &[E1]), (removed, &[], &[E1, E2])];

#[test]
fn a_closed_destination_stays_closed_over_layouts_and_boots() {
    let stage = with_both();
    stage.push(&rules(2, &[E2], &[ALLOWED]));
    stage.until_sees(&[E2], &[E1]);
    for program in [next_layout_binary().unwrap(), agent_binary().unwrap()] {
        upgrade(&stage, &program);
        stage.beside_strangers(|| stage.run());
        stage.until_applied("a", 2);
        stage.sees(&[E2], &[E1]);
        stage.stop();
        stage.boot(0, &[E2], &[E1]);
    }
}

#[test]
fn a_destination_that_leaves_while_the_agent_is_stopped_for_an_upgrade_is_closed() {
    let programs = [next_layout_binary().unwrap(), agent_binary().unwrap()];
    let stage = with_both();
    let mut revision = 2;
    for program in &programs {
        for boots in [false, true] {
            for (after, open, closed) in CASES {
                upgrade(&stage, program);
                stage.push(&after(revision));
                if boots {
                    stage.boot(0, open, closed);
                } else {
                    stage.beside_strangers(|| stage.run());
                    stage.until_sees(open, closed);
                }
                stage.stop();
                // A second boot with the same build.
                stage.boot(0, open, closed);
                stage.push(&rules(revision + 1, &[E1, E2], &[ALLOWED]));
                stage.until_applied("a", revision + 1);
                stage.sees(&[E1, E2], &[]);
                // The next round starts with the other layout in the kernel.
                upgrade(&stage, if *program == programs[0] { &programs[1] } else { &programs[0] });
                stage.run();
                stage.until_applied("a", revision + 1);
                revision += 2;
            }
        }
    }
}

#[test]
fn a_revision_without_room_holds_up_no_upgrade() {
    let stage = Stage::new("max_prefixes: 2\n");
    stage.push(&rules(1, &[E1, E2], &[ALLOWED]));
    stage.run();
    stage.until_applied("a", 1);
    stage.push(&rules(2, &[E2], &[ALLOWED, "10.77.0.4", "10.77.0.5"]));
    stage.until_sees(&[E2], &[E1]);
    for program in [next_layout_binary().unwrap(), agent_binary().unwrap()] {
        upgrade(&stage, &program);
        stage.beside_strangers(|| stage.run());
        stage.sees(&[E2], &[E1]);
        let errors = stage.status()["errors"].to_string();
        assert!(errors.contains("database a: no room for 3 prefixes"), "{errors}");
        stage.stop();
        stage.boot(6, &[E2], &[E1]);
    }
}

/// Stops the agent and replaces its binary.
fn upgrade(stage: &Stage, program: &Path) {
    stage.stop();
    stage.home.install(program).unwrap();
}

fn with_both() -> Stage {
    let stage = Stage::new("");
    stage.push(&rules(1, &[E1, E2], &[ALLOWED]));
    stage.run();
    stage.until_applied("a", 1);
    stage.sees(&[E1, E2], &[]);
    stage
}
