//! `cargo xtask fuzz`: the parsers against bytes of any kind, with libFuzzer.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::debian::ensure_packages;
use crate::ebpf;
use crate::run::{output, run, say};
use crate::workspace::Workspace;

/// Programs of `fuzz/`, and further directories that hold seeds for each.
const TARGETS: &[(&str, &[&str])] = &[
    ("rule_file", &["tests/fixtures/valid/databases", "tests/fixtures/invalid/databases"]),
    ("managed_ranges", &["tests/fixtures/valid/ranges", "tests/fixtures/invalid/ranges"]),
    ("packet", &[]),
    ("store", &[]),
    ("signature", &[]),
];

/// Coverage counters, as libFuzzer reads them; all of it is in stable rustc.
const FLAGS: &[&str] = &[
    "--cfg=fuzzing",
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Ccodegen-units=1",
];

/// How long one input may take, in seconds, and how much memory, in MiB: many times what the slowest takes.
const BOUNDS: [&str; 3] = ["-timeout=30", "-rss_limit_mb=1024", "-max_len=8192"];

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Only this target
    target: Option<String>,
    /// Seconds for each target
    #[arg(long, default_value_t = 60)]
    seconds: u32,
    /// Keep in fuzz/corpus what reaches code that no kept input reaches
    #[arg(long)]
    keep: bool,
}

pub fn fuzz(workspace: &Workspace, arguments: &Arguments) -> Result<()> {
    let wanted = |name: &str| arguments.target.as_deref().is_none_or(|target| target == name);
    let targets: Vec<_> = TARGETS.iter().filter(|(name, _)| wanted(name)).collect();
    let names = TARGETS.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
    ensure!(!targets.is_empty(), "fuzz: no such target; there are {names}");
    let programs = build(workspace)?;
    for (name, seeds) in targets {
        run_target(workspace, &programs, name, seeds, arguments.seconds)?;
        if arguments.keep {
            keep(workspace, &programs, name)?;
        }
    }
    Ok(())
}

/// Every target for this long; a finding is an error that names the input.
pub fn fuzz_all(workspace: &Workspace, seconds: u32) -> Result<()> {
    fuzz(workspace, &Arguments { target: None, seconds, keep: false })
}

/// Builds the programs; the directory that holds them.
fn build(workspace: &Workspace) -> Result<PathBuf> {
    ensure_packages(&["g++"], &["c++"])?;
    ebpf::ebpf(workspace)?;
    let host = output(Command::new("rustc").current_dir(&workspace.root).args(["--print", "host-tuple"]))?;
    let host = host.trim();
    let flags = FLAGS.iter().map(|flag| format!("{flag:?}")).collect::<Vec<_>>().join(", ");
    // Named for the target, the flags reach neither build scripts nor the XDP program.
    run(workspace
        .cargo()
        .env("CARGO_TARGET_DIR", scratch(workspace))
        .args(["build", "--release", "--manifest-path", "fuzz/Cargo.toml", "--target", host])
        .args(["--config", &format!("target.{host}.rustflags = [{flags}]")]))?;
    Ok(scratch(workspace).join(host).join("release"))
}

fn run_target(
    workspace: &Workspace,
    programs: &std::path::Path,
    name: &str,
    seeds: &[&str],
    seconds: u32,
) -> Result<()> {
    let found = scratch(workspace).join("corpus").join(name);
    let findings = scratch(workspace).join("findings").join(name);
    for dir in [&found, &findings] {
        fs::create_dir_all(dir).with_context(|| dir.display().to_string())?;
    }
    let mut fuzzer = Command::new(programs.join(name));
    fuzzer.current_dir(&workspace.root).args(BOUNDS).arg(format!("-max_total_time={seconds}"));
    fuzzer.args(["-verbosity=0", "-print_final_stats=1"]);
    fuzzer.arg(format!("-artifact_prefix={}/", findings.display()));
    fuzzer.arg(found).arg(format!("fuzz/corpus/{name}")).args(seeds);
    run(&mut fuzzer).with_context(|| format!("fuzz {name}: the input is in {}", findings.display()))?;
    say(format_args!("fuzz {name}: nothing found in {seconds} s"));
    Ok(())
}

/// Adds what is new in what was found to the kept corpus, as few inputs as possible.
fn keep(workspace: &Workspace, programs: &std::path::Path, name: &str) -> Result<()> {
    let found = scratch(workspace).join("corpus").join(name);
    let mut merge = Command::new(programs.join(name));
    merge.current_dir(&workspace.root).args(BOUNDS).arg("-merge=1");
    run(merge.arg(format!("fuzz/corpus/{name}")).arg(found))
}

fn scratch(workspace: &Workspace) -> PathBuf {
    workspace.target.join("fuzz")
}
