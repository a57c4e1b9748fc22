//! `cargo xtask fuzz`: fuzzes the parsers with libFuzzer.

use std::path::{Path, PathBuf};
use std::process::Child;
use std::thread::ScopedJoinHandle;

use anyhow::{Result, anyhow, ensure};
use xshell::{Cmd, cmd};

use crate::debian::ensure_packages;
use crate::run::{in_background, reported, say};
use crate::workspace::Workspace;

/// A program of `fuzz/`, with further seed directories.
type Target = (&'static str, &'static [&'static str]);

const TARGETS: &[Target] = &[
    ("rule_file", &["tests/fixtures/valid/databases", "tests/fixtures/invalid/databases"]),
    ("managed_ranges", &["tests/fixtures/valid/ranges", "tests/fixtures/invalid/ranges"]),
    ("packet", &[]),
    ("store", &[]),
    ("signature", &[]),
    ("http", &[]),
];

/// Coverage counters in libFuzzer's format; stable rustc supports all of these flags.
const FLAGS: &[&str] = &[
    "--cfg=fuzzing",
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
];

/// Profile that builds in a third of the time.
const QUICK: &str = "quick";

/// Number of targets that run in parallel, each on one core.
const SIDE_BY_SIDE: usize = 2;

/// Limits per input: time in seconds, memory in MiB, length in bytes. Time and memory are many times those of the
/// slowest input.
const BOUNDS: [&str; 3] = ["-timeout=30", "-rss_limit_mb=1024", "-max_len=8192"];

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Fuzz only this target
    target: Option<String>,
    /// Seconds for each target
    #[arg(long, default_value_t = 60)]
    seconds: u32,
    /// Add inputs that reach new code to fuzz/corpus
    #[arg(long)]
    keep: bool,
    /// Build the programs in a third of the time; they run at a fraction of the speed
    #[arg(long)]
    quick: bool,
}

pub fn fuzz(workspace: &Workspace, arguments: &Arguments) -> Result<()> {
    let wanted = |name: &str| arguments.target.as_deref().is_none_or(|target| target == name);
    let targets: Vec<&Target> = TARGETS.iter().filter(|(name, _)| wanted(name)).collect();
    let names = TARGETS.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
    ensure!(!targets.is_empty(), "fuzz: unknown target; known are {names}");
    let programs = build(workspace, if arguments.quick { QUICK } else { "release" })?;
    std::thread::scope(|scope| {
        let share = targets.len().div_ceil(SIDE_BY_SIDE);
        let start = |targets: &[&'static Target]| {
            let (workspace, targets, programs) = (workspace.clone(), targets.to_vec(), &programs);
            let fuzz = move |target| run_target(&workspace, programs, target, arguments);
            scope.spawn(move || targets.into_iter().map(fuzz).map(reported).fold(Ok(()), Result::and))
        };
        let runs: Vec<_> = targets.chunks(share).map(start).collect();
        let ended = |run: ScopedJoinHandle<'_, Result<()>>| {
            run.join().unwrap_or_else(|_| Err(anyhow!("fuzz: a thread panicked")))
        };
        runs.into_iter().map(ended).fold(Ok(()), Result::and)
    })
}

/// Fuzzes every target for `seconds`; a finding is an error that names the input.
pub fn fuzz_all(workspace: &Workspace, seconds: u32, quick: bool) -> Result<()> {
    fuzz(workspace, &Arguments { target: None, seconds, keep: false, quick })
}

/// Installs the compiler of libFuzzer's runtime, unless there is one.
pub fn ensure_compiler(workspace: &Workspace) -> Result<()> {
    ensure_packages(&workspace.shell, &[("g++", &["c++"])])
}

/// Starts to build the quick programs at the lowest priority, for [`fuzz_all`], which reports build errors.
pub fn build_ahead(workspace: &Workspace) -> Result<Child> {
    ensure_compiler(workspace)?;
    in_background(build_command(workspace, QUICK, &host(workspace)?))
}

/// Builds the programs; returns their directory.
fn build(workspace: &Workspace, profile: &str) -> Result<PathBuf> {
    ensure_compiler(workspace)?;
    let host = host(workspace)?;
    build_command(workspace, profile, &host).run()?;
    Ok(scratch(workspace).join(host).join(profile))
}

fn host(workspace: &Workspace) -> Result<String> {
    Ok(cmd!(workspace.shell, "rustc --print host-tuple").read()?)
}

fn build_command<'a>(workspace: &'a Workspace, profile: &str, host: &str) -> Cmd<'a> {
    let flags = FLAGS.iter().map(|flag| format!("{flag:?}")).collect::<Vec<_>>().join(", ");
    // Flags set for an explicit target do not apply to build scripts.
    let flags = format!("target.{host}.rustflags = [{flags}]");
    let build = cmd!(
        workspace.shell,
        "cargo build --profile {profile} --manifest-path fuzz/Cargo.toml --target {host} --config {flags}"
    );
    build.env("CARGO_TARGET_DIR", scratch(workspace))
}

fn run_target(
    workspace: &Workspace,
    programs: &Path,
    &(name, seeds): &Target,
    arguments: &Arguments,
) -> Result<()> {
    let sh = &workspace.shell;
    let found = sh.create_dir(scratch(workspace).join("corpus").join(name))?;
    let findings = sh.create_dir(scratch(workspace).join("findings").join(name))?;
    let (program, seconds) = (programs.join(name), arguments.seconds.to_string());
    let fuzzer = cmd!(
        sh,
        "{program} {BOUNDS...} -max_total_time={seconds} -verbosity=0 -print_final_stats=1
         -artifact_prefix={findings}/ {found} fuzz/corpus/{name} {seeds...}"
    );
    // Reported at the end: two fuzzers run in parallel.
    let out = fuzzer.ignore_status().output()?;
    let stderr = String::from_utf8_lossy(&out.stderr);
    ensure!(out.status.success(), "fuzz {name}: failed, the input is in {}\n{stderr}", findings.display());
    let runs = stderr.lines().find_map(|line| line.strip_prefix("stat::number_of_executed_units:"));
    let runs = runs.map_or("?", str::trim);
    say(format_args!("fuzz {name}: nothing found in {seconds} s and {runs} runs"));
    if arguments.keep {
        // As few of the new inputs as possible.
        cmd!(sh, "{program} {BOUNDS...} -merge=1 fuzz/corpus/{name} {found}").run()?;
    }
    Ok(())
}

fn scratch(workspace: &Workspace) -> PathBuf {
    workspace.target.join("fuzz")
}
