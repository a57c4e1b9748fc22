//! The script that a guest runs, and its expected results.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use firewall_tests::lab::{agent_of, next_layout_of};
use serde_json::Value;
use xshell::{Shell, cmd};

use super::architecture::Architecture;
use super::card::Slot;
use super::debian_kernel::DebianKernel;
use super::fetch::Kernel;
use super::machine::Accelerator;
use super::selection::Selection;
use crate::workspace::Workspace;

const PREPARE: &str = include_str!("guest/prepare.sh");
/// First output of a guest.
pub const UP: &str = "== begin up";
/// Name of the command that a kernel too old for the agent runs.
pub const REFUSAL: &str = "refusal";
/// Test programs: verdict table and loading, evasion corpus, publication, the agent's lifecycle, and the socket filter.
pub const TESTS: &[&str] = &["verdicts", "evasion", "publication", "lifecycle", "socket_filter"];
/// The test program that runs once for each network card.
const CARD_TESTS: &str = "cards";
/// Describes the card to that program.
const CARD: &str = "FIREWALL_CARD";
/// The lifecycle tests use an agent of another map layout.
const LIFECYCLE: &str = "lifecycle";
const PUBLICATION: &str = "publication";
/// Lifecycle tests to run where every instruction is emulated: load, adoption, restarts, layout migration; the others
/// take too long there.
const RESTARTS: &[&str] = &["abi::", "adoption::", "detached::", "layouts::", "restarts::", "rights::"];
/// The same without the tests of other programs than the agent, which are not built for other architectures.
const FOREIGN_RESTARTS: &[&str] = &["abi::", "adoption::", "restarts::"];
/// Tests of caches that the agent does not use with `PREEMPT_RT`, and that take too long there.
const CACHE_KILLS: &[&str] = &["killed::no_cached_verdict_survives_a_kill_at_any_publish_write"];
/// Timeout of a test program, in seconds, however slow the machine.
const LIMIT: u32 = 1800;

/// A test program and the names of its tests.
#[derive(Debug)]
struct TestProgram {
    name: &'static str,
    path: PathBuf,
    tests: BTreeSet<String>,
}

/// The programs built for the guests, which share this machine's files.
#[derive(Debug)]
pub struct Built {
    programs: Vec<TestProgram>,
    agent: PathBuf,
    /// Working directory that the test programs expect.
    directory: PathBuf,
}

impl Built {
    /// Returns the object of the XDP program, as the agent's `--version` names it.
    pub fn object(&self, sh: &Shell) -> Result<String> {
        let agent = &self.agent;
        let version = cmd!(sh, "{agent} --version").read()?;
        let object = version.lines().find_map(|line| line.strip_prefix("object "));
        Ok(object.with_context(|| format!("firewall-agent --version: no object: {version}"))?.to_owned())
    }
}

/// Builds the selected test programs and the agents that they would build themselves.
pub fn build(workspace: &Workspace, selection: &Selection) -> Result<Built> {
    let cards = (!selection.cards.is_empty()).then_some(CARD_TESTS);
    let names: Vec<&'static str> = selection.suites.iter().copied().chain(cards).collect();
    let sh = &workspace.shell;
    let programs = test_programs(sh, &names, &[])?
        .into_iter()
        .map(|(name, path)| {
            let listed = cmd!(sh, "{path} --list --format terse").read()?;
            let tests =
                listed.lines().filter_map(|line| line.strip_suffix(": test")).map(str::to_owned).collect();
            Ok(TestProgram { name, path, tests })
        })
        .collect::<Result<Vec<_>>>()?;
    let profile = programs.first().and_then(|program| program.path.parent()?.parent());
    let profile = profile.context("cargo: test programs outside a profile directory")?;
    let agent = agent_of(profile)?;
    if names.contains(&LIFECYCLE) {
        next_layout_of(profile)?;
    }
    Ok(Built { agent, programs, directory: workspace.root.join("tests") })
}

/// Builds the suites and the agent for another architecture; they have the tests of `built`.
pub fn build_for(workspace: &Workspace, target: &str, built: &Built) -> Result<Built> {
    let sh = &workspace.shell;
    cmd!(sh, "rustup target add {target}").run()?;
    // The linker that comes with rustc supports every architecture.
    let linker = format!("target.{target}.linker = \"rust-lld\"");
    let how = ["--release", "--target", target, "--config", &linker];
    cmd!(sh, "cargo build {how...} -p firewall-agent").run()?;
    let suites = built.programs.iter().filter(|program| program.name != CARD_TESTS);
    let names: Vec<&'static str> = suites.map(|program| program.name).collect();
    let programs = test_programs(sh, &names, &how)?.into_iter().map(|(name, path)| {
        let same = built.programs.iter().find(|program| program.name == name);
        TestProgram { name, path, tests: same.map(|program| program.tests.clone()).unwrap_or_default() }
    });
    let (programs, directory) = (programs.collect(), built.directory.clone());
    let agent = workspace.target.join(target).join("release/firewall-agent");
    Ok(Built { agent, programs, directory })
}

/// Builds test programs with further arguments of cargo; returns names and paths.
fn test_programs(sh: &Shell, names: &[&'static str], how: &[&str]) -> Result<Vec<(&'static str, PathBuf)>> {
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let targets = names.iter().flat_map(|name| ["--test", name]);
    // Optimised: emulated, an unoptimised build would exceed the tests' timeouts.
    let cargo = cmd!(
        sh,
        "cargo test --release -p firewall-tests --no-run --message-format=json-render-diagnostics {targets...}"
    );
    let cargo = cargo.args(how);
    let messages = cargo.read()?;
    let path = |name: &&'static str| {
        let path = executable(&messages, name).with_context(|| format!("{name}: {cargo}"))?;
        Ok((*name, path))
    };
    names.iter().map(path).collect()
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

/// One run of a test program in a guest.
#[derive(Debug)]
pub struct Step<'a> {
    /// Name of the suite, or of the card.
    pub name: &'static str,
    program: &'a TestProgram,
    card: Option<Slot>,
    /// Prefixes of the names of the tests to run; empty for all.
    filters: &'static [&'static str],
    /// Names of tests to leave out.
    skipped: &'static [&'static str],
}

impl Step<'_> {
    /// Returns the tests to run, and the number of those left out.
    pub fn tests(&self) -> (BTreeSet<String>, usize) {
        let is_run = |name: &&String| {
            let is_in = self.filters.is_empty() || self.filters.iter().any(|start| name.starts_with(start));
            is_in && !self.skipped.contains(&name.as_str())
        };
        let run: BTreeSet<String> = self.program.tests.iter().filter(is_run).cloned().collect();
        let left_out = self.program.tests.len() - run.len();
        (run, left_out)
    }

    fn line(&self, kernel: &Kernel) -> Result<String> {
        let (name, path, filters) = (self.name, quoted(&self.program.path)?, self.filters.join(" "));
        // A card is in one test at a time.
        let threads = if self.card.is_some() { 1 } else { 2 };
        let skipped: String = self.skipped.iter().map(|name| format!(" --skip {name}")).collect();
        // Those of kernel modules that this machine may lack.
        let how = format!("--include-ignored --color never --test-threads {threads} --show-output{skipped}");
        let environment = self
            .card
            .map_or_else(String::new, |slot| format!("env {CARD}='{}' ", slot.description(&kernel.release)));
        Ok(format!("run {name} {LIMIT} {environment}{path} {filters} {how}\n"))
    }
}

/// Returns the runs of a guest: the suites, then the tests of each card.
///
/// Where every instruction is emulated, only a part of the lifecycle tests runs.
pub fn steps<'a>(built: &'a Built, slots: &[Slot], accel: Accelerator, of: &DebianKernel) -> Vec<Step<'a>> {
    let mut steps = Vec::new();
    for program in &built.programs {
        if program.name == CARD_TESTS {
            steps.extend(slots.iter().map(|slot| Step {
                name: slot.card.name,
                program,
                card: Some(*slot),
                filters: &[],
                skipped: &[],
            }));
        } else {
            let filters = match (program.name, of.architecture, accel) {
                (LIFECYCLE, Architecture::Arm64, _) => FOREIGN_RESTARTS,
                (LIFECYCLE, Architecture::Amd64, Accelerator::Tcg) => RESTARTS,
                _ => &[],
            };
            let is_skipping = of.is_real_time() && program.name == PUBLICATION;
            let skipped = if is_skipping { CACHE_KILLS } else { &[] };
            steps.push(Step { name: program.name, program, card: None, filters, skipped });
        }
    }
    steps
}

/// Returns a script that reports that the kernel is up, and ends.
pub fn only_up(kernel: &Kernel) -> String {
    script(kernel, "")
}

/// Returns a script that runs every step.
///
/// Where every instruction is emulated, tests run a tenth of their repetitions.
pub fn tests(kernel: &Kernel, built: &Built, steps: &[Step<'_>], accel: Accelerator) -> Result<String> {
    let rounds = if accel == Accelerator::Tcg { "export FIREWALL_TESTS=brief\n" } else { "" };
    let mut lines = format!("{rounds}cd {}\n", quoted(&built.directory)?);
    let drivers: Vec<&str> = steps.iter().filter_map(|step| step.card).map(|slot| slot.card.module).collect();
    if !drivers.is_empty() {
        // The peers are virtio cards. 8021q lets a card's filter pass frames with the VLAN tag 0.
        lines += &format!("run modules 60 modprobe -a 8021q virtio_net {}\n", drivers.join(" "));
    }
    for step in steps {
        lines += &step.line(kernel)?;
    }
    Ok(script(kernel, &lines))
}

/// Returns a script that starts the agent as an operator would, on a kernel that cannot run it.
pub fn refusal(kernel: &Kernel, built: &Built) -> Result<String> {
    let agent = quoted(&built.agent)?;
    let dirs = "--rules-dir /run/rules --state-dir /run/state --bpffs-dir /sys/fs/bpf/agent";
    let sockets = "--control-socket /run/control.sock --listen unix:/run/http.sock";
    let lines = format!(
        "mkdir /run/rules /run/state\n\
         run {REFUSAL} 300 {agent} run --interfaces eth0 --guarded-ports 5432 {dirs} {sockets}\n"
    );
    Ok(script(kernel, &lines))
}

fn script(kernel: &Kernel, lines: &str) -> String {
    let modules = kernel.root.join("lib/modules");
    format!("MODULES='{}'\n{PREPARE}\nrun up 60 uname -r\n{lines}off\n", modules.display())
}

/// Quotes a path for the shell.
fn quoted(path: &Path) -> Result<String> {
    let text = path.display().to_string();
    ensure!(!text.contains('\''), "{text}: path contains a quote");
    Ok(format!("'{text}'"))
}
