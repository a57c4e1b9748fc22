//! The root file system of a guest.

use std::path::{Path, PathBuf};

use anyhow::Result;
use xshell::Shell;

use super::architecture::Architecture;
use crate::apt::{Apt, cached, in_path};

const RELEASE: &str = "trixie";
/// The package with the links of a merged `/usr`, which must be there before the files of the others.
const LINKS: &str = "base-files";
/// The programs that the script of a guest and the tests run.
const PACKAGES: &[&str] = &[
    LINKS,
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
    let apt = Apt::of_architecture(sh, RELEASE, architecture.name(), dir)?;
    let version = apt.version(LINKS)?;
    let root = dir.join("roots").join(format!("{RELEASE}-{}-{}", architecture.name(), in_path(&version)));
    cached(sh, &root, |root| {
        for name in ["dev", "proc", "run", "sys", "tmp"] {
            sh.create_dir(root.join(name))?;
        }
        apt.unpack_with_dependencies(PACKAGES, LINKS, root)
    })?;
    Ok(root)
}
