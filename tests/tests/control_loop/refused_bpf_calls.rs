//! A kernel that refuses the running daemon's bpf(2) calls.

use std::thread::sleep;
use std::time::{Duration, Instant};

use firewall_tests::lab::eventually;

use crate::setup::{IN_OFFICE, IN_SHOP, OFFICE, SHOP, builder, file};
use crate::strace::Injected;

#[test]
fn refused_revocation_is_reported_and_retried() {
    let host = builder().start();
    host.push(&file("a", 1, "192.0.2.1", &[OFFICE]));
    host.until_revision("a", 1);
    let (mut revision, mut delayed, mut reported) = (1, 0, 0);
    for first in [1, 5, 12, 20, 28, 36] {
        revision += 1;
        let refusing = Injected::into(host.pid(), "bpf", &format!("error=ENOMEM:when={first}+"));
        let (rule, new, old) =
            if revision % 2 == 0 { (SHOP, IN_SHOP, IN_OFFICE) } else { (OFFICE, IN_OFFICE, IN_SHOP) };
        host.push(&file("a", revision, "192.0.2.1", &[rule]));
        let started = Instant::now();
        while started.elapsed() < Duration::from_secs(2) {
            // The old rules or the new ones, complete. They may change between the two queries, once.
            let verdicts = [host.reason(old, "192.0.2.1:30092"), host.reason(new, "192.0.2.1:30092")];
            assert_ne!(verdicts, ["no_match", "no_match"], "from call {first}: no source is allowed");
            sleep(Duration::from_millis(50));
        }
        // Either the publish completed before the refusals began, or the agent reports that it failed.
        let log = host.log();
        let done = host.reason(old, "192.0.2.1:30092") == "no_match";
        delayed += u32::from(!done);
        assert!(
            done || log.contains("Cannot allocate memory"),
            "from call {first}: nothing is logged:\n{log}"
        );
        let late = log.matches("not in force within half the propagation window").count();
        assert!(done || late > reported, "from call {first}: the delay is not reported:\n{log}");
        reported = late;
        drop(refusing);
        let lands = || (host.reason(old, "192.0.2.1:30092") == "no_match").then_some(());
        eventually(Duration::from_secs(5), "the revocation lands", lands).unwrap();
        assert_eq!(host.reason(new, "192.0.2.1:30092"), "allowed", "from call {first}");
        host.until_state("a", "applied");
    }
    assert!(delayed > 0, "the control: no refusal delayed a publish");
}
