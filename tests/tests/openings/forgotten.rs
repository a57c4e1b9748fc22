//! An operator's `forget`, and an old file that reappears after it.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::stage::{ALLOWED, E1, E2, GUARDED, RULE_FILE, STRANGER, Stage, removed, rules, rules_of};

const SIGNATURE: &str = "a.yaml.minisig";

#[test]
fn an_old_file_is_stale_after_forget() {
    replayed(|_| None);
}

#[test]
fn an_old_signed_file_is_stale_after_forget() {
    replayed(|stage| {
        let dir = stage.lab.dir().to_owned();
        minisign(&dir, &["-G", "-W", "-p", "k.pub", "-s", "k.sec"]);
        let public = fs::read_to_string(dir.join("k.pub")).unwrap();
        let public = public.lines().last().unwrap().to_owned();
        stage.change_config("guarded_ports", &format!("trusted_keys: [{public}]\nguarded_ports"));
        Some(Box::new(move |text| {
            fs::write(dir.join("message"), text).unwrap();
            minisign(&dir, &["-S", "-W", "-s", "k.sec", "-m", "message"]);
            fs::read_to_string(dir.join("message.minisig")).unwrap()
        }))
    });
}

type Sign = Box<dyn Fn(&str) -> String>;

fn replayed(sign: fn(&Stage) -> Option<Sign>) {
    let stage = Stage::new("");
    let sign = sign(&stage);
    let push = |text: &str| {
        if let Some(sign) = &sign {
            stage.home.write_rules(SIGNATURE, &sign(text)).unwrap();
        }
        stage.push(text);
    };
    let take_away = || {
        stage.home.remove_rules(RULE_FILE).unwrap();
        let _ = stage.home.remove_rules(SIGNATURE);
    };
    let old = rules(7, &[E1, E2], &[STRANGER, ALLOWED]);
    push(&old);
    stage.run();
    stage.until_applied("a", 7);
    stage.lets_in(STRANGER, E1);
    push(&rules(8, &[E1, E2], &[ALLOWED]));
    stage.until_applied("a", 8);
    stage.sees(&[E1, E2], &[]);
    push(&removed(9));
    stage.until_sees(&[], &[E1, E2]);
    take_away();
    stage.until("the database has left", |status| status["databases"] == serde_json::json!([]));
    let forgotten = stage.home.ask(&["forget", "a"]).unwrap();
    assert_eq!(forgotten.code, Some(0), "{forgotten:?}");
    push(&old);
    is_stale(&stage);
    stage.kill();
    stage.boot(0, &[], &[E1, E2]);
    is_stale(&stage);
    // Control: the agent accepts a newer file.
    push(&rules(10, &[E1], &[ALLOWED]));
    stage.until_applied("a", 10);
    stage.sees(&[E1], &[E2]);
}

fn is_stale(stage: &Stage) {
    stage.until("it is stale", |status| status["rejected_files"].to_string().contains("stale_revision"));
    stage.sees(&[], &[E1, E2]);
}

#[test]
fn a_database_is_forgotten_beside_another_that_has_no_room() {
    let stage = Stage::new("max_prefixes: 1\n");
    stage.push(&rules(1, &[E1], &[ALLOWED]));
    stage.run();
    stage.until_applied("a", 1);
    stage.home.write_rules("b.yaml", &rules_of("b", 1, &[E2], &[ALLOWED, STRANGER])).unwrap();
    stage.until("no room", |status| status["errors"].to_string().contains("database b: no room"));
    stage.home.remove_rules(RULE_FILE).unwrap();
    let forgotten = stage.home.ask(&["forget", "a", "--open"]).unwrap();
    assert_eq!(forgotten.code, Some(0), "{forgotten:?}");
    stage.lets_in(STRANGER, E1);
    stage.refuses(STRANGER, E2);
}

#[test]
fn what_an_operator_opens_is_open_after_a_boot_and_nothing_else() {
    let stage = Stage::new("");
    stage.push(&rules(1, &[E1, GUARDED], &[ALLOWED]));
    stage
        .home
        .write_rules("b.yaml", &rules(1, &[E2], &[ALLOWED]).replace("database_id: a", "database_id: b"))
        .unwrap();
    stage.run();
    stage.until_applied("a", 1);
    stage.until_applied("b", 1);
    stage.push(&removed(2));
    stage.until("a has left", |status| status["databases"].as_array().unwrap().len() == 1);
    stage.sees(&[E2], &[E1]);
    stage.home.remove_rules(RULE_FILE).unwrap();
    let opened = stage.home.ask(&["forget", "a", "--open"]).unwrap();
    assert_eq!(opened.code, Some(0), "{opened:?}");
    stage.lets_in(STRANGER, E1);
    stage.sees(&[E2], &[]);
    stage.kill();
    stage.reboot();
    let restored = stage.home.ask(&["restore", "--wait", "2s"]).unwrap();
    assert_eq!(restored.code, Some(0), "{restored:?}");
    for _ in 0..2 {
        stage.lets_in(STRANGER, E1);
        stage.sees(&[E2], &[]);
        stage.run();
        stage.stop();
    }
}

fn minisign(dir: &Path, arguments: &[&str]) {
    let out = Command::new("minisign").args(arguments).current_dir(dir).output().unwrap();
    assert!(out.status.success(), "minisign {arguments:?}: {out:?}");
}
