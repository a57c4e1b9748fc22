//! `cargo xtask ebpf`: installs the tools that compile the XDP program.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::cargo_tool::CargoTool;
use crate::debian::ensure_packages;
use crate::run::{output, run};
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
    let (config, feature) = (format!("llvm-config-{llvm}"), format!("llvm-{llvm}"));
    let arguments = ["--no-default-features", "--features", &feature];
    let linker =
        CargoTool { name: "bpf-linker", version: LINKER_VERSION, arguments: &arguments, environment: &[] };
    if linker.is_installed(workspace) {
        return Ok(());
    }
    let (dev, polly) = (format!("llvm-{llvm}-dev"), format!("libpolly-{llvm}-dev"));
    ensure_packages(&[
        (&dev, &[&config]),
        (&polly, &[]),
        ("zlib1g-dev", &[]),
        ("libzstd-dev", &[]),
        ("g++", &["c++"]),
    ])?;
    let prefix = output(Command::new(&config).arg("--prefix"))?;
    CargoTool { environment: &[("LLVM_PREFIX", prefix.trim())], ..linker }.ensure(workspace).map(drop)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn llvm_version_of_rustc_is_its_major_number() {
        assert_eq!(major_llvm("rustc 1.95.0\nrelease: 1.95.0\nLLVM version: 22.1.2\n"), Some(22));
        assert_eq!(major_llvm("rustc 1.95.0\nrelease: 1.95.0\n"), None);
    }
}
