//! kubectl, unpacked from Debian's package into the tools: it is not installed and does not replace another kubectl.

use anyhow::{Context as _, Result, ensure};
use fs_err::os::unix::fs::symlink;
use xshell::cmd;

use crate::debian::{is_debian, on_path};
use crate::run::succeeds;
use crate::workspace::Workspace;

const PACKAGE: &str = "kubernetes-client";

/// Ensures that the tools contain `kubectl/usr/bin/kubectl`. Off Debian this is a link to the one on `PATH`.
pub fn ensure_kubectl(workspace: &Workspace) -> Result<()> {
    let sh = &workspace.shell;
    let dir = workspace.tools().join("kubectl");
    let bin = dir.join("usr/bin");
    let kubectl = bin.join("kubectl");
    let fits = || succeeds(cmd!(sh, "{kubectl} kustomize --help"));
    if fits() {
        return Ok(());
    }
    sh.remove_path(&dir)?;
    sh.create_dir(&bin)?;
    if is_debian() {
        let _inside = sh.push_dir(&dir);
        let download = cmd!(sh, "apt-get -q download {PACKAGE}");
        if download.run().is_err() {
            cmd!(sh, "apt-get -q update").run()?;
            download.run()?;
        }
        for package in sh.read_dir(&dir)?.iter().filter(|path| path.is_file()) {
            cmd!(sh, "dpkg-deb -x {package} {dir}").run()?;
            sh.remove_path(package)?;
        }
    } else {
        let found = on_path("kubectl").context("kubectl: not found; install it")?;
        symlink(&found, &kubectl)?;
    }
    ensure!(fits(), "{}: cannot run it", kubectl.display());
    Ok(())
}
