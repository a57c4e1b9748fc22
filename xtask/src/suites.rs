//! Test programs of the workspace, two at a time.
//!
//! `cargo test` runs one program after the other. Most tests wait, for agents and for silence, and the last ones of a
//! program leave the CPU idle.

use std::collections::VecDeque;
use std::fs::File;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::thread::{self, available_parallelism};
use std::time::Instant;

use anyhow::{Context as _, Result, anyhow, ensure};
use serde_json::Value;
use xshell::cmd;

use crate::run::say;
use crate::workspace::Workspace;

/// Number of programs at the same time.
const AT_ONCE: usize = 2;

/// Minimum number of parallel tests of a program: most of them wait, for agents and for silence.
const THREADS: usize = 4;

/// Returns the variable that sets the number of parallel tests of a program, unless the caller has set it.
pub fn threads() -> Option<(&'static str, String)> {
    let name = "RUST_TEST_THREADS";
    let cores = available_parallelism().map_or(1, NonZero::get);
    std::env::var_os(name).is_none().then(|| (name, cores.max(THREADS).to_string()))
}

/// A program of tests.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Suite {
    package: PathBuf,
    name: String,
    program: PathBuf,
}

/// Builds and runs all tests of the workspace with these environment variables, also after a failure.
///
/// # Errors
/// A build or a test fails; the message names the programs.
pub fn run_all(workspace: &Workspace, variables: &[(&str, String)]) -> Result<()> {
    let target = workspace.target.as_path();
    let waiting = Mutex::new(build(workspace)?);
    let next = || waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    let runner = || {
        let mut failed = Vec::new();
        while let Some(suite) = next() {
            match suite.run(target, variables) {
                Ok(true) => {}
                Ok(false) => failed.push(suite.name),
                Err(error) => failed.push(format!("{} ({error:#})", suite.name)),
            }
        }
        failed
    };
    let mut failed = Vec::new();
    thread::scope(|scope| {
        let runners: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(runner)).collect();
        for runner in runners {
            failed.extend(runner.join().map_err(|_| anyhow!("a thread that runs tests panicked"))?);
        }
        anyhow::Ok(())
    })?;
    if cmd!(workspace.shell, "cargo test --workspace --doc").run().is_err() {
        failed.push("doc tests".to_owned());
    }
    ensure!(failed.is_empty(), "tests fail in: {}", failed.join(", "));
    Ok(())
}

/// Builds the programs of all tests; returns them by package and name.
fn build(workspace: &Workspace) -> Result<VecDeque<Suite>> {
    let messages =
        cmd!(workspace.shell, "cargo test --workspace --no-run --message-format=json-render-diagnostics")
            .read()?;
    let mut suites: Vec<Suite> = messages.lines().filter_map(Suite::from_message).collect();
    suites.sort();
    ensure!(!suites.is_empty(), "cargo named no test program");
    Ok(suites.into())
}

impl Suite {
    /// Reads a message of cargo; `None` for any but the end of a test program's build.
    fn from_message(line: &str) -> Option<Self> {
        let message: Value = serde_json::from_str(line).ok()?;
        let is_test = message["profile"]["test"] == true;
        let program = message["executable"].as_str().filter(|_| is_test)?.into();
        let package = PathBuf::from(message["manifest_path"].as_str()?).parent()?.to_owned();
        Some(Self { package, name: message["target"]["name"].as_str()?.to_owned(), program })
    }

    /// Runs the program in its package's directory, as cargo does, and then prints its whole output; returns whether
    /// all tests passed.
    fn run(&self, target: &Path, variables: &[(&str, String)]) -> Result<bool> {
        let scratch = target.join("tmp");
        fs_err::create_dir_all(&scratch)?;
        let log = scratch.join(format!("{}.log", self.file_name()?));
        let out = File::create(&log).with_context(|| format!("cannot create {}", log.display()))?;
        let started = Instant::now();
        let mut command = Command::new(&self.program);
        command.current_dir(&self.package).env("CARGO_TARGET_DIR", target);
        command.envs(variables.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(out.try_clone()?).stderr(out);
        let status = command.status().with_context(|| format!("cannot start {}", self.program.display()))?;
        let output = String::from_utf8_lossy(&fs_err::read(&log)?).into_owned();
        say(format_args!(
            "tests of {} ({:.0} s, {status}):\n{output}",
            self.name,
            started.elapsed().as_secs_f64()
        ));
        fs_err::remove_file(&log)?;
        Ok(status.success())
    }

    fn file_name(&self) -> Result<String> {
        let name = self.program.file_name().context("a test program without a name")?;
        Ok(name.to_string_lossy().into_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_built_test_programs_are_suites() {
        let of = |test: bool, executable: &str| {
            let line = format!(
                r#"{{"reason":"compiler-artifact","manifest_path":"/w/tests/Cargo.toml","target":{{"name":"http"}},"profile":{{"test":{test}}},"executable":{executable}}}"#
            );
            Suite::from_message(&line)
        };
        let expected =
            Suite { package: "/w/tests".into(), name: "http".into(), program: "/w/t/http-1".into() };
        assert_eq!(of(true, r#""/w/t/http-1""#), Some(expected));
        assert_eq!(of(false, r#""/w/t/http-1""#), None);
        assert_eq!(of(true, "null"), None);
        assert_eq!(Suite::from_message("warning: unused"), None);
    }
}
