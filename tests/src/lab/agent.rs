//! A running agent: who it runs as, and how it ends.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{AgentHome, Host, eventually};

/// Who the agent runs as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum User {
    Root,
    /// Uid 65534 that can gain nothing, with CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON and no other capability.
    Unprivileged,
    /// As `Unprivileged`, with a uid that nothing else has: what the kernel counts by user is this agent's alone.
    Alone,
}

/// The capabilities that the agent is promised to do with, as setpriv writes them.
const CAPABILITIES: &str = "-all,+bpf,+net_admin,+perfmon";
/// The same as the kernel's mask: bits 12, 38 and 39.
pub const CAPABILITY_MASK: u64 = (1 << 12) | (1 << 38) | (1 << 39);

impl User {
    /// Uid, and gid likewise.
    pub fn id(self) -> u32 {
        match self {
            Self::Root => 0,
            Self::Unprivileged => 65534,
            Self::Alone => 64_991,
        }
    }

    /// A command of this user on a host.
    pub fn command(self, host: &Host, program: &Path) -> Command {
        match self {
            Self::Root => host.command(program),
            Self::Unprivileged | Self::Alone => {
                let id = self.id().to_string();
                let mut command = host.command("setpriv");
                command.args(["--reuid", &id, "--regid", &id, "--clear-groups", "--no-new-privs"]);
                for set in ["--inh-caps", "--ambient-caps", "--bounding-set"] {
                    command.args([set, CAPABILITIES]);
                }
                // A change of user clears the signal that ends the child together with the thread that started it.
                command.args(["--pdeathsig", "KILL", "--"]).arg(program);
                command
            }
        }
    }
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

    /// Everything that agents of this home have written so far.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Uid and effective capabilities, as a bit mask, of the running process.
    pub fn rights(&self) -> Result<(u32, u64)> {
        let path = format!("/proc/{}/status", self.child.id());
        let text = fs::read_to_string(&path).with_context(|| path.clone())?;
        let field = |name: &str| -> Option<&str> {
            text.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()
        };
        let uid = field("Uid:").and_then(|uid| uid.parse().ok());
        let capabilities = field("CapEff:").and_then(|mask| u64::from_str_radix(mask, 16).ok());
        uid.zip(capabilities).with_context(|| format!("{path}: no uid or no capabilities: {text:?}"))
    }

    /// Waits until `status` says that this revision of the database is in force.
    pub fn wait_for_revision(&mut self, home: &AgentHome, database: &str, revision: u64) -> Result<()> {
        self.wait_until(&format!("{database}: revision {revision} in force"), || {
            home.status().is_ok_and(|status| status.revision(database) == Some(revision))
        })
    }

    /// Waits until `what` is so; an error with the log when the agent ends before, or it takes more than 10 seconds.
    pub fn wait_until(&mut self, what: &str, mut is_so: impl FnMut() -> bool) -> Result<()> {
        let child = &mut self.child;
        let ended = eventually(Duration::from_secs(10), what, || {
            if is_so() { Some(None) } else { child.try_wait().ok().flatten().map(Some) }
        });
        match ended {
            Ok(None) => Ok(()),
            Ok(Some(status)) => bail!("{what}: the agent ended before, {status}; its log:\n{}", self.log()),
            Err(error) => Err(error.context(format!("the agent's log:\n{}", self.log()))),
        }
    }

    /// SIGKILL.
    pub fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// SIGTERM; how it ended, which takes at most 10 seconds, and how long that took.
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
