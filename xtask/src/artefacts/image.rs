//! The OCI image, which contains only the program.

use std::path::{Path, PathBuf};

use anyhow::Result;
use fs_err as fs;
use xshell::cmd;

use super::{Artefacts, check};
use crate::debian::Package;

pub(super) const PACKAGES: &[Package<'_>] =
    &[("buildah", &["buildah"]), ("libcap2-bin", &["setcap"]), ("util-linux", &["setpriv"])];
/// Numeric, since the image has no `/etc/passwd`; the manifests use the same number.
pub(super) const USER: &str = "65532:65532";
/// A runtime gives a user other than root no ambient capabilities: the program has file capabilities.
pub(super) const CAPABILITIES: &str = "cap_bpf,cap_net_admin,cap_perfmon=p";

impl Artefacts<'_> {
    /// Builds an image of the program and checks its contents; returns the archive.
    pub(super) fn image(&self, program: &Path) -> Result<PathBuf> {
        let sh = &self.workspace.shell;
        let archive = self.dir.join("firewall-agent.oci.tar");
        let scratch = self.dir.join("image");
        sh.remove_path(&archive)?;
        sh.remove_path(&scratch)?;
        sh.create_dir(&scratch)?;
        // Private storage, without overlay.
        let (storage, state) = (scratch.join("storage"), scratch.join("run"));
        let buildah = || cmd!(sh, "buildah --storage-driver vfs --root {storage} --runroot {state}");
        let container = buildah().args(["from", "scratch"]).read()?;
        let root = PathBuf::from(buildah().args(["mount", &container]).read()?);
        let inside = root.join("firewall-agent");
        fs::copy(program, &inside)?;
        cmd!(sh, "setcap {CAPABILITIES} {inside}").run()?;
        buildah().args(["umount", &container]).run()?;
        let version = env!("CARGO_PKG_VERSION");
        let labels = [
            format!("--label=org.opencontainers.image.version={version}"),
            format!("--label=org.opencontainers.image.revision={}", self.revision),
        ];
        let entrypoint = "--entrypoint=[\"/firewall-agent\"]";
        buildah().args(["config", "--user", USER, entrypoint]).args(labels).arg(&container).run()?;
        let tag = format!("oci-archive:{}:firewall-agent:{version}", archive.display());
        buildah().args(["commit", "--quiet", "--timestamp", "0", &container, &tag]).run()?;
        buildah().args(["rm", &container]).run()?;
        check::check(sh, &scratch.join("unpacked"), &archive)?;
        sh.remove_path(&scratch)?;
        Ok(archive)
    }
}
