//! A kernel that refuses the maps that would close a destination.

use std::time::Duration;

use firewall_tests::lab::eventually;

use crate::setup::{ALLOWED, Connections as _, E1, E2, STRANGER, rules, unfiltered};
use crate::strace::Injected;

#[test]
fn refused_close_is_retried_and_persists_over_boot() {
    let host = unfiltered("");
    host.push(&rules(1, &[E1, E2], &[ALLOWED]));
    host.run();
    let (mut revision, mut delayed) = (1, 0);
    for first in [1, 3, 6, 10, 15, 25] {
        for boots in [false, true] {
            host.push(&rules(revision, &[E1, E2], &[ALLOWED]));
            host.until_applied("a", revision);
            host.sees(&[E1, E2], &[]);
            let before = host.logged("Cannot allocate memory");
            let refusing = Injected::into(host.pid(), "bpf", &format!("error=ENOMEM:when={first}+"));
            host.push(&rules(revision + 1, &[E2], &[ALLOWED]));
            let logged = || host.logged("Cannot allocate memory");
            let is_done = || (logged() > before || !host.connects(ALLOWED, E1)).then_some(());
            eventually(Duration::from_secs(10), "refused, or done", is_done).unwrap();
            host.refuses(STRANGER, E1);
            delayed += u32::from(host.connects(ALLOWED, E1));
            if boots {
                host.kill();
                drop(refusing);
                host.boot(0, &[E2], &[E1]);
            } else {
                drop(refusing);
                host.until_sees(&[E2], &[E1]);
            }
            revision += 2;
        }
    }
    assert!(delayed > 0, "the control: no refusal delayed the close");
}
