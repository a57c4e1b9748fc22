//! Debian packages that a command needs: installed as root, reported otherwise.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, ensure};
use fs_err as fs;

use crate::run::{output, run};

/// A Debian package, and programs in it that show on other systems that nothing is missing.
pub type Package<'a> = (&'a str, &'a [&'a str]);

/// Ensures that the packages are installed. As root on Debian it installs missing ones; otherwise the error lists them.
pub fn ensure_packages(packages: &[Package<'_>]) -> Result<()> {
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
    let missing: Vec<&str> = names.into_iter().filter(|package| !is_installed(package)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let (list, arguments) = (missing.join(", "), missing.join(" "));
    ensure!(is_root(), "{list}: not installed; run as root: apt-get install {arguments}");
    run(Command::new("apt-get").args(["-q", "update"]))?;
    run(Command::new("apt-get")
        .env("DEBIAN_FRONTEND", "noninteractive")
        .args(["-q", "-y", "install", "--no-install-recommends"])
        .args(&missing))
}

pub fn is_root() -> bool {
    output(Command::new("id").arg("-u")).is_ok_and(|uid| uid.trim() == "0")
}

pub fn is_debian() -> bool {
    Path::new("/etc/debian_version").exists() && on_path("apt-get").is_some()
}

fn is_installed(package: &str) -> bool {
    output(Command::new("dpkg-query").args(["-W", "-f", "${db:Status-Status}", package]))
        .is_ok_and(|status| status == "installed")
}

/// Returns the first file of this name in the directories of `PATH`.
pub fn on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut files = std::env::split_paths(&path).map(|dir| dir.join(program));
    files.find(|file| fs::metadata(file).is_ok_and(|meta| meta.is_file()))
}
