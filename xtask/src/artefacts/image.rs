//! The OCI image, which contains only the program.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;
use fs_err as fs;

use super::{Artefacts, check};
use crate::debian::Package;
use crate::run::{output, run};

pub(super) const PACKAGES: &[Package<'_>] =
    &[("buildah", &["buildah"]), ("libcap2-bin", &["setcap"]), ("util-linux", &["setpriv"])];
/// Numeric, since the image has no `/etc/passwd`; the manifests use the same number.
const USER: &str = "65532:65532";
/// A runtime gives a user other than root no ambient capabilities: the program has file capabilities.
pub(super) const CAPABILITIES: &str = "cap_bpf,cap_net_admin,cap_perfmon=p";

impl Artefacts<'_> {
    /// Builds an image of the program and checks its contents; returns the archive.
    pub(super) fn image(&self, program: &Path) -> Result<PathBuf> {
        let archive = self.dir.join("firewall-agent.oci.tar");
        let scratch = self.dir.join("image");
        for old in [&archive, &scratch] {
            remove(old)?;
        }
        fs::create_dir_all(&scratch)?;
        let buildah = |arguments: &[&str]| {
            let mut buildah = Command::new("buildah");
            // Private storage, without overlay.
            buildah.args(["--storage-driver", "vfs", "--root"]).arg(scratch.join("storage"));
            buildah.arg("--runroot").arg(scratch.join("run")).args(arguments);
            buildah
        };
        let container = output(&mut buildah(&["from", "scratch"]))?;
        let container = container.trim();
        let root = PathBuf::from(output(&mut buildah(&["mount", container]))?.trim());
        let inside = root.join("firewall-agent");
        fs::copy(program, &inside)?;
        run(Command::new("setcap").arg(CAPABILITIES).arg(&inside))?;
        run(&mut buildah(&["umount", container]))?;
        let revision = format!("org.opencontainers.image.revision={}", self.revision);
        let version = format!("org.opencontainers.image.version={}", env!("CARGO_PKG_VERSION"));
        run(buildah(&["config", "--user", USER, "--entrypoint", "[\"/firewall-agent\"]", "--label"])
            .arg(version)
            .arg("--label")
            .arg(revision)
            .arg(container))?;
        let tag = format!("oci-archive:{}:firewall-agent:{}", archive.display(), env!("CARGO_PKG_VERSION"));
        run(&mut buildah(&["commit", "--quiet", "--timestamp", "0", container, &tag]))?;
        run(&mut buildah(&["rm", container]))?;
        check::check(&scratch.join("unpacked"), &archive)?;
        remove(&scratch)?;
        Ok(archive)
    }
}

/// Removes a file, or a directory with its contents.
pub(super) fn remove(path: &Path) -> Result<()> {
    let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    match removed {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}
