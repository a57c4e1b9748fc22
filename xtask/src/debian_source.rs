//! Debian source packages, downloaded from this machine's apt mirror.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use fs_err as fs;
use xshell::{Shell, cmd};

use crate::kernels::mirror;

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Downloads the source package below `dir`, with an apt state of its own; returns the path of its upstream archive.
pub fn download(sh: &Shell, package: &str, dir: &Path) -> Result<PathBuf> {
    sh.remove_path(dir)?;
    for name in ["lists/partial", "cache/archives/partial", "parts", "files"] {
        sh.create_dir(dir.join(name))?;
    }
    let release = fs::read_to_string("/etc/os-release")?;
    let codename = release.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="));
    let codename = codename.context("/etc/os-release: no VERSION_CODENAME")?;
    let source = format!("deb-src [signed-by={KEYRING}] {} {codename} main\n", mirror(sh)?);
    fs::write(dir.join("sources.list"), source)?;
    fs::write(dir.join("status"), "")?;
    let options = [
        ("Dir::State", ""),
        ("Dir::State::lists", "lists"),
        ("Dir::State::status", "status"),
        ("Dir::Cache", "cache"),
        ("Dir::Etc::sourcelist", "sources.list"),
        ("Dir::Etc::sourceparts", "parts"),
    ];
    let mut options = options.map(|(name, path)| format!("-o={name}={}", dir.join(path).display())).to_vec();
    // The user that apt downloads as may lack access to the directory.
    options.push("-o=APT::Sandbox::User=root".to_owned());
    let options = &options;
    cmd!(sh, "apt-get -q {options...} update").run()?;
    let files = dir.join("files");
    let _inside = sh.push_dir(&files);
    cmd!(sh, "apt-get -q {options...} source --download-only {package}").run()?;
    let found = sh.read_dir(&files)?;
    let archive = found.into_iter().find(|file| {
        file.to_str().is_some_and(|name| name.contains(".orig.tar.") && !name.ends_with(".asc"))
    });
    archive.with_context(|| format!("{package}: no upstream archive in its source package"))
}
