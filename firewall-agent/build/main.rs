//! Compiles the XDP program from source and leaves it in `OUT_DIR`, where `bpf::object` embeds it; tells
//! `version` which it is.
//!
//! On the pinned stable toolchain that takes `RUSTC_BOOTSTRAP=1`, which must not reach any crate of the host: this
//! program runs itself once more as a child with it.

mod tag;

use std::{
    env,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use aya_build::{Package, Toolchain};
use firewall_common::names;
use sha2::{Digest, Sha256};

const CHILD: &str = "FIREWALL_EBPF_BUILD";

fn main() -> ExitCode {
    if env::var_os("CARGO_FEATURE_PROGRAM").is_none() {
        println!("cargo:rerun-if-changed=build");
        return ExitCode::SUCCESS;
    }
    for path in ["build", "../firewall-ebpf", "../firewall-common"] {
        println!("cargo:rerun-if-changed={path}");
    }
    println!("cargo:rerun-if-env-changed=PATH");
    let done = if env::var_os(CHILD).is_some() { compile() } else { in_child() };
    if let Err(error) = done {
        println!("cargo::error={error}");
    }
    // `cargo::error` fails the build, without a backtrace.
    ExitCode::SUCCESS
}

fn compile() -> Result<(), String> {
    let toolchain =
        env::var("RUSTUP_TOOLCHAIN").map_err(|_| "RUSTUP_TOOLCHAIN is not set: build with rustup's cargo")?;
    let build = |features| {
        let package =
            Package { name: "firewall-ebpf", root_dir: "../firewall-ebpf", features, ..Default::default() };
        aya_build::build_ebpf([package], Toolchain::Custom(&toolchain))
            .map_err(|error| format!("firewall-ebpf: cannot be compiled: {error:#}").replace('\n', " "))
    };
    // Both builds leave their object under the same name.
    build(&["packet-log"])?;
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?);
    let (built, kept) = (out.join("firewall-ebpf"), out.join("firewall-ebpf-packet-log"));
    fs::rename(&built, &kept).map_err(|error| format!("{}: not built: {error}", built.display()))?;
    build(&[])?;
    identify(&built)
}

/// Digest and tags of the program that is attached, for `version`.
fn identify(built: &Path) -> Result<(), String> {
    let object = fs::read(built).map_err(|error| format!("{}: not built: {error}", built.display()))?;
    let tags =
        tag::tags(&object, names::FIREWALL).map_err(|error| format!("{}: {error}", built.display()))?;
    let digest = tag::hex(&Sha256::digest(&object));
    println!("cargo:rustc-env=FIREWALL_OBJECT_SHA256={digest}");
    println!("cargo:rustc-env=FIREWALL_PROGRAM_TAG={}", tags.newer);
    println!("cargo:rustc-env=FIREWALL_PROGRAM_TAG_BEFORE_6_18={}", tags.older);
    Ok(())
}

fn in_child() -> Result<(), String> {
    let path = search_path()?;
    if !env::split_paths(&path).any(|dir| dir.join("bpf-linker").is_file()) {
        return Err("bpf-linker not found: run `cargo xtask ebpf`".to_owned());
    }
    let this =
        env::current_exe().map_err(|error| format!("build script: its own path is unknown: {error}"))?;
    let output = Command::new(&this)
        .env(CHILD, "1")
        .env("RUSTC_BOOTSTRAP", "1")
        // The object holds names of source files: without the directories in front of them that differ from one
        // machine to another, it is the same wherever it is built.
        .env("CARGO_UNSTABLE_TRIM_PATHS", "true")
        .env("CARGO_PROFILE_RELEASE_TRIM_PATHS", "all")
        .env("PATH", path)
        .output()
        .map_err(|error| format!("{}: cannot be run: {error}", this.display()))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let failed = text.lines().any(|line| line.starts_with("cargo::error"));
    for line in text.lines() {
        // The inner cargo's progress arrives as warnings; they matter only when it failed.
        if failed || !line.starts_with("cargo:warning=   ") {
            println!("{line}");
        }
    }
    if output.status.success() {
        Ok(())
    } else {
        Err(format!("{}: the build of the XDP program ended with {}", this.display(), output.status))
    }
}

/// `<target dir>/tools/bin`, where `cargo xtask ebpf` puts the linker, before the user's own path.
fn search_path() -> Result<OsString, String> {
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?);
    let tools = out.ancestors().map(|dir| dir.join("tools/bin")).find(|dir| Path::is_dir(dir));
    let path = env::var_os("PATH").unwrap_or_default();
    env::join_paths(tools.into_iter().chain(env::split_paths(&path)))
        .map_err(|error| format!("PATH {path:?}: cannot be put behind the tools: {error}"))
}
