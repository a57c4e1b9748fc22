//! A revision that drops a destination and whose rules do not fit.

use std::time::Duration;

use firewall_tests::lab::eventually;

use crate::stage::{ALLOWED, E1, E2, Stage, rules, rules_of};

/// Allowed by the previous revision alone, and by the new one alone.
const BEFORE: &str = "10.77.0.4";
const AFTER: &str = "10.77.0.5";

#[test]
fn a_revision_without_room_closes_what_it_drops() {
    for most in [100, 10] {
        let stage = with_room(most);
        stage.run();
        stage.until_applied("a", 1);
        stage.sees(&[E1, E2], &[]);
        stage.lets_in(BEFORE, E2);
        stage.push(&without_e1());
        stage.until_sees(&[E2], &[E1]);
        until_it_is(&stage, most);
        stage.stop();
        boots(&stage, most);
    }
}

#[test]
fn a_revision_without_room_that_came_while_the_agent_was_stopped_closes_what_it_drops() {
    for most in [100, 10] {
        for starts in [true, false] {
            let stage = with_room(most);
            stage.run();
            stage.until_applied("a", 1);
            stage.stop();
            stage.push(&without_e1());
            if starts {
                stage.beside_strangers(|| stage.run());
                stage.until_sees(&[E2], &[E1]);
                stage.stop();
            }
            boots(&stage, most);
        }
    }
}

/// Addresses in the place of a wildcard take no room.
#[test]
fn a_revision_without_room_keeps_every_address_of_a_wildcard_that_it_names() {
    let port = E1.split_once(':').unwrap().1;
    for endpoints in [1, 100] {
        let stage = Stage::new(&format!("max_prefixes: 10\nmax_endpoints: {endpoints}\n"));
        stage.push(&rules(1, &[port], &[ALLOWED]));
        stage.run();
        stage.until_applied("a", 1);
        stage.push(&rules(2, &[E1, E2], &sources()));
        stage.until("no room", |status| status["errors"].to_string().contains("no room"));
        stage.sees(&[E1, E2], &[]);
        stage.stop();
        for _ in 0..2 {
            stage.boot(6, &[E1, E2], &[]);
            stage.stop();
        }
    }
}

#[test]
fn a_revision_without_room_that_claims_again_what_the_one_before_dropped_cuts_nothing() {
    let stage = Stage::new("max_prefixes: 10\n");
    let port = E1.split_once(':').unwrap().1;
    stage.push(&rules(1, &[port], &[ALLOWED]));
    stage.run();
    stage.until_applied("a", 1);
    stage.push(&without_e1());
    stage.until_sees(&[E2], &[E1]);
    let mut more = sources();
    more.push("10.98.0.1");
    stage.push(&rules(3, &[E1, E2], &more));
    let said = format!("no room for {} prefixes", more.len());
    stage.until("revision 3", |status| status["errors"].to_string().contains(&said));
    stage.sees(&[E2], &[]);
}

#[test]
fn a_revision_without_room_that_has_the_number_of_the_one_before_leaves_it_for_a_boot() {
    let stage = with_room(10);
    stage.run();
    stage.until_applied("a", 1);
    let rebased = stage.home.ask(&["rebase", "a"]).unwrap();
    assert_eq!(rebased.code, Some(0), "{rebased:?}");
    stage.push(&without_e1().replace("revision: 2", "revision: 1"));
    stage.until_sees(&[E2], &[E1]);
    until_it_is(&stage, 10);
    stage.stop();
    boots(&stage, 10);
}

/// In force is what both refused revisions and the first one allow. A boot finds room for that, not for the first one.
#[test]
fn a_second_revision_without_room_leaves_to_a_boot_what_is_in_force() {
    let stage = Stage::new("max_prefixes: 10\n");
    let others: Vec<String> = (0..7).map(|number| format!("10.97.{number}.1")).collect();
    let first: Vec<&str> = [ALLOWED, BEFORE].into_iter().chain(others.iter().map(String::as_str)).collect();
    stage.push(&rules(1, &[E1], &first));
    stage.run();
    stage.until_applied("a", 1);
    let refuses = |revision, sources: &[&str]| {
        stage.push(&rules(revision, &[E1], sources));
        let said = format!("no room for {} prefixes", sources.len());
        stage.until("it is refused", |status| status["errors"].to_string().contains(&said));
    };
    refuses(2, &sources());
    let neighbour: Vec<&str> = first.iter().copied().filter(|one| *one != BEFORE).chain([AFTER]).collect();
    stage.home.write_rules("b.yaml", &rules_of("b", 1, &[E2], &neighbour)).unwrap();
    stage.until_applied("b", 1);
    let again: Vec<&str> =
        first.iter().copied().chain(["10.96.0.1", "10.96.0.2", "10.96.0.3", "10.96.0.4"]).collect();
    refuses(3, &again);
    stage.sees(&[E1, E2], &[]);
    stage.refuses(BEFORE, E1);
    stage.stop();
    for _ in 0..2 {
        stage.boot(6, &[E1, E2], &[]);
        stage.refuses(BEFORE, E1);
        stage.stop();
    }
    // The control: with room the last revision is in force.
    stage.change_config("max_prefixes: 10", "max_prefixes: 100");
    stage.run();
    stage.until_applied("a", 3);
    stage.lets_in(BEFORE, E1);
}

fn with_room(prefixes: u32) -> Stage {
    let stage = Stage::new(&format!("max_prefixes: {prefixes}\n"));
    stage.push(&rules(1, &[E1, E2], &[ALLOWED, BEFORE]));
    stage
}

fn without_e1() -> String {
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

fn boots(stage: &Stage, most: u32) {
    for _ in 0..2 {
        stage.boot(if most == 100 { 0 } else { 6 }, &[E2], &[E1]);
        until_it_is(stage, most);
        stage.stop();
    }
}

/// Control: a revision that fits is in force in full. Otherwise only sources that both revisions allow get in.
fn until_it_is(stage: &Stage, most: u32) {
    let has_room = most == 100;
    let is_so = || {
        let let_in = [BEFORE, AFTER].map(|source| stage.gets_in(source, E2));
        (let_in == [false, has_room]).then_some(())
    };
    eventually(Duration::from_secs(5), "who is let in", is_so).unwrap();
    let errors = stage.status()["errors"].to_string();
    assert_eq!(errors.contains("no room"), !has_room, "{errors}");
}
