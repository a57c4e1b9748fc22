//! A port that is no longer guarded: claimed destinations on it stay closed.

use std::fs;
use std::net::SocketAddr;
use std::time::Duration;

use firewall_tests::lab::TestHost;
use socket2::{Domain, Socket, Type};

use crate::setup::{ALLOWED, Connections as _, E1, E2, removed, rules, unfiltered};

const GUARD: (&str, &str) = ("guarded_ports: [5432]", "guarded_ports: [5432, 8080]");
/// The same port and others, closed to new connections only.
const ANSWERED: &str = "guarded_ports: [5432, {ports: 8080-8090, new_connections_only: true}]";
/// A port of the range without a listener, and a server outside.
const CLIENT: &str = "10.77.0.1:8090";
const SERVER: &str = "10.77.0.2:9000";

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

/// Under the guard against every packet the destination needs no row. It gets one before the guard lets answers pass.
#[test]
fn destination_removed_under_a_guard_stays_closed_to_answers_where_they_pass() {
    let host = guarded();
    host.push(&rules(2, &[E2], &[ALLOWED]));
    host.until_sees(&[E2], &[E1]);
    host.stop();
    let admits_answers = |to: &str| host.json(&["explain", ALLOWED, to])[0]["new_connections_only"] == true;
    assert!(
        is_answered(&host) && !admits_answers("10.77.0.9:8080"),
        "the guard is against every packet, at 8080"
    );
    host.change_config(GUARD.1, ANSWERED);
    host.beside_strangers(|| host.run());
    host.sees(&[E2], &[E1]);
    let check = || assert!(is_answered(&host) && admits_answers("10.77.0.9:8080") && !admits_answers(E1));
    check();
    host.stop();
    host.boot(0, &[E2], &[E1]);
    check();
    host.stop();
    // And back.
    host.change_config(ANSWERED, "guarded_ports: [5432, 8080-8090]");
    host.beside_strangers(|| host.run());
    host.sees(&[E2], &[E1]);
    assert!(!is_answered(&host) && !admits_answers("10.77.0.9:8080"));
}

#[test]
fn failed_start_closes_new_connections_only_where_the_guard_says_so() {
    let host = unfiltered("");
    host.change_config(GUARD.0, ANSWERED);
    host.push(&rules(1, &[E1], &[ALLOWED]));
    fs::create_dir(host.state_dir().join("agent.lock")).unwrap();
    let failed = host.ask(&["restore"]);
    assert_eq!(failed.code, Some(1), "{failed:?}");
    let closed =
        "guarded ports [5432, {ports: 8080-8090, new_connections_only: true}] and 1 claimed destinations";
    assert!(failed.err.contains(closed), "{failed:?}");
    host.sees(&[], &[E1, E2]);
    assert!(is_answered(&host));
}

/// Returns whether a connection of the host, from a port of the range, is answered.
fn is_answered(host: &TestHost) -> bool {
    let address = |text: &str| text.parse::<SocketAddr>().unwrap().into();
    let _server = host.outside.listen(SERVER).unwrap();
    let client = {
        let _inside = host.db.enter().unwrap();
        Socket::new(Domain::IPV4, Type::STREAM, None).unwrap()
    };
    client.set_reuse_address(true).unwrap();
    client.bind(&address(CLIENT)).unwrap();
    // A reset leaves no TIME_WAIT.
    client.set_linger(Some(Duration::ZERO)).unwrap();
    client.connect_timeout(&address(SERVER), Duration::from_secs(2)).is_ok()
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
