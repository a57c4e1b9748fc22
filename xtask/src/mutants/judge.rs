//! Runs the tests on a mutant. A mutant that does not compile, or that the kernel refuses, was never tested and counts
//! as not killed.

use std::fmt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::Result;
use fs_err::os::unix::fs::symlink;
use fs_err::{self as fs, File};
use serde::{Deserialize, Serialize};
use xshell::cmd;

use crate::mutants::mutant::{HISTORIES, OWN, UNITS};
use crate::workspace::Workspace;

/// Seconds, far longer than the slowest target takes: a mutant that makes a test hang counts as killed.
const LONGEST: &str = "900";

/// Exit code of timeout(1) for a command that it ended. It has none if it had to send SIGKILL, which ends it, too.
const TIMED_OUT: i32 = 124;

/// The agent's error for a program that the kernel does not load: no test has exercised it.
const REFUSAL: &str = "refused by the kernel";

/// Module of the fleet histories in the agent's own tests.
const HISTORIES_MODULE: &str = "agent::tests::histories::";

#[derive(Debug, Clone, Serialize, Deserialize)]
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
            Self::Hung => write!(f, "by a test that did not end within {LONGEST} s"),
            Self::Broken(why) => f.write_str(why),
        }
    }
}

pub struct Judge {
    tree: Workspace,
    log: PathBuf,
}

impl Judge {
    /// Creates a judge of a copy of the workspace, built with the tools of the workspace.
    pub fn new(workspace: &Workspace, tree: Workspace) -> Result<Self> {
        tree.shell.create_dir(&tree.target)?;
        // A fault changes a few lines of a large crate.
        tree.shell.set_var("CARGO_INCREMENTAL", "1");
        if !tree.tools().exists() {
            symlink(workspace.tools(), tree.tools())?;
        }
        let log = tree.target.join("judge.log");
        Ok(Self { tree, log })
    }

    /// Returns the judgement of these test targets and its duration in seconds.
    pub fn judge(&self, targets: &[String]) -> Result<(Judgement, u64)> {
        let started = Instant::now();
        let judgement = match self.test(targets, Some("--no-run"))? {
            Ended::Passed => self.run(targets)?,
            Ended::Failed(log) => Judgement::Broken(format!("does not compile: {}", first_error(&log))),
            Ended::Late => Judgement::Broken(format!("was not built within {LONGEST} s")),
        };
        Ok((judgement, started.elapsed().as_secs()))
    }

    /// Runs the tests of these targets up to the first that fails.
    fn run(&self, targets: &[String]) -> Result<Judgement> {
        // The histories take most of the time, and the others find most faults.
        let parts = match targets {
            [own] if own == OWN => vec![vec![UNITS.to_owned()], vec![HISTORIES.to_owned()]],
            targets => vec![targets.to_vec()],
        };
        for part in parts {
            match self.test(&part, None)? {
                Ended::Passed => {}
                Ended::Failed(log) => return Ok(failure(&log)),
                Ended::Late => return Ok(Judgement::Hung),
            }
        }
        Ok(Judgement::Survived)
    }

    /// Runs cargo on these test targets for at most [`LONGEST`].
    fn test(&self, targets: &[String], option: Option<&str>) -> Result<Ended> {
        let scope = scope(targets);
        let test = cmd!(
            self.tree.shell,
            "timeout --kill-after=10 {LONGEST} cargo test {option...} --package {scope...}"
        );
        // A file, since a process that a failed test leaves behind would keep a pipe open.
        let log = File::create(&self.log)?.into_file();
        let mut test = Command::from(test);
        let status = test.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).status()?;
        Ok(match status.code() {
            Some(0) => Ended::Passed,
            Some(TIMED_OUT) | None => Ended::Late,
            Some(_) => Ended::Failed(fs::read_to_string(&self.log)?),
        })
    }
}

/// Returns the package of these test targets, and the options and names that select their tests.
fn scope(targets: &[String]) -> Vec<&str> {
    match targets {
        [own] if own == OWN => vec!["firewall-agent", "--lib"],
        [own] if own == UNITS => vec!["firewall-agent", "--lib", "--", "--skip", HISTORIES_MODULE],
        [own] if own == HISTORIES => vec!["firewall-agent", "--lib", HISTORIES_MODULE],
        targets => {
            let mut scope = vec!["firewall-tests"];
            for target in targets {
                let (target, module) = target.split_once('/').unwrap_or((target.as_str(), ""));
                scope.extend(["--test", target]);
                scope.extend((!module.is_empty()).then_some(module));
            }
            scope
        }
    }
}

/// The end of a run of cargo.
enum Ended {
    Passed,
    /// With this log.
    Failed(String),
    /// It exceeded [`LONGEST`].
    Late,
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
    fn targets_select_packages_test_programs_and_modules() {
        let of = |targets: &[&str]| {
            let targets: Vec<String> = targets.iter().map(|target| (*target).to_owned()).collect();
            scope(&targets).join(" ")
        };
        assert_eq!(of(&[OWN]), "firewall-agent --lib");
        assert_eq!(of(&[UNITS]), "firewall-agent --lib -- --skip agent::tests::histories::");
        assert_eq!(of(&[HISTORIES]), "firewall-agent --lib agent::tests::histories::");
        assert_eq!(of(&["verdicts", "model"]), "firewall-tests --test verdicts --test model");
        assert_eq!(of(&["lifecycle/rights::"]), "firewall-tests --test lifecycle rights::");
    }

    #[test]
    fn the_log_names_the_failed_test_and_the_first_error() {
        assert_eq!(failed_test("test a ... ok\ntest b::c ... FAILED\n"), "b::c");
        assert_eq!(first_error("warning: a\nerror[E0308]: b\nerror: c\n"), "error[E0308]: b");
    }
}
