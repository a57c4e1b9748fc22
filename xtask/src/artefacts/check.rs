//! Check of the image: its contents, and a run under a container runtime's restrictions.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use fs_err as fs;
use xshell::{Shell, cmd};

use super::image::{CAPABILITIES, USER};

/// Bounding set of a container: the capabilities of the manifest, and those that setting up the container needs; none
/// is ambient.
const BOUNDING: &str = "-all,+bpf,+net_admin,+perfmon,+setgid,+setuid,+sys_chroot";

/// Unpacks the only layer below `dir` and runs its program confined to it.
pub(super) fn check(sh: &Shell, dir: &Path, archive: &Path) -> Result<()> {
    let (image, root) = (sh.create_dir(dir.join("image"))?, sh.create_dir(dir.join("root"))?);
    cmd!(sh, "tar -xf {archive} -C {image}").run()?;
    let layer = layer(&image.join("blobs/sha256"))?;
    cmd!(sh, "tar --xattrs --xattrs-include=* -xf {layer} -C {root}").run()?;
    let program = root.join("firewall-agent");
    let files = sh.read_dir(&root)?;
    ensure!(files == [program.as_path()], "image: contains {files:?}, must contain only firewall-agent");
    let read = cmd!(sh, "getcap {program}").read()?;
    let has = read.split_whitespace().last().unwrap_or_default();
    ensure!(
        sorted(has) == sorted(CAPABILITIES),
        "image: program has capabilities {has:?}, must have {CAPABILITIES:?}"
    );
    let confined = cmd!(
        sh,
        "setpriv --bounding-set {BOUNDING} --inh-caps -all --
         chroot --userspec={USER} {root} /firewall-agent --version"
    );
    let version = confined.read()?;
    ensure!(
        version.starts_with("firewall-agent "),
        "image: program prints version {version:?}, must start with firewall-agent"
    );
    Ok(())
}

/// Splits `a,b=p` and sorts the names, since the kernel does not preserve their order.
fn sorted(capabilities: &str) -> (Vec<&str>, &str) {
    let (names, sets) = capabilities.split_once('=').unwrap_or((capabilities, ""));
    let mut names: Vec<&str> = names.split(',').collect();
    names.sort_unstable();
    (names, sets)
}

/// Returns the largest blob: the others are a manifest and a configuration.
fn layer(blobs: &Path) -> Result<PathBuf> {
    let sizes = fs::read_dir(blobs)?.map(|entry| {
        let entry = entry?;
        Ok((entry.metadata()?.len(), entry.path()))
    });
    let largest = sizes.collect::<Result<Vec<_>>>()?.into_iter().max();
    Ok(largest.context("image: contains no layer")?.1)
}
