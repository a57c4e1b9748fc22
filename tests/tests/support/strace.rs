//! System calls of the running daemon that end otherwise than the kernel would have it.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use firewall_tests::lab::eventually;

/// Faults in the daemon's calls, until it is dropped.
pub struct Injected(Child);

impl Injected {
    /// As `strace -e inject=CALLS:FAULT` has it.
    pub fn into(pid: u32, calls: &str, fault: &str) -> Self {
        let child = Command::new("strace")
            .args(["-f", "-qq", "-e", &format!("trace={calls}"), "-e", &format!("inject={calls}:{fault}")])
            .args(["-o", "/dev/null", "-p", &pid.to_string()])
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let traced = || {
            let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
            (!status.contains("TracerPid:\t0")).then_some(())
        };
        eventually(Duration::from_secs(5), "strace has attached", traced).unwrap();
        Self(child)
    }
}

impl Drop for Injected {
    fn drop(&mut self) {
        // SIGTERM: strace lets go of the daemon; SIGKILL would take it along.
        let _ = nix::sys::signal::kill(
            nix::unistd::Pid::from_raw(self.0.id().cast_signed()),
            nix::sys::signal::Signal::SIGTERM,
        );
        let _ = self.0.wait();
    }
}
