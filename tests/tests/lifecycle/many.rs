//! Many interfaces: the cost of a pass is linear in their number, and each retains its own link.

use std::fmt::Write as _;
use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use firewall_tests::lab::{Agent, eventually};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::stage::Stage;

/// System calls per additional interface and pass: the pass queries its link once, and the status once. Quadratic cost
/// would add one call for each interface.
const CALLS: usize = 6;
const LOOKS: usize = 5;
const FEW: usize = 10;
const MANY: usize = 60;

#[test]
fn a_look_takes_a_few_calls_for_each_interface_and_not_for_each_pair() {
    let stage = Stage::with(&["eth0", "'many*'", "'absent?'"], "native");
    let mut agent = stage.start();
    add(&stage, 0..FEW);
    wait_for(&stage, &mut agent, FEW + 1);
    let few = calls(&agent);
    add(&stage, FEW..MANY);
    wait_for(&stage, &mut agent, MANY + 1);
    let many = calls(&agent);
    println!("{FEW} interfaces: {few} calls a look, {MANY}: {many}");
    assert!(many > few, "the control: the calls of more interfaces are seen");
    assert!(many - few <= CALLS * (MANY - FEW), "{few} → {many} calls a look");

    // All are deleted, and one is added again.
    let gone: String = (0..MANY).fold(String::new(), |mut lines, number| {
        writeln!(lines, "link delete many{number}").unwrap();
        lines
    });
    batch(&stage, &gone);
    wait_for(&stage, &mut agent, 1);
    add(&stage, 0..1);
    wait_for(&stage, &mut agent, 2);
}

#[test]
fn interfaces_that_exchange_their_names_keep_their_links() {
    let stage = Stage::with(&["eth0", "'many*'"], "native");
    let mut agent = stage.start();
    add(&stage, 0..2);
    wait_for(&stage, &mut agent, 3);
    let before = [link(&stage, "many0"), link(&stage, "many1")];
    signal(&agent, Signal::SIGSTOP);
    let renames = [("many0", "aside"), ("many1", "many0"), ("aside", "many1")];
    let exchange: String = renames.iter().fold(String::new(), |mut lines, (from, to)| {
        writeln!(lines, "link set {from} down\nlink set {from} name {to}\nlink set {to} up").unwrap();
        lines
    });
    batch(&stage, &exchange);
    signal(&agent, Signal::SIGCONT);
    agent
        .wait_until("the links have followed", || {
            [link(&stage, "many1"), link(&stage, "many0")] == before && is_in_order(&stage)
        })
        .unwrap();
    let pins: Vec<String> = fs::read_dir(stage.home.pins().join("links"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    assert_eq!(pins.len(), 3, "{pins:?}");
    assert!(pins.iter().all(|pin| !pin.starts_with(':')), "{pins:?}");
    // Another process finds them by their pins.
    agent.kill().unwrap();
    assert_eq!([link(&stage, "many1"), link(&stage, "many0")], before);
}

fn add(stage: &Stage, numbers: std::ops::Range<usize>) {
    let lines = numbers.fold(String::new(), |mut lines, number| {
        writeln!(lines, "link add many{number} type veth peer name peer{number}\nlink set many{number} up")
            .unwrap();
        lines
    });
    batch(stage, &lines);
}

fn batch(stage: &Stage, lines: &str) {
    let file = stage.lab.dir().join("batch");
    fs::write(&file, lines).unwrap();
    stage.db.run(&format!("ip -batch {}", file.display())).unwrap();
}

/// Waits until this many interfaces are filtered.
fn wait_for(stage: &Stage, agent: &mut Agent, filtered: usize) {
    let waited = agent.wait_until("all are filtered", || {
        let status = stage.status();
        let interfaces = status["interfaces"].as_array().unwrap();
        interfaces.len() == filtered && interfaces.iter().all(|one| one["mode"] == "native")
    });
    waited.unwrap_or_else(|error| panic!("{filtered}: {error:#}: {:#}", stage.status()));
}

fn is_in_order(stage: &Stage) -> bool {
    stage.status()["interfaces"].as_array().unwrap().iter().all(|one| one["mode"] == "native")
}

fn link(stage: &Stage, interface: &str) -> Value {
    let status = stage.status();
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
    let seen = eventually(Duration::from_secs(60), "looks are seen", || {
        let trace = fs::read_to_string(&file).ok()?;
        let looks = trace.lines().filter(|line| line.contains("sendto(")).count();
        (looks >= LOOKS).then(|| trace.lines().count() / looks)
    });
    // On SIGTERM strace detaches from the agent.
    kill(Pid::from_raw(strace.id().cast_signed()), Signal::SIGTERM).unwrap();
    strace.wait().unwrap();
    seen.unwrap()
}

fn signal(agent: &Agent, signal: Signal) {
    kill(Pid::from_raw(agent.pid().cast_signed()), signal).unwrap();
}
