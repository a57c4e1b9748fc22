//! Completion in real shells: ids and names of this host's databases, and ids of its ranges.

use std::fs;
use std::time::{Duration, Instant};

use firewall_tests::lab::{Answer, RangesFile, RuleFile, TestHost, User};
use serde_json::Value;

use crate::setup::{GONE, ORDERS, WATCHED, WIDE, alone, populated};

/// The id of a database, and its name, which is full of characters that shells interpret.
const TRICKY: (&str, &str) = ("tricky", r#"it's $(touch forged) `touch forged` & "a": b\c!d; e"#);

fn host() -> TestHost {
    let host = populated();
    let name = TRICKY.1.replace('\'', "''");
    let file = RuleFile::new(TRICKY.0, 1).field(&format!("name: '{name}'")).endpoint("192.0.2.10:30500");
    host.push(&file);
    host.until_revision(TRICKY.0, 1);
    fs::create_dir(host.dir().join("zsh")).unwrap();
    for (shell, path) in [("bash", "bash.sh"), ("zsh", "zsh/_firewall-agent"), ("fish", "fish.fish")] {
        fs::write(host.dir().join(path), alone(&["completions", shell]).out).unwrap();
    }
    host
}

/// The typed beginning of a command, and the ids of the databases or ranges, or the kinds of events, in its JSON after
/// its completion.
const TYPED: &[(&str, &str, &str)] = &[
    ("rules Ord\t", "database_id", ORDERS),
    ("rules wi\t", "database_id", WIDE),
    ("rules it\t", "database_id", TRICKY.0),
    ("rules it\\'s\\ \t", "database_id", TRICKY.0),
    ("rules \"it\t", "database_id", TRICKY.0),
    ("rul\t--abs\ttr\t", "database_id", TRICKY.0),
    ("ranges man-\t", "range_id", "man-example"),
    ("events --kind rej\t", "event", "rejected"),
];

/// Types each command into the shell; returns the JSON that each printed, empty without a completion.
fn type_commands(host: &TestHost, shell: &str, setup: &str, commands: &[&str]) -> Vec<String> {
    let answer = |at| host.dir().join(format!("answer-{at}"));
    let typed = commands.iter().enumerate().map(|(at, command)| {
        format!("firewall-agent --config config.yaml {command} -o json >{}\n", answer(at).display())
    });
    let first = format!("{setup}\n");
    let lines: Vec<String> = [first].into_iter().chain(typed).chain(["exit\n".to_owned()]).collect();
    let shown = host.home.type_into(User::Root, shell, &lines).unwrap();
    let read = |at| {
        let shown = String::from_utf8_lossy(&shown);
        fs::read_to_string(answer(at)).unwrap_or_else(|error| panic!("{shell}: {at}: {error}: {shown}"))
    };
    (0..commands.len()).map(read).collect()
}

fn completes_typed_commands(shell: &str, setup: &str) {
    let host = host();
    let commands: Vec<&str> = TYPED.iter().map(|(typed, ..)| *typed).collect();
    let answers = type_commands(&host, shell, setup, &commands);
    for ((typed, field, expected), answer) in TYPED.iter().zip(answers) {
        let answer: Value = serde_json::from_str(&answer).unwrap_or_else(|_| panic!("{typed}: {answer:?}"));
        let rows = answer.as_array().unwrap();
        assert!(!rows.is_empty() && rows.iter().all(|row| row[field] == *expected), "{typed}: {answer}");
    }
    // The controls: without the key, and with an unknown database, nothing is completed.
    let answers = type_commands(&host, shell, setup, &["rules Ord", "rules nonesuch\t", "rules gon\t"]);
    assert_eq!(answers, ["", "", ""]);
    assert!(!host.dir().join("forged").exists(), "a name was run");
}

#[test]
fn bash_completes_names_and_ids() {
    completes_typed_commands("bash --norc --noprofile -i", ". ./bash.sh");
}

#[test]
fn zsh_completes_names_and_ids() {
    completes_typed_commands("zsh -f -i", "fpath=($PWD/zsh $fpath); autoload -U compinit; compinit -u -D");
}

#[test]
fn fish_offers_names_and_ids() {
    let host = host();
    let offered = |typed: &str| {
        let ask = format!("source fish.fish; complete -C \"firewall-agent --config config.yaml {typed}\"");
        let line = format!("fish -N -c '{ask}' >offered; exit\n");
        host.home.type_into(User::Root, "bash --norc --noprofile -i", &[line]).unwrap();
        fs::read_to_string(host.dir().join("offered")).unwrap()
    };
    assert_eq!(offered("rules Ord"), "Orders\torders\n");
    assert_eq!(offered("ranges man"), "man-example\n");
    assert_eq!(offered("rules nonesuch"), "");
}

/// Values that the program offers for the last word.
fn offered(host: &TestHost, user: User, words: &[&str]) -> Vec<String> {
    let config = host.home.config();
    let mut command = user.command(&host.db, host.dir().join("firewall-agent"));
    command.args(["completions", "fish", "--", "x", "--config"]).arg(config).args(words);
    let answer = Answer::of(&mut command).unwrap();
    assert_eq!((answer.code, answer.err.as_str()), (Some(0), ""), "{answer:?}");
    answer.out.lines().map(|line| line.split('\t').next().unwrap().to_owned()).collect()
}

/// Blocks a source by an entry of the overlay, and another one by a blocked range.
fn block(host: &TestHost) {
    let path = host.dir().join("blocked.yaml");
    fs::write(&path, RangesFile::new(1).range("abuse", &["203.0.113.66/32"]).to_string()).unwrap();
    host.change_config("managed_ranges:", &format!("blocked_ranges: {}\nmanaged_ranges:", path.display()));
    host.stop();
    host.start();
    host.eventually("the range is blocked", || host.reason("203.0.113.66", "192.0.2.10:30092") == "blocked");
    assert_eq!(host.ask(&["block", "198.51.100.66", "--for", "1h"]).code, Some(0));
}

#[test]
fn every_argument_offers_the_values_that_its_command_takes() {
    let host = host();
    let live = ["Orders", TRICKY.1, ORDERS, TRICKY.0, WATCHED, WIDE];
    let with_store = ["Orders", TRICKY.1, GONE, ORDERS, TRICKY.0, WATCHED, WIDE];
    let root = |words: &[&str]| offered(&host, User::Root, words);
    for command in ["rules", "denied"] {
        assert_eq!(root(&[command, ""]), live, "{command}");
    }
    for command in [&["explain", "192.0.2.1"][..], &["events"], &["wait"], &["forget"], &["rebase"]] {
        assert_eq!(root(&[command, &[""]].concat()), with_store, "{command:?}");
    }
    assert_eq!(root(&["ranges", ""]), ["man-example"]);
    assert_eq!(root(&["events", "--kind", "s"]), ["started", "stopped"]);
    let without = [root(&["blocked", ""]), root(&["overlay", "drop", ""])].concat();
    assert!(without.iter().all(|value| value.starts_with('-')), "{without:?}");
    block(&host);
    assert_eq!(root(&["blocked", ""]), ["abuse"]);
    let entry = host.json(&["overlay"])[0]["id"].as_str().unwrap().to_owned();
    assert_eq!(root(&["overlay", "drop", ""]), [entry]);
    // The control: `rules` has no range, and `databases` no database.
    assert_eq!(root(&["rules", "man"]), [""; 0]);
    assert!(root(&["databases", ""]).iter().all(|value| value.starts_with('-')));
}

#[test]
fn completion_is_fast_and_silent_where_nothing_can_be_read() {
    let host = host();
    let powerless = User::Powerless(1000);
    assert_eq!(offered(&host, powerless, &["rules", "o"]), [""; 0]);
    // The control: its reason is the user.
    assert_eq!(offered(&host, User::Root, &["rules", "o"]), [ORDERS]);
    let elsewhere = ["rules", "--bpffs-dir", "/nonesuch", "--state-dir=/nonesuch", "o"];
    assert_eq!(offered(&host, User::Root, &elsewhere), [""; 0]);
    let took = |_| {
        let started = Instant::now();
        offered(&host, User::Root, &["events", "o"]);
        started.elapsed()
    };
    let fastest = (0..5).map(took).min().unwrap();
    assert!(fastest < Duration::from_millis(200), "{fastest:?}");
    // It needs no agent.
    host.stop();
    assert_eq!(offered(&host, User::Root, &["events", "o"]), [ORDERS]);
}
