//! Check of the image: its contents, and a run under a container runtime's restrictions.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use fs_err as fs;

use super::image::CAPABILITIES;
use crate::run::{output, run};

/// Bounding set of a container: the capabilities of the manifest, and those that setting up the container needs; none
/// is ambient. The kernel does not start a program whose file capabilities exceed this set.
const BOUNDING: &str = "-all,+bpf,+net_admin,+perfmon,+setgid,+setuid,+sys_chroot";

/// Unpacks the only layer below `dir` and runs its program confined to it.
pub(super) fn check(dir: &Path, archive: &Path) -> Result<()> {
    let (image, root) = (dir.join("image"), dir.join("root"));
    for made in [&image, &root] {
        fs::create_dir_all(made)?;
    }
    run(Command::new("tar").arg("-xf").arg(archive).arg("-C").arg(&image))?;
    let layer = layer(&image.join("blobs/sha256"))?;
    run(Command::new("tar").args(["--xattrs", "--xattrs-include=*", "-xf"]).arg(layer).arg("-C").arg(&root))?;
    let names: Vec<_> = fs::read_dir(&root)?.map(|entry| Ok(entry?.file_name())).collect::<Result<_>>()?;
    ensure!(names == ["firewall-agent"], "image: contains {names:?}, must contain only firewall-agent");
    let program = root.join("firewall-agent");
    let read = output(Command::new("getcap").arg(&program))?;
    let has = read.split_whitespace().last().unwrap_or_default();
    ensure!(
        sorted(has) == sorted(CAPABILITIES),
        "image: program has capabilities {has:?}, must have {CAPABILITIES:?}"
    );
    let version = output(&mut contained(&root, &["/firewall-agent", "--version"]))?;
    ensure!(
        version.starts_with("firewall-agent "),
        "image: program prints version {version:?}, must start with firewall-agent"
    );
    Ok(())
}

/// Splits `a,b=ep` and sorts the names, since the kernel does not preserve their order.
fn sorted(capabilities: &str) -> (Vec<&str>, &str) {
    let (names, sets) = capabilities.split_once('=').unwrap_or((capabilities, ""));
    let mut names: Vec<&str> = names.split(',').collect();
    names.sort_unstable();
    (names, sets)
}

/// Returns a command with the image's root, its user, and the capabilities of the manifest.
fn contained(root: &Path, command: &[&str]) -> Command {
    let mut contained = Command::new("setpriv");
    contained.args([
        "--bounding-set",
        BOUNDING,
        "--inh-caps",
        "-all",
        "--",
        "chroot",
        "--userspec=65532:65532",
    ]);
    contained.arg(root).args(command);
    contained
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
