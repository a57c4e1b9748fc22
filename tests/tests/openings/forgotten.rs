//! An operator's `forget`, and an old file that reappears after it.

use firewall_tests::lab::{Key, TestHost};

use crate::setup::{
    ALLOWED, Connections as _, E1, E2, GUARDED, RULE_FILE, STRANGER, removed, rules, rules_of, unfiltered,
};

const SIGNATURE: &str = "a.yaml.minisig";

#[test]
fn old_file_is_stale_after_forget() {
    replayed(|_| None);
}

#[test]
fn old_signed_file_is_stale_after_forget() {
    replayed(|host| {
        let key = Key::create(host.lab.dir(), "k").unwrap();
        host.change_config("guarded_ports", &format!("trusted_keys: [{}]\nguarded_ports", key.public));
        Some(key)
    });
}

fn replayed(trust: fn(&TestHost) -> Option<Key>) {
    let host = unfiltered("");
    let key = trust(&host);
    let push = |text: &str| {
        if let Some(key) = &key {
            host.write(SIGNATURE, key.sign(text).unwrap());
        }
        host.write(RULE_FILE, text);
    };
    let take_away = || {
        host.home.remove_rules(RULE_FILE).unwrap();
        let _ = host.home.remove_rules(SIGNATURE);
    };
    let old = rules(7, &[E1, E2], &[STRANGER, ALLOWED]).to_string();
    push(&old);
    host.run();
    host.until_applied("a", 7);
    host.lets_in(STRANGER, E1);
    push(&rules(8, &[E1, E2], &[ALLOWED]).to_string());
    host.until_applied("a", 8);
    host.sees(&[E1, E2], &[]);
    push(&removed(9).to_string());
    host.until_sees(&[], &[E1, E2]);
    take_away();
    host.until("the database has left", |status| status["databases"] == serde_json::json!([]));
    let forgotten = host.ask(&["forget", "a"]);
    assert_eq!(forgotten.code, Some(0), "{forgotten:?}");
    push(&old);
    is_stale(&host);
    host.kill();
    host.boot(0, &[], &[E1, E2]);
    is_stale(&host);
    // Control: the agent accepts a newer file.
    push(&rules(10, &[E1], &[ALLOWED]).to_string());
    host.until_applied("a", 10);
    host.sees(&[E1], &[E2]);
}

#[test]
fn rebase_after_forget_accepts_an_older_file() {
    let host = unfiltered("");
    host.push(&rules(7, &[E1, E2], &[ALLOWED]));
    host.run();
    host.until_applied("a", 7);
    host.home.remove_rules(RULE_FILE).unwrap();
    let done = |command: &[&str]| {
        let done = host.ask(command);
        assert_eq!(done.code, Some(0), "{done:?}");
    };
    done(&["forget", "a"]);
    host.push(&rules(3, &[E1], &[ALLOWED]));
    is_stale(&host);
    host.home.remove_rules(RULE_FILE).unwrap();
    done(&["rebase", "a"]);
    done(&["rebase", "a"]);
    host.push(&rules(3, &[E1], &[ALLOWED]));
    host.until_applied("a", 3);
    host.sees(&[E1], &[E2]);
}

fn is_stale(host: &TestHost) {
    host.until("it is stale", |status| status["rejected_files"].to_string().contains("stale_revision"));
    host.sees(&[], &[E1, E2]);
}

#[test]
fn forget_works_beside_a_database_without_room() {
    let host = unfiltered("max_prefixes: 1\n");
    host.push(&rules(1, &[E1], &[ALLOWED]));
    host.run();
    host.until_applied("a", 1);
    host.push(&rules_of("b", 1, &[E2], &[ALLOWED, STRANGER]));
    host.until("no room", |status| status["errors"].to_string().contains("database b: no room"));
    host.home.remove_rules(RULE_FILE).unwrap();
    let forgotten = host.ask(&["forget", "a", "--open"]);
    assert_eq!(forgotten.code, Some(0), "{forgotten:?}");
    host.lets_in(STRANGER, E1);
    host.refuses(STRANGER, E2);
}

#[test]
fn only_operator_opened_destinations_are_open_after_a_boot() {
    let host = unfiltered("");
    host.push(&rules(1, &[E1, GUARDED], &[ALLOWED]));
    host.push(&rules_of("b", 1, &[E2], &[ALLOWED]));
    host.run();
    host.until_applied("a", 1);
    host.until_applied("b", 1);
    host.push(&removed(2));
    host.until("a has left", |status| status["databases"].as_array().unwrap().len() == 1);
    host.sees(&[E2], &[E1]);
    host.home.remove_rules(RULE_FILE).unwrap();
    let opened = host.ask(&["forget", "a", "--open"]);
    assert_eq!(opened.code, Some(0), "{opened:?}");
    host.lets_in(STRANGER, E1);
    host.sees(&[E2], &[]);
    host.kill();
    host.reboot();
    let restored = host.ask(&["restore", "--wait", "2s"]);
    assert_eq!(restored.code, Some(0), "{restored:?}");
    for _ in 0..2 {
        host.lets_in(STRANGER, E1);
        host.sees(&[E2], &[]);
        host.run();
        host.stop();
    }
}
