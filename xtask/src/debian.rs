//! Debian packages that a command needs: installed when root, named otherwise.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};

use crate::run::{output, run};

/// Makes sure that the packages are there. As root on Debian the missing ones are installed; anywhere else
/// the error says what to install. `otherwise` are the programs that show, off Debian, that nothing is missing.
pub fn ensure_packages(packages: &[&str], otherwise: &[&str]) -> Result<()> {
    if !is_debian() {
        let missing: Vec<&str> = otherwise.iter().copied().filter(|program| !on_path(program)).collect();
        if missing.is_empty() {
            return Ok(());
        }
        bail!(
            "{}: not found; install what provides them (on Debian: apt-get install {})",
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

fn is_debian() -> bool {
    Path::new("/etc/debian_version").exists() && on_path("apt-get")
}

fn is_installed(package: &str) -> bool {
    output(Command::new("dpkg-query").args(["-W", "-f", "${db:Status-Status}", package]))
        .is_ok_and(|status| status == "installed")
}

fn on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| fs::metadata(dir.join(program)).is_ok_and(|meta| meta.is_file()))
}
