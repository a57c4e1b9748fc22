//! Many interfaces: the cost of a pass is linear in their number, and each retains its own link.

use std::fmt::Write as _;
use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use firewall_common::names;
use firewall_tests::lab::{Agent, TestHost, eventually};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::setup::builder;

/// System calls per additional interface and pass: the pass queries its link once, and the status once. Quadratic cost
/// would add one call for each interface.
const CALLS: usize = 6;
const PASSES: usize = 5;
const FEW: usize = 10;
const MANY: usize = 60;

#[test]
fn interface_scan_cost_is_linear_in_interfaces() {
    let host = builder().interfaces(&["eth0", "'many*'", "'absent?'"]).build();
    let mut agent = host.start_agent();
    add(&host, 0..FEW);
    wait_for(&host, &mut agent, FEW + 1);
    let few = calls(&agent);
    add(&host, FEW..MANY);
    wait_for(&host, &mut agent, MANY + 1);
    let many = calls(&agent);
    println!("{FEW} interfaces: {few} calls a pass, {MANY}: {many}");
    assert!(many > few, "the control: the calls of more interfaces are seen");
    assert!(many - few <= CALLS * (MANY - FEW), "{few} → {many} calls a pass");

    // All are deleted, and one is added again.
    let gone: String = (0..MANY).fold(String::new(), |mut lines, number| {
        writeln!(lines, "link delete many{number}").unwrap();
        lines
    });
    batch(&host, &gone);
    wait_for(&host, &mut agent, 1);
    add(&host, 0..1);
    wait_for(&host, &mut agent, 2);
}

#[test]
fn interfaces_that_swap_names_retain_their_links() {
    let host = builder().interfaces(&["eth0", "'many*'"]).build();
    let mut agent = host.start_agent();
    add(&host, 0..2);
    wait_for(&host, &mut agent, 3);
    let before = [link(&host, "many0"), link(&host, "many1")];
    signal(&agent, Signal::SIGSTOP);
    let renames = [("many0", "aside"), ("many1", "many0"), ("aside", "many1")];
    let exchange: String = renames.iter().fold(String::new(), |mut lines, (from, to)| {
        writeln!(lines, "link set {from} down\nlink set {from} name {to}\nlink set {to} up").unwrap();
        lines
    });
    batch(&host, &exchange);
    signal(&agent, Signal::SIGCONT);
    agent
        .wait_until("the links have followed", || {
            [link(&host, "many1"), link(&host, "many0")] == before && is_in_order(&host)
        })
        .unwrap();
    let pins: Vec<String> = fs::read_dir(host.home.pins().join("links"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .filter(|pin| pin != names::SOCKET_LINK)
        .collect();
    assert_eq!(pins.len(), 3, "{pins:?}");
    assert!(pins.iter().all(|pin| !pin.starts_with(':')), "{pins:?}");
    // Another process finds them by their pins.
    agent.kill().unwrap();
    assert_eq!([link(&host, "many1"), link(&host, "many0")], before);
}

fn add(host: &TestHost, numbers: std::ops::Range<usize>) {
    let lines = numbers.fold(String::new(), |mut lines, number| {
        writeln!(lines, "link add many{number} type veth peer name peer{number}\nlink set many{number} up")
            .unwrap();
        lines
    });
    batch(host, &lines);
}

fn batch(host: &TestHost, lines: &str) {
    let file = host.lab.dir().join("batch");
    fs::write(&file, lines).unwrap();
    host.db.run(&format!("ip -batch {}", file.display())).unwrap();
}

/// Waits until this many interfaces are filtered.
fn wait_for(host: &TestHost, agent: &mut Agent, filtered: usize) {
    let waited = agent.wait_until("all are filtered", || {
        let status = host.status();
        let interfaces = status["interfaces"].as_array().unwrap();
        interfaces.len() == filtered && interfaces.iter().all(|one| one["mode"] == "native")
    });
    waited.unwrap_or_else(|error| panic!("{filtered}: {error:#}: {:#}", host.status()));
}

fn is_in_order(host: &TestHost) -> bool {
    host.status()["interfaces"].as_array().unwrap().iter().all(|one| one["mode"] == "native")
}

fn link(host: &TestHost, interface: &str) -> Value {
    let status = host.status();
    let interfaces = status["interfaces"].as_array().unwrap();
    interfaces.iter().find(|one| one["name"] == interface).map_or(Value::Null, |one| one["link_id"].clone())
}

/// Returns the agent's system calls per pass, averaged over several. Each pass lists the interfaces once.
fn calls(agent: &Agent) -> usize {
    // Outside the lab's directory, which the agent watches: each traced call would trigger another.
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("calls.strace");
    let mut strace = Command::new("strace")
        .args(["-f", "-qq", "-o"])
        .arg(&file)
        .args(["-p", &agent.pid().to_string()])
        .stdin(Stdio::null())
        .spawn()
        .expect("strace: is it installed?");
    let seen = eventually(Duration::from_secs(60), "passes are seen", || {
        let trace = fs::read_to_string(&file).ok()?;
        let passes = trace.lines().filter(|line| line.contains("sendto(")).count();
        (passes >= PASSES).then(|| trace.lines().count() / passes)
    });
    // On SIGTERM strace detaches from the agent.
    kill(Pid::from_raw(strace.id().cast_signed()), Signal::SIGTERM).unwrap();
    strace.wait().unwrap();
    seen.unwrap()
}

fn signal(agent: &Agent, signal: Signal) {
    kill(Pid::from_raw(agent.pid().cast_signed()), signal).unwrap();
}
