//! A port that is no longer guarded: claimed destinations on it stay closed.

use firewall_tests::lab::TestHost;

use crate::setup::{ALLOWED, Connections as _, E1, E2, removed, rules, unfiltered};

const GUARD: (&str, &str) = ("guarded_ports: [5432]", "guarded_ports: [5432, 8080]");

#[test]
fn destination_removed_under_a_guard_stays_closed_without_it() {
    for boots in [false, true] {
        for (leaves, open, closed) in
            [(rules(2, &[E2], &[ALLOWED]), [E2].as_slice(), [E1].as_slice()), (removed(2), &[], &[E1, E2])]
        {
            let host = guarded();
            host.push(&leaves);
            host.until_sees(open, closed);
            host.stop();
            host.change_config(GUARD.1, GUARD.0);
            if boots {
                host.boot(0, open, closed);
            } else {
                host.beside_strangers(|| host.run());
                host.sees(open, closed);
            }
            host.stop();
            host.boot(0, open, closed);
        }
    }
}

/// Guard and endpoint are removed together while the agent is stopped.
#[test]
fn destination_removed_together_with_its_guard_is_closed() {
    for boots in [false, true] {
        let host = guarded();
        host.stop();
        host.push(&rules(2, &[E2], &[ALLOWED]));
        host.change_config(GUARD.1, GUARD.0);
        if !boots {
            host.beside_strangers(|| host.run());
            host.sees(&[E2], &[E1]);
            host.stop();
        }
        host.boot(0, &[E2], &[E1]);
    }
}

/// Control: a destination that was never claimed is closed under the guard, and open without it.
#[test]
fn unclaimed_port_is_open_without_its_guard() {
    let host = unfiltered("");
    host.change_config(GUARD.0, GUARD.1);
    host.push(&rules(1, &[E2], &[ALLOWED]));
    host.run();
    host.until_applied("a", 1);
    host.sees(&[E2], &[E1]);
    host.stop();
    host.change_config(GUARD.1, GUARD.0);
    host.run();
    host.lets_in(crate::setup::STRANGER, E1);
    host.sees(&[E2], &[]);
}

fn guarded() -> TestHost {
    let host = unfiltered("");
    host.change_config(GUARD.0, GUARD.1);
    host.push(&rules(1, &[E1, E2], &[ALLOWED]));
    host.run();
    host.until_applied("a", 1);
    host.sees(&[E1, E2], &[]);
    host
}
