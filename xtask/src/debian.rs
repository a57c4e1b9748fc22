//! Debian packages that a command needs: installed as root, reported otherwise.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use fs_err as fs;
use xshell::{Shell, cmd};

/// A Debian package, and programs in it that show on other systems that nothing is missing.
pub type Package<'a> = (&'a str, &'a [&'a str]);

/// Ensures that the packages are installed. As root on Debian it installs missing ones; otherwise the error lists them.
pub fn ensure_packages(sh: &Shell, packages: &[Package<'_>]) -> Result<()> {
    let names: Vec<&str> = packages.iter().map(|(name, _)| *name).collect();
    if !is_debian() {
        let programs = packages.iter().flat_map(|(_, programs)| *programs).copied();
        let missing: Vec<&str> = programs.filter(|program| on_path(program).is_none()).collect();
        ensure!(
            missing.is_empty(),
            "{}: not found; install them (on Debian: apt-get install {})",
            missing.join(", "),
            names.join(" ")
        );
        return Ok(());
    }
    let missing: Vec<&str> = names.into_iter().filter(|package| !is_installed(sh, package)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let (list, arguments) = (missing.join(", "), missing.join(" "));
    ensure!(is_root(sh), "{list}: not installed; run as root: apt-get install {arguments}");
    cmd!(sh, "apt-get -q update").run()?;
    let install = cmd!(sh, "apt-get -q -y install --no-install-recommends {missing...}");
    Ok(install.env("DEBIAN_FRONTEND", "noninteractive").run()?)
}

pub fn is_root(sh: &Shell) -> bool {
    cmd!(sh, "id -u").read().is_ok_and(|uid| uid == "0")
}

pub fn is_debian() -> bool {
    Path::new("/etc/debian_version").exists() && on_path("apt-get").is_some()
}

fn is_installed(sh: &Shell, package: &str) -> bool {
    let status = cmd!(sh, "dpkg-query -W -f '${db:Status-Status}' {package}").ignore_stderr().read();
    status.is_ok_and(|status| status == "installed")
}

/// Returns the first file of this name in the directories of `PATH`.
pub fn on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut files = std::env::split_paths(&path).map(|dir| dir.join(program));
    files.find(|file| fs::metadata(file).is_ok_and(|meta| meta.is_file()))
}
