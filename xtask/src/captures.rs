//! Captures of hostile and ordinary traffic: the tests of tcpdump, from its Debian source package.

use anyhow::{Context as _, Result, ensure};
use fs_err as fs;

use crate::apt::{Apt, cached};
use crate::debian::is_debian;
use crate::workspace::Workspace;

const PACKAGE: &str = "tcpdump";
/// Minimum number of captures: the package has more than 600.
const ENOUGH: usize = 300;

/// Ensures that the tools contain the directory `captures`.
pub fn ensure_captures(workspace: &Workspace) -> Result<()> {
    let dir = workspace.tools().join("captures");
    if dir.exists() {
        return Ok(());
    }
    ensure!(is_debian(), "captures: they come from a Debian source package; this system is not Debian");
    let sh = &workspace.shell;
    let source = workspace.tools().join("captures-source");
    sh.remove_path(&source)?;
    Apt::with_sources(sh, &codename()?, &workspace.target)?.unpack_source(PACKAGE, &source)?;
    cached(sh, &dir, |dir| {
        let mut captures = sh.read_dir(source.join("tests"))?;
        captures.retain(|file| file.extension().is_some_and(|extension| extension == "pcap"));
        ensure!(captures.len() >= ENOUGH, "{PACKAGE}: {} captures, fewer than {ENOUGH}", captures.len());
        captures.iter().try_for_each(|file| Ok(sh.copy_file(file, dir)?))
    })?;
    Ok(sh.remove_path(&source)?)
}

/// Returns the name of this machine's release.
fn codename() -> Result<String> {
    let release = fs::read_to_string("/etc/os-release")?;
    let codename = release.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="));
    Ok(codename.context("/etc/os-release: no VERSION_CODENAME")?.to_owned())
}
