//! Runs the tests on a mutant. A mutant that does not compile, or that the kernel refuses, was never tested and counts
//! as not killed.

use std::fmt;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use fs_err::os::unix::fs::symlink;
use fs_err::{self as fs, File};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};
use xshell::{Cmd, cmd};

use crate::mutants::mutant::{EBPF, HISTORIES, OWN, UNITS};
use crate::suites;
use crate::workspace::Workspace;

/// Far longer than the slowest target takes: a mutant that makes a test hang counts as killed.
const LONGEST: Duration = Duration::from_secs(900);

/// Settings of cargo above the copy; the builds that the tests start use them, too. Without optimisation and line tables a
/// fault compiles in a tenth of the time.
const CARGO_CONFIG: &str = "[profile.dev]\ndebug = 0\n[profile.dev.package.firewall-agent]\nopt-level = 0\n";

/// Time between two looks at a running test.
const LOOK: Duration = Duration::from_millis(100);

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
            Self::Hung => write!(f, "by a test that did not end within {} s", LONGEST.as_secs()),
            Self::Broken(why) => f.write_str(why),
        }
    }
}

pub struct Judge {
    tree: Workspace,
    log: PathBuf,
}

impl Judge {
    /// Creates a judge of a copy of the workspace, `src` in the directory `home`, built with the tools of the workspace.
    pub fn new(workspace: &Workspace, home: &Path) -> Result<Self> {
        let tree = Workspace::at(home.join("src"), home.join("target"))?;
        tree.shell.create_dir(&tree.target)?;
        tree.shell.create_dir(home.join(".cargo"))?;
        fs::write(home.join(".cargo/config.toml"), CARGO_CONFIG)?;
        // A fault changes a few lines of a large crate.
        tree.shell.set_var("CARGO_INCREMENTAL", "1");
        if let Some((name, value)) = suites::threads() {
            tree.shell.set_var(name, value);
        }
        if !tree.tools().exists() {
            symlink(workspace.tools(), tree.tools())?;
        }
        let log = tree.target.join("judge.log");
        Ok(Self { tree, log })
    }

    /// Returns the judgement of these test targets and its duration in seconds.
    pub fn judge(&self, targets: &[String]) -> Result<(Judgement, u64)> {
        let started = Instant::now();
        let programs = Scope::of(targets).programs;
        let build = cmd!(self.tree.shell, "cargo test --no-run {programs...}");
        let judgement = match self.end(build)? {
            Ended::Passed => self.run(targets)?,
            Ended::Failed(log) => Judgement::Broken(format!("does not compile: {}", first_error(&log))),
            Ended::Late => Judgement::Broken(format!("was not built within {} s", LONGEST.as_secs())),
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
            match self.test(&part)? {
                Ended::Passed => {}
                Ended::Failed(log) => return Ok(failure(&log)),
                Ended::Late => return Ok(Judgement::Hung),
            }
        }
        Ok(Judgement::Survived)
    }

    fn test(&self, targets: &[String]) -> Result<Ended> {
        let Scope { programs, tests } = Scope::of(targets);
        // Captured output would follow the last test.
        self.end(cmd!(self.tree.shell, "cargo test {programs...} -- {tests...} --nocapture"))
    }

    /// Runs cargo to its end, to the first failed test, or for [`LONGEST`].
    fn end(&self, command: Cmd<'_>) -> Result<Ended> {
        // A file, since a process that a failed test leaves behind would keep a pipe open.
        let log = File::create(&self.log)?.into_file();
        let mut command = Command::from(command);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).process_group(0);
        let (mut child, started) = (command.spawn()?, Instant::now());
        loop {
            thread::sleep(LOOK);
            let status = child.try_wait()?;
            let log = String::from_utf8_lossy(&fs::read(&self.log)?).into_owned();
            if let Some(status) = status {
                return Ok(if status.success() { Ended::Passed } else { Ended::Failed(log) });
            }
            let has_failed = failed_test(&log).is_some();
            if has_failed || started.elapsed() >= LONGEST {
                // Labs end with the threads of their test.
                killpg(Pid::from_raw(i32::try_from(child.id())?), Signal::SIGKILL)?;
                child.wait()?;
                return Ok(if has_failed { Ended::Failed(log) } else { Ended::Late });
            }
        }
    }
}

/// Selects tests.
#[derive(Debug, PartialEq, Eq)]
struct Scope<'a> {
    /// Options of cargo.
    programs: Vec<&'a str>,
    /// Options and names for the test programs.
    tests: Vec<&'a str>,
}

impl<'a> Scope<'a> {
    fn of(targets: &'a [String]) -> Self {
        let own = |tests: &[&'static str]| Self {
            programs: vec!["--package", "firewall-agent", "--lib"],
            tests: tests.to_vec(),
        };
        match targets {
            [one] if one == OWN => own(&[]),
            [one] if one == UNITS => own(&["--skip", HISTORIES_MODULE]),
            [one] if one == HISTORIES => own(&[HISTORIES_MODULE]),
            [one] if one == EBPF => Self { programs: vec!["--package", "firewall-ebpf"], tests: Vec::new() },
            targets => {
                let targets = targets.iter().map(|one| one.split_once('/').unwrap_or((one, "")));
                let (programs, modules): (Vec<&str>, Vec<&str>) = targets.unzip();
                let programs = programs.into_iter().flat_map(|program| ["--test", program]);
                Self {
                    // With the features of the agent that the tests build.
                    programs: ["--workspace"].into_iter().chain(programs).collect(),
                    tests: modules.into_iter().filter(|module| !module.is_empty()).collect(),
                }
            }
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
        Judgement::Killed(failed_test(log).unwrap_or("a test program that failed").to_owned())
    }
}

/// Returns the name of the first failed test. Output of other tests may precede it on its line.
fn failed_test(log: &str) -> Option<&str> {
    let failed = log.lines().filter_map(|line| line.strip_suffix(" ... FAILED"));
    failed.filter_map(|line| line.rsplit_once("test ")).map(|(_, test)| test).next()
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
            let scope = Scope::of(&targets);
            [scope.programs, vec!["--"], scope.tests].concat().join(" ")
        };
        assert_eq!(of(&[OWN]), "--package firewall-agent --lib --");
        assert_eq!(of(&[UNITS]), "--package firewall-agent --lib -- --skip agent::tests::histories::");
        assert_eq!(of(&[HISTORIES]), "--package firewall-agent --lib -- agent::tests::histories::");
        assert_eq!(of(&[EBPF]), "--package firewall-ebpf --");
        assert_eq!(of(&["verdicts", "model"]), "--workspace --test verdicts --test model --");
        assert_eq!(of(&["lifecycle/rights::"]), "--workspace --test lifecycle -- rights::");
    }

    #[test]
    fn the_log_names_the_failed_test_and_the_first_error() {
        assert_eq!(failed_test("test a ... ok\ntest b::c ... FAILED\n"), Some("b::c"));
        assert_eq!(failed_test("a line of test a: test b::c ... FAILED\n"), Some("b::c"));
        assert_eq!(failed_test("test a ... ok\n"), None);
        assert_eq!(first_error("warning: a\nerror[E0308]: b\nerror: c\n"), "error[E0308]: b");
    }
}
