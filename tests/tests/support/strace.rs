//! Faults injected into system calls of the running daemon.

#![allow(dead_code, reason = "each test target uses a part of it")]

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use firewall_tests::lab::{eventually, process_status};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Faults in the daemon's calls, until dropped.
pub struct Injected(Child);

impl Injected {
    /// Injects as `strace -e inject=CALLS:FAULT`.
    pub fn into(pid: u32, calls: &str, fault: &str) -> Self {
        Self::into_threads(&["-f"], pid, calls, fault)
    }

    /// As `into`, for the event loop alone.
    pub fn into_event_loop(pid: u32, calls: &str, fault: &str) -> Self {
        Self::into_threads(&[], pid, calls, fault)
    }

    /// As `into`, for the thread of this name alone.
    pub fn into_thread(pid: u32, name: &str, calls: &str, fault: &str) -> Self {
        let threads = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
        let mut ids = threads.map(|thread| thread.unwrap().file_name().into_string().unwrap());
        let is_one = |id: &String| {
            std::fs::read_to_string(format!("/proc/{id}/comm")).is_ok_and(|comm| comm.trim() == name)
        };
        let id = ids.find(is_one).unwrap_or_else(|| panic!("{name}: no such thread of {pid}"));
        Self::into_threads(&[], id.parse().unwrap(), calls, fault)
    }

    fn into_threads(flags: &[&str], pid: u32, calls: &str, fault: &str) -> Self {
        let child = Command::new("strace")
            .args(flags)
            .args(["-qq", "-e", &format!("trace={calls}"), "-e", &format!("inject={calls}:{fault}")])
            .args(["-o", "/dev/null", "-p", &pid.to_string()])
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let traced = || (process_status(pid).unwrap().tracerpid != 0).then_some(());
        eventually(Duration::from_secs(20), "strace has attached", traced).unwrap();
        Self(child)
    }
}

impl Drop for Injected {
    fn drop(&mut self) {
        // On SIGTERM strace detaches from the daemon; SIGKILL would kill the daemon too.
        let _ = kill(Pid::from_raw(self.0.id().cast_signed()), Signal::SIGTERM);
        let _ = self.0.wait();
    }
}
