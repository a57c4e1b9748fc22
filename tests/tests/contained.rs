//! Contained processes die with the process that contains them, however it ends. The only test of this file is its own
//! container: it starts itself again to get a process that it may kill.

#![expect(clippy::unwrap_used, reason = "a test fails by its panic")]

use std::io::{BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use firewall_tests::lab::contained;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const NAME: &str = "contained_processes_die_with_a_killed_or_interrupted_container";
const ROLE: &str = "FIREWALL_TESTS_CONTAINER";

/// Reports that it runs, and leaves a process in another session, beyond the reach of terminal signals.
const PROGENY: &str = "setsid sleep 60 & echo running $!; wait";

#[test]
fn contained_processes_die_with_a_killed_or_interrupted_container() {
    let mut progeny = Command::new("sh");
    progeny.args(["-c", PROGENY]);
    match std::env::var(ROLE).as_deref() {
        Ok("contains") => drop(contained(&mut progeny).unwrap()),
        Ok(_) => drop(progeny.status().unwrap()),
        Err(_) => {
            for signal in [Signal::SIGKILL, Signal::SIGINT] {
                assert_eq!(survivor("contains", signal), None, "{signal}");
            }
            // Control: without containment the same program leaves a process behind.
            let left = survivor("does not contain", Signal::SIGKILL).unwrap();
            kill(left, Signal::SIGKILL).unwrap();
        }
    }
}

/// Kills a process with this role once its child runs; returns the pid of a child that is alive a second later.
fn survivor(role: &str, signal: Signal) -> Option<Pid> {
    // A shell makes background jobs, and their children, ignore SIGINT.
    let mut itself = Command::new("env");
    itself.arg("--default-signal=INT").arg(std::env::current_exe().unwrap());
    itself.args(["--exact", NAME, "--nocapture"]).env(ROLE, role).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = itself.process_group(0).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let running =
        lines.find_map(|line| line.split("running ").nth(1).and_then(|pid| pid.trim().parse().ok()));
    let pid = Pid::from_raw(running.unwrap());
    kill(Pid::from_raw(child.id().cast_signed()), signal).unwrap();
    child.wait().unwrap();
    // The pipe reaches its end when the last process with it open ends.
    let (gone, is_gone) = channel();
    thread::spawn(move || {
        lines.for_each(drop);
        gone.send(())
    });
    is_gone.recv_timeout(Duration::from_secs(1)).is_err().then_some(pid)
}
