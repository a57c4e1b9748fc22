//! A revision that drops a destination and whose rules do not fit.

use std::time::Duration;

use firewall_tests::lab::{RuleFile, TestHost, eventually};

use crate::setup::{ALLOWED, Connections as _, E1, E2, RULE_FILE, rules, rules_of, unfiltered};

/// Allowed by the previous revision alone, and by the new one alone.
const BEFORE: &str = "10.77.0.4";
const AFTER: &str = "10.77.0.5";

#[test]
fn revision_without_room_closes_what_it_drops() {
    for most in [100, 10] {
        let host = with_room(most);
        host.run();
        host.until_applied("a", 1);
        host.sees(&[E1, E2], &[]);
        host.lets_in(BEFORE, E2);
        host.push(&without_e1());
        host.until_sees(&[E2], &[E1]);
        until_it_is(&host, most);
        host.stop();
        boots(&host, most);
    }
}

#[test]
fn revision_without_room_found_at_start_closes_what_it_drops() {
    for most in [100, 10] {
        for starts in [true, false] {
            let host = with_room(most);
            host.run();
            host.until_applied("a", 1);
            host.stop();
            host.push(&without_e1());
            if starts {
                host.beside_strangers(|| host.run());
                host.until_sees(&[E2], &[E1]);
                host.stop();
            }
            boots(&host, most);
        }
    }
}

/// Addresses that replace a wildcard take no room.
#[test]
fn revision_without_room_leaves_named_wildcard_addresses_open() {
    let port = E1.split_once(':').unwrap().1;
    for endpoints in [1, 100] {
        let host = unfiltered(&format!("max_prefixes: 10\nmax_endpoints: {endpoints}\n"));
        host.push(&rules(1, &[port], &[ALLOWED]));
        host.run();
        host.until_applied("a", 1);
        host.push(&rules(2, &[E1, E2], &sources()));
        host.until("no room", |status| status["errors"].to_string().contains("no room"));
        host.sees(&[E1, E2], &[]);
        host.stop();
        for _ in 0..2 {
            host.boot(6, &[E1, E2], &[]);
            host.stop();
        }
    }
}

#[test]
fn revision_without_room_that_reclaims_a_dropped_endpoint_cuts_nothing() {
    let host = unfiltered("max_prefixes: 10\n");
    let port = E1.split_once(':').unwrap().1;
    host.push(&rules(1, &[port], &[ALLOWED]));
    host.run();
    host.until_applied("a", 1);
    host.push(&without_e1());
    host.until_sees(&[E2], &[E1]);
    let mut more = sources();
    more.push("10.98.0.1");
    host.push(&rules(3, &[E1, E2], &more));
    let message = format!("no room for {} prefixes", more.len());
    host.until("revision 3", |status| status["errors"].to_string().contains(&message));
    host.sees(&[E2], &[]);
}

#[test]
fn rebased_revision_without_room_leaves_the_previous_one_for_boot() {
    let host = with_room(10);
    host.run();
    host.until_applied("a", 1);
    let rebased = host.ask(&["rebase", "a"]);
    assert_eq!(rebased.code, Some(0), "{rebased:?}");
    host.write(RULE_FILE, without_e1().replace("revision: 2", "revision: 1"));
    host.until_sees(&[E2], &[E1]);
    until_it_is(&host, 10);
    host.stop();
    boots(&host, 10);
}

/// In force is what both refused revisions and the first one allow. A boot finds room for that, not for the first one.
#[test]
fn second_revision_without_room_preserves_the_live_one_for_boot() {
    let host = unfiltered("max_prefixes: 10\n");
    let others: Vec<String> = (0..7).map(|number| format!("10.97.{number}.1")).collect();
    let first: Vec<&str> = [ALLOWED, BEFORE].into_iter().chain(others.iter().map(String::as_str)).collect();
    host.push(&rules(1, &[E1], &first));
    host.run();
    host.until_applied("a", 1);
    let refuses = |revision, sources: &[&str]| {
        host.push(&rules(revision, &[E1], sources));
        let message = format!("no room for {} prefixes", sources.len());
        host.until("it is refused", |status| status["errors"].to_string().contains(&message));
    };
    refuses(2, &sources());
    let neighbour: Vec<&str> = first.iter().copied().filter(|one| *one != BEFORE).chain([AFTER]).collect();
    host.push(&rules_of("b", 1, &[E2], &neighbour));
    host.until_applied("b", 1);
    let again: Vec<&str> =
        first.iter().copied().chain(["10.96.0.1", "10.96.0.2", "10.96.0.3", "10.96.0.4"]).collect();
    refuses(3, &again);
    host.sees(&[E1, E2], &[]);
    host.refuses(BEFORE, E1);
    host.stop();
    for _ in 0..2 {
        host.boot(6, &[E1, E2], &[]);
        host.refuses(BEFORE, E1);
        host.stop();
    }
    // The control: with room the last revision is in force.
    host.change_config("max_prefixes: 10", "max_prefixes: 100");
    host.run();
    host.until_applied("a", 3);
    host.lets_in(BEFORE, E1);
}

fn with_room(prefixes: u32) -> TestHost {
    let host = unfiltered(&format!("max_prefixes: {prefixes}\n"));
    host.push(&rules(1, &[E1, E2], &[ALLOWED, BEFORE]));
    host
}

fn without_e1() -> RuleFile {
    rules(2, &[E2], &sources())
}

/// More than there is room for.
fn sources() -> Vec<&'static str> {
    const MANY: [&str; 10] = [
        "10.99.0.1",
        "10.99.1.1",
        "10.99.2.1",
        "10.99.3.1",
        "10.99.4.1",
        "10.99.5.1",
        "10.99.6.1",
        "10.99.7.1",
        "10.99.8.1",
        "10.99.9.1",
    ];
    [ALLOWED, AFTER].into_iter().chain(MANY).collect()
}

fn boots(host: &TestHost, most: u32) {
    for _ in 0..2 {
        host.boot(if most == 100 { 0 } else { 6 }, &[E2], &[E1]);
        until_it_is(host, most);
        host.stop();
    }
}

/// Control: a revision that fits is in force in full. Otherwise only sources that both revisions allow get in.
fn until_it_is(host: &TestHost, most: u32) {
    let has_room = most == 100;
    let is_so = || {
        let let_in = [BEFORE, AFTER].map(|source| host.connects(source, E2));
        (let_in == [false, has_room]).then_some(())
    };
    eventually(Duration::from_secs(5), "who is let in", is_so).unwrap();
    let errors = host.status()["errors"].to_string();
    assert_eq!(errors.contains("no room"), !has_room, "{errors}");
}
