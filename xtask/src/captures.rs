//! Captures of hostile and ordinary traffic: the tests of tcpdump, from its Debian source package.

use std::path::Path;

use anyhow::{Result, ensure};
use fs_err as fs;
use xshell::cmd;

use crate::debian::is_debian;
use crate::debian_source::download;
use crate::workspace::Workspace;

const PACKAGE: &str = "tcpdump";
/// Member pattern of the captures in the source archive, and the directories before their names.
const CAPTURES: &str = "*/tests/*.pcap";
const DIRECTORIES: &str = "2";
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
    let downloads = workspace.tools().join("captures-source");
    let archive = download(sh, PACKAGE, &downloads)?;
    // The rename makes the directory complete or absent, even after an interruption.
    let next = dir.with_extension("next");
    sh.remove_path(&next)?;
    sh.create_dir(&next)?;
    cmd!(sh, "tar -xf {archive} -C {next} --wildcards --strip-components={DIRECTORIES} {CAPTURES}").run()?;
    let count = sh.read_dir(&next)?.len();
    ensure!(count >= ENOUGH, "{}: {count} captures, fewer than {ENOUGH}", Path::new(&archive).display());
    sh.remove_path(&downloads)?;
    Ok(fs::rename(&next, &dir)?)
}
