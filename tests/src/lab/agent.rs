//! A running agent: its user, log, signals and end.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use procfs_core::FromRead as _;
use procfs_core::process::Status;

use super::{AgentHome, Host, eventually};

/// The user that the agent runs as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum User {
    Root,
    /// Uid 65534, which cannot gain privileges, with CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON and no other capability.
    Unprivileged,
    /// As `Unprivileged`, with a uid that no other process has: the kernel's per-user counts are this agent's alone.
    Alone,
    /// As `Unprivileged`, with this uid and without any capability.
    Powerless(u32),
}

/// The capabilities that the agent is documented to need, in setpriv's syntax.
const CAPABILITIES: &str = "-all,+bpf,+net_admin,+perfmon";
/// The same as a kernel mask: bits 12, 38 and 39.
pub const CAPABILITY_MASK: u64 = (1 << 12) | (1 << 38) | (1 << 39);

impl User {
    /// Returns the uid, which is also the gid.
    pub const fn id(self) -> u32 {
        match self {
            Self::Root => 0,
            Self::Unprivileged => 65534,
            Self::Alone => 64_991,
            Self::Powerless(id) => id,
        }
    }

    /// Returns a command of this user on a host.
    pub fn command(self, host: &Host, program: impl AsRef<OsStr>) -> Command {
        match self {
            Self::Root => host.command(program),
            Self::Unprivileged | Self::Alone | Self::Powerless(_) => {
                let capabilities = if matches!(self, Self::Powerless(_)) { "-all" } else { CAPABILITIES };
                let id = self.id().to_string();
                let mut command = host.command("setpriv");
                command.args(["--reuid", &id, "--regid", &id, "--clear-groups", "--no-new-privs"]);
                for set in ["--inh-caps", "--ambient-caps", "--bounding-set"] {
                    command.args([set, capabilities]);
                }
                // A change of user clears the parent-death signal, which is therefore set again.
                command.args(["--pdeathsig", "KILL", "--"]).arg(program);
                command
            }
        }
    }
}

/// Returns `/proc/PID/status`.
pub fn process_status(pid: u32) -> Result<Status> {
    Ok(Status::from_file(format!("/proc/{pid}/status"))?)
}

/// A running daemon, killed when dropped.
#[derive(Debug)]
pub struct Agent {
    child: Child,
    log: PathBuf,
}

impl Agent {
    pub(super) fn start(command: &mut Command, out: File, log: PathBuf) -> Result<Self> {
        let err = out.try_clone()?;
        let child =
            command.stdin(Stdio::null()).stdout(out).stderr(err).spawn().context("agent: not started")?;
        Ok(Self { child, log })
    }

    /// Returns everything that agents of this home have written.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until `status` reports that this revision of the database is in force.
    pub fn wait_for_revision(&mut self, home: &AgentHome, database: &str, revision: u64) -> Result<()> {
        self.wait_until(&format!("{database}: revision {revision} in force"), || {
            home.database(database).is_ok_and(|one| one["revision"] == revision)
        })
    }

    /// Waits until `is_so` returns `true`; fails with the log if the agent ends first, or after 20 seconds.
    pub fn wait_until(&mut self, what: &str, mut is_so: impl FnMut() -> bool) -> Result<()> {
        let child = &mut self.child;
        let ended = eventually(Duration::from_secs(20), what, || {
            if is_so() { Some(None) } else { child.try_wait().ok().flatten().map(Some) }
        });
        match ended {
            Ok(None) => Ok(()),
            Ok(Some(status)) => bail!("{what}: the agent ended before, {status}; its log:\n{}", self.log()),
            Err(error) => Err(error.context(format!("the agent's log:\n{}", self.log()))),
        }
    }

    /// Sends SIGKILL and waits for the end.
    pub fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Sends SIGTERM; returns the exit status and the time until the end, at most 10 seconds.
    pub fn terminate(mut self) -> Result<(ExitStatus, Duration)> {
        let started = Instant::now();
        kill(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGTERM)?;
        let status = eventually(Duration::from_secs(10), "agent: ends after SIGTERM", || {
            self.child.try_wait().ok().flatten()
        })?;
        Ok((status, started.elapsed()))
    }
}

impl Drop for Agent {
    #[expect(clippy::print_stderr, reason = "shown with the output of the test that failed")]
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("the agent's log:\n{}", self.log());
        }
    }
}
