//! `events`: the durable history, what is made from it, and `wait`.

use std::fs;
use std::io::Read as _;
use std::process::Stdio;
use std::time::{Duration, Instant};

use firewall_tests::lab::{INTERFACE, RuleFile, TestHost, User};
use serde_json::{Value, json};

use crate::setup::{GONE, ORDERS, RANGE, populated, ranges};

const ENDPOINT: &str = "192.0.2.10:5432";

fn file(revision: u64) -> RuleFile {
    RuleFile::new(ORDERS, revision).endpoint(ENDPOINT).allow("192.0.2.20/32")
}

/// The kinds of events in the history, with the revision where one has it.
fn kinds(host: &TestHost, arguments: &[&str]) -> Vec<String> {
    let events = host.json(&[&["events"], arguments].concat());
    let events = events.as_array().unwrap().iter();
    let kind = |one: &Value| match one["revision"].as_u64() {
        Some(revision) => format!("{} {revision}", one["event"].as_str().unwrap()),
        None => one["event"].as_str().unwrap().to_owned(),
    };
    events.map(kind).collect()
}

#[test]
fn history_of_a_database_survives_the_agent() {
    let host = TestHost::builder().rules(file(1)).start();
    host.until_revision(ORDERS, 1);
    host.push(&file(2));
    host.until_revision(ORDERS, 2);
    host.kill();
    host.start();
    host.push(&file(3).removed());
    host.until("orders has left", |status| status["databases"] == json!([]));
    let expected = ["accepted 1", "in_force 1", "accepted 2", "in_force 2", "accepted 3", "removed"];
    host.eventually("the history is written", || kinds(&host, &[ORDERS]) == expected);
    // The history needs no agent.
    host.stop();
    assert_eq!(kinds(&host, &[ORDERS]), expected);
    assert_eq!(kinds(&host, &[ORDERS, "--kind", "removed"]), ["removed"]);
    assert_eq!(kinds(&host, &[ORDERS, "--top", "2"]), expected[4..]);
    assert_eq!(kinds(&host, &[ORDERS, "--since", "1h"]), expected);
    assert_eq!(kinds(&host, &[ORDERS, "--since", "2999-01-01"]), [""; 0]);
    let whole = kinds(&host, &["--top", "1000"]);
    let started = whole.iter().filter(|kind| *kind == "started").count();
    assert_eq!((started, whole.last().map(String::as_str)), (2, Some("stopped")), "{whole:?}");
    let words = host.ask(&["events", ORDERS]).out;
    assert!(words.contains("rule file accepted") && words.contains("revision=2"), "{words}");
}

#[test]
fn rejections_links_drift_and_commands_are_events() {
    let host = populated();
    host.kill();
    let forgotten = host.ask(&["rebase", GONE]);
    assert_eq!(forgotten.code, Some(0), "{forgotten:?}");
    let events = host.json(&["events", "--top", "1000"]);
    let has = |kind: &str, field: &str, part: &str| {
        let mut events = events.as_array().unwrap().iter();
        events.any(|one| one["event"] == kind && one[field].as_str().is_some_and(|text| text.contains(part)))
    };
    assert!(has("rejected", "file", "broken.yaml"), "{events:#}");
    assert!(has("link", "interface", "eth0"), "{events:#}");
    assert!(has("command", "done", "gone"), "{events:#}");
    assert!(!has("drift", "message", ""), "{events:#}");
    host.start();
    host.until_applied(ORDERS, 1);
    fs::remove_file(host.home.pins().join("links").join(INTERFACE)).unwrap();
    host.eventually("the repair is an event", || !kinds(&host, &["--kind", "drift"]).is_empty());
}

#[test]
fn wait_returns_when_the_revision_is_in_force() {
    let host = TestHost::builder().build();
    // Nothing knows the database yet, and no agent has run.
    let wait = |revision: &str, timeout: &str| {
        host.ask(&["wait", ORDERS, "--revision", revision, "--timeout", timeout])
    };
    assert_eq!(wait("1", "0s").code, Some(4));
    host.start();
    let late = wait("1", "100ms");
    assert!(late.code == Some(4) && late.out.contains("no file names it"), "{late:?}");
    let arguments = ["wait", ORDERS, "--revision", "1", "--timeout", "20s"];
    let mut waiting = host.home.command(User::Root, "", &arguments).stdout(Stdio::piped()).spawn().unwrap();
    host.push(&file(1));
    let mut out = String::new();
    waiting.stdout.take().unwrap().read_to_string(&mut out).unwrap();
    assert!(waiting.wait().unwrap().success() && out.contains("revision 1 in force since "), "{out}");
    host.push(&file(3));
    assert_eq!(wait("2", "20s").code, Some(0), "a newer revision counts");

    host.push(&file(4).allow("192.0.2.300/24"));
    let started = Instant::now();
    let rejected = wait("4", "1s");
    assert!(started.elapsed() >= Duration::from_secs(1));
    let why = ["revision 3 is in force", "orders.yaml is rejected", "192.0.2.300/24"];
    assert!(rejected.code == Some(4) && why.iter().all(|part| rejected.out.contains(part)), "{rejected:?}");

    host.push(&file(5).removed());
    let removed = wait("5", "20s");
    assert!(removed.code == Some(0) && removed.out.contains("removed by revision 5"), "{removed:?}");
    for bad in
        [&["wait", "no id", "--revision", "1"][..], &["wait", ORDERS, "--revision", "0"], &["wait", ORDERS]]
    {
        assert_eq!(host.ask(bad).code, Some(2), "{bad:?}");
    }
}

#[test]
fn unusual_change_of_a_range_is_a_condition_until_it_is_acknowledged() {
    let host = populated();
    let notices = |host: &TestHost| -> Vec<String> {
        let status = host.status();
        let conditions = status["conditions"].as_array().unwrap().iter();
        let notices = conditions.filter(|one| one["name"] == "range_change");
        notices.map(|one| one["message"].as_str().unwrap().to_owned()).collect()
    };
    let shrunk = ["range man-example: revision 2 loses 1 of 2 prefixes"];
    host.push_ranges(&ranges(2, &RANGE[..1]));
    host.eventually("the change is reported", || notices(&host) == shrunk);
    assert_eq!(host.status()["ready"], true, "the change applies");
    host.kill();
    host.start();
    host.eventually("a restart reports it again", || notices(&host) == shrunk);
    let done = host.ask(&["ranges", "--ack"]);
    assert!(done.code == Some(0) && done.out.contains("loses 1 of 2 prefixes"), "{done:?}");
    host.eventually("it is acknowledged", || notices(&host).is_empty());
    host.kill();
    host.start();
    host.until_applied(ORDERS, 1);
    assert!(notices(&host).is_empty(), "for good");

    // The next list ends the notice about the one before.
    let grown: Vec<String> = (0..9).map(|n| format!("198.51.100.{n}/32")).collect();
    host.push_ranges(&ranges(3, &grown.iter().map(String::as_str).collect::<Vec<_>>()));
    let message = ["range man-example: revision 3 grows from 1 to 9 prefixes"];
    host.eventually("growth is reported", || notices(&host) == message);
    host.push_ranges(&ranges(4, &grown.iter().take(8).map(String::as_str).collect::<Vec<_>>()));
    host.eventually("a usual change", || notices(&host).is_empty());

    let history = host.json(&["ranges", "--history", "man-example"]);
    let fields = ["revision", "prefixes", "added", "removed"];
    let history: Vec<Value> =
        history.as_array().unwrap().iter().map(|one| json!(fields.map(|field| &one[field]))).collect();
    let expected = [json!([1, 2, 2, 0]), json!([2, 1, 0, 1]), json!([3, 9, 8, 0]), json!([4, 8, 0, 1])];
    assert_eq!(history, expected);
    let words = host.ask(&["ranges", "--history"]).out;
    assert!(words.lines().count() == 5 && words.contains("+8"), "{words}");
}
