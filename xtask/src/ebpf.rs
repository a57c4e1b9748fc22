//! `cargo xtask ebpf`: installs the tools that compile the XDP program.

use std::path::Path;

use anyhow::{Context as _, Result};
use xshell::{Shell, cmd};

use crate::cargo_tool::CargoTool;
use crate::debian::ensure_packages;
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
    let sh = &workspace.shell;
    ensure_components(sh)?;
    let version = cmd!(sh, "rustc -vV").read()?;
    let llvm = major_llvm(&version).with_context(|| format!("rustc -vV: no LLVM version in {version:?}"))?;
    let (config, feature) = (format!("llvm-config-{llvm}"), format!("llvm-{llvm}"));
    let arguments = ["--no-default-features", "--features", &feature];
    let linker =
        CargoTool { name: "bpf-linker", version: LINKER_VERSION, arguments: &arguments, environment: &[] };
    if linker.is_installed(workspace) {
        return Ok(());
    }
    let (dev, polly) = (format!("llvm-{llvm}-dev"), format!("libpolly-{llvm}-dev"));
    ensure_packages(
        sh,
        &[(&dev, &[&config]), (&polly, &[]), ("zlib1g-dev", &[]), ("libzstd-dev", &[]), ("g++", &["c++"])],
    )?;
    let prefix = cmd!(sh, "{config} --prefix").read()?;
    CargoTool { environment: &[("LLVM_PREFIX", &prefix)], ..linker }.ensure(workspace).map(drop)
}

fn ensure_components(sh: &Shell) -> Result<()> {
    let sysroot = cmd!(sh, "rustc --print sysroot").read()?;
    let missing: Vec<&str> = COMPONENTS
        .iter()
        .filter(|(_, path)| !Path::new(&sysroot).join(path).exists())
        .map(|(component, _)| *component)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let list = missing.join(", ");
    let add = cmd!(sh, "rustup component add {missing...}").run();
    add.with_context(|| format!("toolchain: {list} missing"))
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
