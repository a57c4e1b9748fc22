//! The script that a guest runs, and its expected results.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use firewall_tests::lab::{agent_of, next_layout_of};
use serde_json::Value;
use xshell::cmd;

use super::machine::Accelerator;
use crate::workspace::Workspace;

const PREPARE: &str = include_str!("guest/prepare.sh");
/// First output of a guest.
pub const UP: &str = "== begin up";
/// Name of the command that a kernel too old for the agent runs.
pub const REFUSAL: &str = "refusal";
/// Test programs: verdict table and loading, evasion corpus, publication, and the agent's lifecycle.
pub const TESTS: &[&str] = &["verdicts", "evasion", "publication", "lifecycle"];
/// Lifecycle tests to run where every instruction is emulated: load, adoption, restarts, layout migration; the others
/// take too long there.
const RESTARTS: (&str, &[&str]) =
    ("lifecycle", &["abi::", "adoption::", "detached::", "layouts::", "restarts::", "rights::"]);
/// Timeout of a test program, in seconds, however slow the machine.
const LIMIT: u32 = 1800;

/// A test program and the names of its tests.
#[derive(Debug)]
pub struct TestProgram {
    pub name: String,
    path: PathBuf,
    tests: BTreeSet<String>,
}

impl TestProgram {
    /// Returns prefixes of the names of the tests to run; empty for all.
    fn filters(&self, accel: Accelerator) -> &'static [&'static str] {
        let (name, restarts) = RESTARTS;
        if accel == Accelerator::Tcg && self.name == name { restarts } else { &[] }
    }

    /// Returns the tests to run, and the number of those left out.
    pub fn tests(&self, accel: Accelerator) -> (BTreeSet<String>, usize) {
        let filters = self.filters(accel);
        let is_run =
            |name: &&String| filters.is_empty() || filters.iter().any(|start| name.starts_with(start));
        let run: BTreeSet<String> = self.tests.iter().filter(is_run).cloned().collect();
        let left_out = self.tests.len() - run.len();
        (run, left_out)
    }
}

/// The programs built for the guests, which share this machine's files.
#[derive(Debug)]
pub struct Built {
    pub programs: Vec<TestProgram>,
    agent: PathBuf,
    /// Working directory that the test programs expect.
    directory: PathBuf,
}

/// Builds the test programs and the agents that they would build themselves.
pub fn build(workspace: &Workspace) -> Result<Built> {
    let sh = &workspace.shell;
    let targets = TESTS.iter().flat_map(|name| ["--test", name]);
    // Optimised: emulated, an unoptimised build would exceed the tests' timeouts.
    let cargo = cmd!(
        sh,
        "cargo test --release -p firewall-tests --no-run --message-format=json-render-diagnostics {targets...}"
    );
    let messages = cargo.read()?;
    let programs = TESTS
        .iter()
        .map(|name| {
            let path = executable(&messages, name).with_context(|| format!("{name}: {cargo}"))?;
            let listed = cmd!(sh, "{path} --list --format terse").read()?;
            let tests =
                listed.lines().filter_map(|line| line.strip_suffix(": test")).map(str::to_owned).collect();
            Ok(TestProgram { name: (*name).to_owned(), path, tests })
        })
        .collect::<Result<Vec<_>>>()?;
    let profile = programs.first().and_then(|program| program.path.parent()?.parent());
    let profile = profile.context("cargo: test programs outside a profile directory")?;
    let agent = agent_of(profile)?;
    next_layout_of(profile)?;
    Ok(Built { agent, programs, directory: workspace.root.join("tests") })
}

/// Returns the path of a test program from cargo's messages.
fn executable(messages: &str, name: &str) -> Option<PathBuf> {
    let messages = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let built = |message: Value| {
        let is_it = message["target"]["name"] == name && message["target"]["kind"][0] == "test";
        is_it.then(|| message["executable"].as_str().map(PathBuf::from)).flatten()
    };
    messages.filter_map(built).next()
}

/// Returns a script that reports that the kernel is up, and ends.
pub fn only_up(root: &Path) -> String {
    script(root, "")
}

/// Returns a script that runs every test.
///
/// Where every instruction is emulated, tests run a tenth of their repetitions.
pub fn tests(root: &Path, built: &Built, accel: Accelerator) -> Result<String> {
    let rounds = if accel == Accelerator::Tcg { "export FIREWALL_TESTS=brief\n" } else { "" };
    let mut lines = format!("{rounds}cd {}\n", quoted(&built.directory)?);
    for program in &built.programs {
        let (name, path, filters) = (&program.name, quoted(&program.path)?, program.filters(accel).join(" "));
        let how = "--color never --test-threads 2 --show-output";
        lines += &format!("run {name} {LIMIT} {path} {filters} {how}\n");
    }
    Ok(script(root, &lines))
}

/// Returns a script that starts the agent as an operator would, on a kernel that cannot run it.
pub fn refusal(root: &Path, built: &Built) -> Result<String> {
    let agent = quoted(&built.agent)?;
    let dirs = "--rules-dir /run/rules --state-dir /run/state --bpffs-dir /sys/fs/bpf/agent";
    let sockets = "--control-socket /run/control.sock --listen unix:/run/http.sock";
    let lines = format!(
        "mkdir /run/rules /run/state\n\
         run {REFUSAL} 300 {agent} run --interfaces eth0 --guarded-ports 5432 {dirs} {sockets}\n"
    );
    Ok(script(root, &lines))
}

fn script(root: &Path, lines: &str) -> String {
    let modules = root.join("lib/modules");
    format!("MODULES='{}'\n{PREPARE}\nrun up 60 uname -r\n{lines}off\n", modules.display())
}

/// Quotes a path for the shell.
fn quoted(path: &Path) -> Result<String> {
    let text = path.display().to_string();
    ensure!(!text.contains('\''), "{text}: path contains a quote");
    Ok(format!("'{text}'"))
}
