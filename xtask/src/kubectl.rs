//! kubectl, unpacked from Debian's package into the tools: it is not installed and does not replace another kubectl.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use fs_err as fs;
use fs_err::os::unix::fs::symlink;

use crate::debian::{is_debian, on_path};
use crate::run::{run, succeeds};
use crate::workspace::Workspace;

const PACKAGE: &str = "kubernetes-client";
const PROGRAM: &str = "usr/bin/kubectl";

/// Ensures that the tools contain `kubectl/usr/bin/kubectl`. Off Debian this is a link to the one on `PATH`.
pub fn ensure_kubectl(workspace: &Workspace) -> Result<()> {
    let dir = workspace.tools().join("kubectl");
    let program = dir.join(PROGRAM);
    let fits = || succeeds(Command::new(&program).args(["kustomize", "--help"]));
    if fits() {
        return Ok(());
    }
    if dir.exists() {
        fs::remove_dir_all(&dir)?;
    }
    let bin = program.parent().context("kubectl: no parent directory")?;
    fs::create_dir_all(bin)?;
    if is_debian() {
        let mut download = Command::new("apt-get");
        download.current_dir(&dir).args(["-q", "download", PACKAGE]);
        if !succeeds(&mut download) {
            run(Command::new("apt-get").args(["-q", "update"]))?;
            run(&mut download)?;
        }
        for entry in fs::read_dir(&dir)? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "deb") {
                run(Command::new("dpkg-deb").arg("-x").arg(&path).arg(&dir))?;
                fs::remove_file(&path)?;
            }
        }
    } else {
        let found = on_path("kubectl").context("kubectl: not found; install it")?;
        symlink(&found, &program)?;
    }
    ensure!(fits(), "{}: cannot run it", program.display());
    Ok(())
}
