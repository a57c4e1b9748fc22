//! kubectl of two Debian releases, unpacked into the tools: neither is installed, nor replaces another kubectl.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use fs_err::os::unix::fs::symlink;
use xshell::{Shell, cmd};

use crate::apt::Apt;
use crate::debian::{is_debian, on_path};
use crate::run::succeeds;
use crate::workspace::Workspace;

/// This machine's release. On Debian 12 it is kubectl 1.20, the oldest that renders the base.
const OWN: &str = "kubernetes-client";
/// Debian 13 with kubectl 1.32: kustomize has components since kubectl 1.21.
const LATER: (&str, &str) = ("trixie", "kubectl");

/// Ensures that the tools contain `kubectl/usr/bin/kubectl` and `kubectl-trixie/usr/bin/kubectl`. Off Debian both are
/// links to the one on `PATH`.
pub fn ensure_kubectl(workspace: &Workspace) -> Result<()> {
    let sh = &workspace.shell;
    ensure_in(sh, &workspace.tools().join("kubectl"), |dir| {
        let _inside = sh.push_dir(dir);
        let download = cmd!(sh, "apt-get -q download {OWN}");
        if download.run().is_err() {
            cmd!(sh, "apt-get -q update").run()?;
            download.run()?;
        }
        for package in sh.read_dir(dir)?.iter().filter(|path| path.is_file()) {
            cmd!(sh, "dpkg-deb -x {package} {dir}").run()?;
            sh.remove_path(package)?;
        }
        Ok(())
    })?;
    let (release, package) = LATER;
    ensure_in(sh, &workspace.tools().join(format!("kubectl-{release}")), |dir| {
        Apt::new(sh, release, &workspace.target)?.unpack(&[package], dir)
    })
}

/// Returns the directory of the later release's kubectl.
pub fn later(workspace: &Workspace) -> PathBuf {
    workspace.tools().join(format!("kubectl-{}", LATER.0)).join("usr/bin")
}

/// Ensures that `dir` contains a kubectl; `unpack` makes it on Debian.
fn ensure_in(sh: &Shell, dir: &Path, unpack: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let bin = dir.join("usr/bin");
    let kubectl = bin.join("kubectl");
    let fits = || succeeds(cmd!(sh, "{kubectl} kustomize --help"));
    if fits() {
        return Ok(());
    }
    sh.remove_path(dir)?;
    if is_debian() {
        sh.create_dir(dir)?;
        unpack(dir)?;
    } else {
        sh.create_dir(&bin)?;
        symlink(on_path("kubectl").context("kubectl: not found; install it")?, &kubectl)?;
    }
    ensure!(fits(), "{}: cannot run it", kubectl.display());
    Ok(())
}
