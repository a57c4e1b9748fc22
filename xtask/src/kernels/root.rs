//! The root file system of a guest.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use xshell::Shell;

use super::apt::{Apt, cached, unpack};
use super::architecture::Architecture;

const RELEASE: &str = "trixie";
/// The programs that the script of a guest and the tests run. base-files has the links of a merged `/usr`.
const PACKAGES: &[&str] = &[
    "base-files",
    "busybox-static",
    "coreutils",
    "dash",
    "hostname",
    "iproute2",
    "kmod",
    "mount",
    "sed",
    "util-linux",
];

/// Returns the root for guests of an architecture: this machine's, or one of unpacked packages below `dir`.
pub fn root(sh: &Shell, architecture: Architecture, dir: &Path) -> Result<PathBuf> {
    if architecture == Architecture::Amd64 {
        return Ok(PathBuf::from("/"));
    }
    let apt = Apt::new(sh, RELEASE, architecture.name(), dir)?;
    let first = PACKAGES.first().context("root: no package")?;
    let version = apt.version(&[(*first).to_owned()])?;
    let root = dir.join("roots").join(format!("{RELEASE}-{}-{version}", architecture.name()));
    cached(sh, &root, |root| {
        let mut packages = apt.download_with_dependencies(PACKAGES)?;
        // Its links have to be there before the files of the others.
        packages.sort_by_key(|file| !file.to_string_lossy().contains("/base-files_"));
        for name in ["dev", "proc", "run", "sys", "tmp"] {
            sh.create_dir(root.join(name))?;
        }
        packages.iter().try_for_each(|package| unpack(package, root, &[]))
    })?;
    Ok(root)
}
