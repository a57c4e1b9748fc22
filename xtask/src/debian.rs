//! Debian packages that a command needs: installed as root, reported otherwise.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};
use fs_err as fs;

use crate::run::{output, run};

/// Ensures that the packages are installed. As root on Debian it installs missing ones; otherwise the error lists them.
/// Off Debian the programs `otherwise` show that nothing is missing.
pub fn ensure_packages(packages: &[&str], otherwise: &[&str]) -> Result<()> {
    if !is_debian() {
        let missing: Vec<&str> =
            otherwise.iter().copied().filter(|program| on_path(program).is_none()).collect();
        if missing.is_empty() {
            return Ok(());
        }
        bail!(
            "{}: not found; install them (on Debian: apt-get install {})",
            missing.join(", "),
            packages.join(" ")
        );
    }
    let missing: Vec<&str> = packages.iter().copied().filter(|package| !is_installed(package)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    if !is_root() {
        bail!("{}: not installed; run as root: apt-get install {}", missing.join(", "), missing.join(" "));
    }
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
