//! Runs the tests on a mutant. A mutant that does not compile, or that the kernel refuses, was never tested and counts
//! as not killed.

use std::fmt;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use fs_err::os::unix::fs::symlink;
use fs_err::{self as fs, File};

use crate::mutants::mutant::{HISTORIES, OWN};
use crate::run::run;
use crate::workspace::Workspace;

/// Far longer than the slowest target takes: a mutant that makes a test hang counts as killed.
const LONGEST: Duration = Duration::from_secs(900);

/// The agent's error for a program that the kernel does not load: no test has exercised it.
const REFUSAL: &str = "refused by the kernel";

pub enum Judgement {
    /// Every target passed.
    Survived,
    /// A test failed; its name.
    Killed(String),
    /// A target exceeded [`LONGEST`].
    Hung,
    /// No program to test; the reason.
    Broken(String),
}

impl Judgement {
    pub fn is_kill(&self) -> bool {
        matches!(self, Self::Killed(_) | Self::Hung)
    }

    pub fn word(&self) -> &'static str {
        match self {
            Self::Survived => "passed",
            Self::Killed(_) => "killed",
            Self::Hung => "hung",
            Self::Broken(_) => "broken",
        }
    }
}

impl fmt::Display for Judgement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Survived => f.write_str("every test passed"),
            Self::Killed(test) => write!(f, "by {test}"),
            Self::Hung => write!(f, "by a test that did not end within {} s", LONGEST.as_secs()),
            Self::Broken(why) => f.write_str(why),
        }
    }
}

pub struct Judge {
    cargo: PathBuf,
    source: PathBuf,
    target: PathBuf,
}

impl Judge {
    /// Creates a judge of the tree at `source`, built into `target` with the tools of the workspace.
    pub fn new(workspace: &Workspace, source: &Path, target: &Path) -> Result<Self> {
        fs::create_dir_all(target)?;
        match symlink(workspace.tools(), target.join("tools")) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(error).context("cannot link tools");
            }
            Ok(()) | Err(_) => {}
        }
        let cargo = workspace.cargo().get_program().into();
        Ok(Self { cargo, source: source.to_path_buf(), target: target.to_path_buf() })
    }

    /// Returns the judgement of these test targets and its duration in seconds.
    pub fn judge(&self, targets: &[String]) -> Result<(Judgement, u64)> {
        let started = Instant::now();
        let log = self.target.join("judge.log");
        let judgement = match self.wait(self.test(targets).arg("--no-run"), &log)? {
            Some(status) if status.success() => match self.wait(&mut self.test(targets), &log)? {
                Some(status) if status.success() => Judgement::Survived,
                Some(_) => failure(&fs::read_to_string(&log)?),
                None => Judgement::Hung,
            },
            Some(_) => {
                Judgement::Broken(format!("does not compile: {}", first_error(&fs::read_to_string(&log)?)))
            }
            None => Judgement::Broken(format!("was not built within {} s", LONGEST.as_secs())),
        };
        Ok((judgement, started.elapsed().as_secs()))
    }

    fn test(&self, targets: &[String]) -> Command {
        let mut cargo = Command::new(&self.cargo);
        cargo.current_dir(&self.source).env("CARGO_TARGET_DIR", &self.target).args(["test", "-p"]);
        if targets == [OWN] {
            cargo.args(["firewall-agent", "--lib"]);
            return cargo;
        }
        if targets == [HISTORIES] {
            cargo.args(["firewall-agent", "--lib", "agent::tests::histories::"]);
            return cargo;
        }
        cargo.arg("firewall-tests");
        for target in targets {
            cargo.args(["--test", target]);
        }
        cargo
    }

    /// Returns the exit status, with the output in `log`; `None` if the command exceeded [`LONGEST`] and was killed.
    fn wait(&self, command: &mut Command, log: &Path) -> Result<Option<ExitStatus>> {
        let file = File::create(log)?.into_file();
        let (out, err) = (file.try_clone()?, file);
        // In a separate process group, so that the kill includes the children of a hanging cargo.
        let mut child = command.stdin(Stdio::null()).stdout(out).stderr(err).process_group(0).spawn()?;
        let started = Instant::now();
        loop {
            if let Some(status) = child.try_wait()? {
                return Ok(Some(status));
            }
            if started.elapsed() > LONGEST {
                run(Command::new("kill").args(["-KILL", "--", &format!("-{}", child.id())]))?;
                child.wait()?;
                return Ok(None);
            }
            sleep(Duration::from_millis(50));
        }
    }
}

/// Returns the judgement of a failed test run.
fn failure(log: &str) -> Judgement {
    if log.contains(REFUSAL) {
        Judgement::Broken(format!("the program is {REFUSAL}"))
    } else {
        Judgement::Killed(failed_test(log))
    }
}

fn failed_test(log: &str) -> String {
    let failed = |line: &str| Some(line.strip_prefix("test ")?.strip_suffix(" ... FAILED")?.to_owned());
    log.lines().find_map(failed).unwrap_or_else(|| "a test program that failed".to_owned())
}

fn first_error(log: &str) -> String {
    log.lines().find(|line| line.starts_with("error")).unwrap_or("no error message").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_failed_or_hanging_test_is_a_kill() {
        let cases = [
            (Judgement::Survived, false),
            (Judgement::Broken("does not compile: error: a".into()), false),
            (failure("program firewall: refused by the kernel\ntest a ... FAILED\n"), false),
            (failure("test a ... FAILED\n"), true),
            (Judgement::Killed("a".into()), true),
            (Judgement::Hung, true),
        ];
        for (judgement, kill) in cases {
            assert_eq!(judgement.is_kill(), kill, "{judgement}");
        }
    }

    #[test]
    fn the_log_names_the_failed_test_and_the_first_error() {
        assert_eq!(failed_test("test a ... ok\ntest b::c ... FAILED\n"), "b::c");
        assert_eq!(first_error("warning: a\nerror[E0308]: b\nerror: c\n"), "error[E0308]: b");
    }
}
