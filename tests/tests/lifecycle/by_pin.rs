//! The agent opens every kernel object by its pin: opening by id requires a capability that the agent lacks.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use firewall_tests::lab::{TestHost, User, eventually};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::setup::{ALLOWED, DATABASE, hosts};

/// `BPF_PROG_GET_FD_BY_ID` and similar commands, as strace prints them.
const BY_ID: &str = "_GET_FD_BY_ID";

#[test]
fn daemon_and_commands_open_no_object_by_id() {
    let host = hosts();
    let daemon = |name: &str| {
        let mut run =
            traced(&host, name, &["run"]).stderr(Stdio::null()).spawn().expect("strace: is it installed?");
        let pid = eventually(Duration::from_secs(30), "the traced agent runs", || {
            let status = host.home.status().ok()?;
            let agent = status["agent"].as_object()?;
            (agent["running"] == true && status["databases"][0]["revision"] == 1)
                .then(|| agent["pid"].as_i64())?
        });
        kill(Pid::from_raw(pid.unwrap() as i32), Signal::SIGTERM).unwrap();
        assert!(run.wait().unwrap().success());
        trace(&host, name)
    };
    let first = daemon("first");
    for call in ["BPF_MAP_CREATE", "BPF_PROG_LOAD", "BPF_LINK_CREATE", "BPF_MAP_FREEZE", "BPF_OBJ_PIN"] {
        assert!(first.contains(call), "{call}: not seen by strace, so it saw nothing: {first}");
    }
    let mut traces = vec![first, daemon("second")];
    assert!(traces[1].contains("BPF_LINK_UPDATE"), "the second run took over nothing: {}", traces[1]);
    for (name, arguments) in [
        ("status", vec!["status"]),
        ("rules", vec!["rules"]),
        ("explain", vec!["explain", ALLOWED[0], DATABASE]),
    ] {
        let ended = traced(&host, name, &arguments).output().unwrap();
        assert!(ended.status.success(), "{name}: {ended:?}");
        traces.push(trace(&host, name));
        assert!(traces[traces.len() - 1].contains("BPF_OBJ_GET"), "{name}: strace saw nothing");
    }
    for trace in traces {
        let by_id: Vec<&str> = trace.lines().filter(|line| line.contains(BY_ID)).collect();
        assert!(by_id.is_empty(), "{by_id:#?}");
    }
}

/// Control: strace shows an opening by id.
#[test]
fn strace_shows_opens_by_id() {
    let host = hosts();
    for (number, call) in
        [(13, "BPF_PROG_GET_FD_BY_ID"), (14, "BPF_MAP_GET_FD_BY_ID"), (30, "BPF_LINK_GET_FD_BY_ID")]
    {
        let script = format!("my $id = pack('L3', 1, 0, 0); syscall({}, {number}, $id, 12)", libc::SYS_bpf);
        let mut opener = host.db.command("perl");
        opener.args(["-e", &script]);
        assert!(under_strace(&host, call, &opener).status().unwrap().success());
        assert!(trace(&host, call).contains(call) && call.contains(BY_ID), "{}", trace(&host, call));
    }
}

/// Returns a command of the unprivileged agent under strace.
fn traced(host: &TestHost, name: &str, arguments: &[&str]) -> Command {
    under_strace(host, name, &host.home.command(User::Unprivileged, "", arguments))
}

/// Wraps the command in strace, which must be installed.
fn under_strace(host: &TestHost, name: &str, command: &Command) -> Command {
    let mut strace = host.db.command("strace");
    strace.args(["-f", "-e", "trace=bpf", "-o"]).arg(trace_file(host, name));
    strace.arg(command.get_program()).args(command.get_args());
    strace
}

fn trace(host: &TestHost, name: &str) -> String {
    let path = trace_file(host, name);
    fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{}: {error}: is strace installed?", path.display()))
}

fn trace_file(host: &TestHost, name: &str) -> PathBuf {
    host.lab.dir().join(format!("{name}.strace"))
}
