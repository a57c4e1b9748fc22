//! A kernel that refuses the maps that would close a destination.

use std::time::Duration;

use firewall_tests::lab::eventually;

use crate::stage::{ALLOWED, E1, E2, STRANGER, Stage, rules};
use crate::strace::Injected;

#[test]
fn what_the_kernel_refused_to_close_is_closed_by_a_retry_and_after_a_boot() {
    let stage = Stage::new("");
    stage.push(&rules(1, &[E1, E2], &[ALLOWED]));
    stage.run();
    let (mut revision, mut held_up) = (1, 0);
    for first in [1, 3, 6, 10, 15, 25] {
        for boots in [false, true] {
            stage.push(&rules(revision, &[E1, E2], &[ALLOWED]));
            stage.until_applied("a", revision);
            stage.sees(&[E1, E2], &[]);
            let before = stage.logged("Cannot allocate memory");
            let refusing = Injected::into(stage.pid(), "bpf", &format!("error=ENOMEM:when={first}+"));
            stage.push(&rules(revision + 1, &[E2], &[ALLOWED]));
            let logged = || stage.logged("Cannot allocate memory");
            let is_done = || (logged() > before || !stage.gets_in(ALLOWED, E1)).then_some(());
            eventually(Duration::from_secs(10), "refused, or done", is_done).unwrap();
            stage.refuses(STRANGER, E1);
            held_up += u32::from(stage.gets_in(ALLOWED, E1));
            if boots {
                stage.kill();
                drop(refusing);
                stage.boot(0, &[E2], &[E1]);
            } else {
                drop(refusing);
                stage.until_sees(&[E2], &[E1]);
            }
            revision += 2;
        }
    }
    assert!(held_up > 0, "the control: no refusal held anything up");
}
