//! The node's Debian packages, unpacked and cached by version: nothing is installed on this machine, no daemon starts.

use std::path::{Path, PathBuf};

use anyhow::Result;
use xshell::Shell;

use crate::apt::{Apt, cached, in_path};

const PACKAGES: [&str; 5] =
    ["containerd", "containernetworking-plugins", "etcd-server", "kubernetes-client", "runc"];

/// A package, or the programs of a source package, unpacked in a directory of its own.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Unpacked {
    pub name: String,
    pub version: String,
    /// Contains `usr/bin` and the like.
    pub root: PathBuf,
}

impl Unpacked {
    /// Returns the package in its directory below `dir`; fills the directory by `fill` unless it exists.
    pub fn cached(
        sh: &Shell,
        dir: &Path,
        (name, version): (&str, String),
        fill: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<Self> {
        let root = dir.join(format!("{name}_{}", in_path(&version)));
        cached(sh, &root, fill)?;
        Ok(Self { name: name.to_owned(), version, root })
    }
}

/// Returns the node's packages; downloads those that are not cached below `dir`.
pub fn unpacked(sh: &Shell, apt: &Apt<'_>, dir: &Path) -> Result<Vec<Unpacked>> {
    let one = |name| Unpacked::cached(sh, dir, (name, apt.version(name)?), |root| apt.unpack(&[name], root));
    PACKAGES.into_iter().map(one).collect()
}
