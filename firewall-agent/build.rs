//! Compiles the XDP program from source and leaves it in `OUT_DIR`, where `bpf::programs` embeds it; tells
//! `version` which it is.
//!
//! On the pinned stable toolchain that takes `RUSTC_BOOTSTRAP=1`, which must not reach any crate of the host: this
//! program runs itself once more as a child with it.

#[path = "build/tag.rs"]
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

/// Set in the child, to where the objects are to be put.
const CHILD: &str = "FIREWALL_EBPF_OUT";
const OBJECT: &str = "firewall-ebpf";

fn main() -> ExitCode {
    if env::var_os("CARGO_FEATURE_PROGRAM").is_none() {
        println!("cargo:rerun-if-changed=build.rs");
        return ExitCode::SUCCESS;
    }
    for path in ["build.rs", "build", "../firewall-ebpf", "../firewall-common"] {
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
    let (shared, out) = (directory("OUT_DIR")?, directory(CHILD)?);
    let failed = |error| format!("{}: {error}", shared.display());
    let lock =
        fs::create_dir_all(&shared).and_then(|()| fs::File::create(shared.join("lock"))).map_err(failed)?;
    lock.lock().map_err(failed)?;
    let build = |features: &[&str], name: &str| {
        let root_dir = "../firewall-ebpf";
        let package = Package { name: OBJECT, root_dir, features, ..Default::default() };
        aya_build::build_ebpf([package], Toolchain::Custom(&toolchain))
            .map_err(|error| format!("{OBJECT}: cannot be compiled: {error:#}").replace('\n', " "))?;
        // Every build leaves its object under the same name.
        fs::rename(shared.join(OBJECT), out.join(name)).map_err(failed)
    };
    build(&["packet-log"], "firewall-ebpf-packet-log")?;
    build(&[], OBJECT)?;
    identify(&out.join(OBJECT))
}

/// Digest and tags of the program that is attached, for `version`.
fn identify(built: &Path) -> Result<(), String> {
    let object = fs::read(built).map_err(|error| format!("{}: not built: {error}", built.display()))?;
    let tags =
        tag::tags(&object, names::FIREWALL).map_err(|error| format!("{}: {error}", built.display()))?;
    let digest = hex::encode(Sha256::digest(&object));
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
    // Several kinds of builds in one target directory share what they compile: the core library, above all.
    let out = directory("OUT_DIR")?;
    let shared =
        out.ancestors().nth(3).ok_or_else(|| format!("{}: not in a target directory", out.display()))?;
    let output = Command::new(&this)
        .env("OUT_DIR", shared.join("ebpf"))
        .env(CHILD, &out)
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
    let out = directory("OUT_DIR")?;
    let tools = out.ancestors().map(|dir| dir.join("tools/bin")).find(|dir| Path::is_dir(dir));
    let path = env::var_os("PATH").unwrap_or_default();
    env::join_paths(tools.into_iter().chain(env::split_paths(&path)))
        .map_err(|error| format!("PATH {path:?}: cannot be put behind the tools: {error}"))
}

fn directory(variable: &str) -> Result<PathBuf, String> {
    env::var_os(variable).map(PathBuf::from).ok_or_else(|| format!("{variable} is not set"))
}
