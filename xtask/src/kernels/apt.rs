//! A separate apt state for one Debian release and architecture, with nothing installed.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use fs_err as fs;
use xshell::{Cmd, Shell, cmd};

use crate::run::say;

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// The apt state; this machine's own stays unchanged.
#[derive(Debug)]
pub struct Apt<'a> {
    sh: &'a Shell,
    architecture: &'static str,
    dir: PathBuf,
}

impl<'a> Apt<'a> {
    /// Fetches the package indexes of a release from this machine's mirror, below `dir`.
    pub fn new(sh: &'a Shell, release: &str, architecture: &'static str, dir: &Path) -> Result<Self> {
        let apt = Self { sh, architecture, dir: dir.join("apt").join(format!("{release}-{architecture}")) };
        for name in ["lists/partial", "cache/archives/partial", "parts"] {
            sh.create_dir(apt.dir.join(name))?;
        }
        let source = format!("deb [signed-by={KEYRING}] {} {release} main\n", mirror(sh)?);
        fs::write(apt.dir.join("sources.list"), source)?;
        fs::write(apt.dir.join("status"), "")?;
        // Only the package indexes: no translations, no program descriptions.
        let targets =
            ["-o", "Acquire::Languages=none", "-o", "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=0"];
        apt.command("apt-get").args(targets).args(["-q", "update"]).run()?;
        Ok(apt)
    }

    fn command(&self, program: &str) -> Cmd<'a> {
        let options = [
            ("Dir::State", ""),
            ("Dir::State::lists", "lists"),
            ("Dir::State::status", "status"),
            ("Dir::Cache", "cache"),
            ("Dir::Etc::sourcelist", "sources.list"),
            ("Dir::Etc::sourceparts", "parts"),
            ("Dir::Etc::preferencesparts", "parts"),
        ];
        let options = options.map(|(name, path)| format!("-o={name}={}", self.dir.join(path).display()));
        let architecture = self.architecture;
        // The user that apt downloads as may lack access to the directory.
        cmd!(
            self.sh,
            "{program} {options...} -o=APT::Sandbox::User=root -o=APT::Architecture={architecture}
             -o=APT::Architectures={architecture}"
        )
    }

    /// Returns the lines of a package and of everything that it depends on.
    pub fn dependencies(&self, package: &str) -> Result<String> {
        Ok(self.command("apt-cache").args(["depends", "--recurse", "--important", package]).read()?)
    }

    /// Returns the version of the first of these packages, for the name of a directory: a path of libraries cannot have
    /// the colon of an epoch.
    pub fn version(&self, packages: &[String]) -> Result<String> {
        let shown = self.command("apt-cache").args(["show", "--no-all-versions"]).args(packages).read()?;
        let version = shown.lines().find_map(|line| line.strip_prefix("Version: "));
        Ok(version.with_context(|| format!("{}: no version", packages.join(", ")))?.replace(':', "_"))
    }

    /// Downloads these packages alone; returns their files.
    pub fn download(&self, packages: &[String]) -> Result<Vec<PathBuf>> {
        let downloads = self.dir.join("downloads");
        self.sh.remove_path(&downloads)?;
        self.sh.create_dir(&downloads)?;
        let _inside = self.sh.push_dir(&downloads);
        self.command("apt-get").args(["-q", "download"]).args(packages).run()?;
        Ok(self.sh.read_dir(&downloads)?)
    }

    /// Downloads these packages and everything that they depend on; returns the files.
    pub fn download_with_dependencies(&self, packages: &[&str]) -> Result<Vec<PathBuf>> {
        self.command("apt-get").arg("clean").run()?;
        let install = ["-q", "-y", "--download-only", "--no-install-recommends", "install"];
        self.command("apt-get").args(install).args(packages).run()?;
        let files = self.sh.read_dir(self.dir.join("cache/archives"))?;
        let is_package = |file: &PathBuf| file.extension().is_some_and(|extension| extension == "deb");
        Ok(files.into_iter().filter(is_package).collect())
    }
}

/// Returns the Debian mirror of this machine.
pub fn mirror(sh: &Shell) -> Result<String> {
    let format = "$(REPO_URI) $(LABEL)";
    let targets = cmd!(sh, "apt-get indextargets --format {format}").arg("Created-By: Packages").read()?;
    let mirror = targets.lines().find_map(|line| line.strip_suffix(" Debian"));
    Ok(mirror.context("apt: no Debian mirror; run apt-get update first")?.to_owned())
}

/// Unpacks the files of a package that match a pattern, all without any pattern, and removes the package.
pub fn unpack(package: &Path, root: &Path, wanted: &[&str]) -> Result<()> {
    say(format_args!("unpacking {}", package.display()));
    let mut archive = Command::new("dpkg-deb")
        .arg("--fsys-tarfile")
        .arg(package)
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start dpkg-deb")?;
    let mut tar = Command::new("tar");
    tar.args(["-x", "--wildcards", "--keep-directory-symlink", "-C"]).arg(root).args(wanted);
    // tar fails on patterns that match nothing, as some do in every package; the caller checks for the needed files.
    let stream = archive.stdout.take().context("dpkg-deb: no output")?;
    tar.stdin(stream).stderr(Stdio::null()).status().context("cannot start tar")?;
    ensure!(archive.wait()?.success(), "cannot read {}", package.display());
    Ok(fs::remove_file(package)?)
}

/// Fills a directory by `fill` unless it exists. It is complete or absent, even after an interruption.
pub fn cached(sh: &Shell, dir: &Path, fill: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    if dir.exists() {
        return Ok(());
    }
    let next = dir.with_added_extension("next");
    sh.remove_path(&next)?;
    sh.create_dir(&next)?;
    fill(&next)?;
    Ok(fs::rename(&next, dir)?)
}
