//! A port that is no longer guarded: claimed destinations on it stay closed.

use crate::stage::{ALLOWED, E1, E2, Stage, removed, rules};

const GUARD: (&str, &str) = ("guarded_ports: [5432]", "guarded_ports: [5432, 8080]");

#[test]
fn what_left_below_a_guard_is_closed_without_it() {
    for boots in [false, true] {
        for (leaves, open, closed) in
            [(rules(2, &[E2], &[ALLOWED]), [E2].as_slice(), [E1].as_slice()), (removed(2), &[], &[E1, E2])]
        {
            let stage = guarded();
            stage.push(&leaves);
            stage.until_sees(open, closed);
            stage.stop();
            stage.change_config(GUARD.1, GUARD.0);
            if boots {
                stage.boot(0, open, closed);
            } else {
                stage.beside_strangers(|| stage.run());
                stage.sees(open, closed);
            }
            stage.stop();
            stage.boot(0, open, closed);
        }
    }
}

/// Guard and endpoint are removed together while the agent is stopped.
#[test]
fn what_leaves_together_with_its_guard_is_closed() {
    for boots in [false, true] {
        let stage = guarded();
        stage.stop();
        stage.push(&rules(2, &[E2], &[ALLOWED]));
        stage.change_config(GUARD.1, GUARD.0);
        if !boots {
            stage.beside_strangers(|| stage.run());
            stage.sees(&[E2], &[E1]);
            stage.stop();
        }
        stage.boot(0, &[E2], &[E1]);
    }
}

/// Control: a destination that was never claimed is closed under the guard, and open without it.
#[test]
fn what_nobody_claimed_is_open_without_its_guard() {
    let stage = Stage::new("");
    stage.change_config(GUARD.0, GUARD.1);
    stage.push(&rules(1, &[E2], &[ALLOWED]));
    stage.run();
    stage.until_applied("a", 1);
    stage.sees(&[E2], &[E1]);
    stage.stop();
    stage.change_config(GUARD.1, GUARD.0);
    stage.run();
    stage.lets_in(crate::stage::STRANGER, E1);
    stage.sees(&[E2], &[]);
}

fn guarded() -> Stage {
    let stage = Stage::new("");
    stage.change_config(GUARD.0, GUARD.1);
    stage.push(&rules(1, &[E1, E2], &[ALLOWED]));
    stage.run();
    stage.until_applied("a", 1);
    stage.sees(&[E1, E2], &[]);
    stage
}
