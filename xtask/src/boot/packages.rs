//! The project's Debian package, and the same with a higher version, for an upgrade.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use fs_err as fs;
use xshell::cmd;

use crate::artefacts;
use crate::workspace::Workspace;

/// Both packages, and their versions.
#[derive(Debug)]
pub struct Packages {
    pub current: PathBuf,
    pub next: PathBuf,
    pub version: String,
    pub next_version: String,
}

impl Packages {
    /// Builds the release's package unless one is given, and the second from it in `dir`.
    pub fn build(workspace: &Workspace, dir: &Path, given: Option<&Path>) -> Result<Self> {
        let sh = &workspace.shell;
        let built = match given {
            Some(package) => package.to_owned(),
            None => artefacts::release_package(workspace)?,
        };
        let current = dir.join("firewall-agent.deb");
        fs::copy(built, &current)?;
        let version = cmd!(sh, "dpkg-deb --field {current} Version").read()?;
        let next_version = format!("{version}+next");
        let (tree, next) = (dir.join("next"), dir.join("firewall-agent-next.deb"));
        sh.remove_path(&tree)?;
        cmd!(sh, "dpkg-deb --raw-extract {current} {tree}").run()?;
        let control = tree.join("DEBIAN/control");
        let text = fs::read_to_string(&control)?;
        let line = text.lines().find(|line| line.starts_with("Version: "));
        let line = line.with_context(|| format!("{}: no version", control.display()))?;
        fs::write(&control, text.replace(line, &format!("Version: {next_version}")))?;
        cmd!(sh, "dpkg-deb --root-owner-group -z1 --build {tree} {next}").ignore_stdout().run()?;
        sh.remove_path(&tree)?;
        Ok(Self { current, next, version, next_version })
    }
}
