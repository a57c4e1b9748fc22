//! `cargo xtask ebpf`: installs the tools that compile the XDP program.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::debian::ensure_packages;
use crate::run::{output, run, say, succeeds};
use crate::workspace::Workspace;

const LINKER_VERSION: &str = "0.13.0";

/// Components of the pinned toolchain, each with a path below its root that exists if the component is installed.
const COMPONENTS: &[(&str, &str)] = &[
    ("rust-src", "lib/rustlib/src/rust/library/core"),
    ("clippy", "bin/cargo-clippy"),
    ("rustfmt", "bin/cargo-fmt"),
];

/// Ensures that the toolchain has its components and that `<target>/tools/bin` contains a bpf-linker with rustc's LLVM:
/// another LLVM cannot read rustc's bitcode.
pub fn ebpf(workspace: &Workspace) -> Result<()> {
    ensure_components(workspace)?;
    let llvm = llvm_of_rustc(workspace)?;
    if fits(&workspace.tools(), llvm) {
        return Ok(());
    }
    say(format_args!(
        "bpf-linker {LINKER_VERSION} for LLVM {llvm}: not in {}, building it",
        workspace.tools().display()
    ));
    build(workspace, llvm)?;
    ensure!(fits(&workspace.tools(), llvm), "bpf-linker: built, but does not run");
    Ok(())
}

fn ensure_components(workspace: &Workspace) -> Result<()> {
    let sysroot = output(Command::new("rustc").current_dir(&workspace.root).args(["--print", "sysroot"]))?;
    let missing: Vec<&str> = COMPONENTS
        .iter()
        .filter(|(_, path)| !Path::new(sysroot.trim()).join(path).exists())
        .map(|(component, _)| *component)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    run(Command::new("rustup").current_dir(&workspace.root).args(["component", "add"]).args(&missing))
        .with_context(|| format!("toolchain: {} missing", missing.join(", ")))
}

fn llvm_of_rustc(workspace: &Workspace) -> Result<u32> {
    let version = output(Command::new("rustc").current_dir(&workspace.root).arg("-vV"))?;
    major_llvm(&version).with_context(|| format!("rustc -vV: no LLVM version in {version:?}"))
}

fn major_llvm(version: &str) -> Option<u32> {
    let line = version.lines().find_map(|line| line.strip_prefix("LLVM version: "))?;
    line.split('.').next()?.parse().ok()
}

/// Returns whether cargo's record names the right version and LLVM, and the linker runs, which shows that the LLVM
/// library still exists.
fn fits(tools: &Path, llvm: u32) -> bool {
    let record = fs::read_to_string(tools.join(".crates2.json")).unwrap_or_default();
    is_recorded(&record, llvm) && succeeds(Command::new(tools.join("bin/bpf-linker")).arg("--version"))
}

fn is_recorded(record: &str, llvm: u32) -> bool {
    record.contains(&format!("\"bpf-linker {LINKER_VERSION} ("))
        && record.contains(&format!("\"llvm-{llvm}\""))
}

fn build(workspace: &Workspace, llvm: u32) -> Result<()> {
    let (dev, polly, config) =
        (format!("llvm-{llvm}-dev"), format!("libpolly-{llvm}-dev"), format!("llvm-config-{llvm}"));
    ensure_packages(&[&dev, &polly, "zlib1g-dev", "libzstd-dev", "g++"], &[&config, "c++"])?;
    let prefix = output(Command::new(&config).arg("--prefix"))?;
    run(workspace
        .cargo()
        .env("LLVM_PREFIX", prefix.trim())
        .env("CARGO_TARGET_DIR", workspace.tools().join("build"))
        .args(["install", "bpf-linker", "--version", LINKER_VERSION, "--locked", "--force"])
        .args(["--no-default-features", "--features", &format!("llvm-{llvm}")])
        .arg("--root")
        .arg(workspace.tools()))?;
    fs::remove_dir_all(workspace.tools().join("build"))
        .context("bpf-linker: cannot remove its build directory")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_llvm_of_rustc_is_its_major_number() {
        assert_eq!(major_llvm("rustc 1.95.0\nrelease: 1.95.0\nLLVM version: 22.1.2\n"), Some(22));
        assert_eq!(major_llvm("rustc 1.95.0\nrelease: 1.95.0\n"), None);
    }

    #[test]
    fn a_linker_of_another_version_or_llvm_does_not_fit() {
        let record = r#"{"installs":{"bpf-linker 0.13.0 (registry)":{"features":["llvm-22"]}}}"#;
        assert!(is_recorded(record, 22));
        assert!(!is_recorded(record, 21));
        assert!(!is_recorded(&record.replace("0.13.0", "0.12.0"), 22));
        assert!(!is_recorded("", 22));
    }
}
