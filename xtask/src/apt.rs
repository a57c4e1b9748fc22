//! apt with a state of its own for one Debian release: packages and sources, without changes to this machine's apt state.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use fs_err as fs;
use xshell::{Cmd, Shell, cmd};

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// A separate apt state, with nothing installed; the packages come from this machine's mirror.
#[derive(Debug)]
pub struct Apt<'a> {
    sh: &'a Shell,
    dir: PathBuf,
}

impl<'a> Apt<'a> {
    /// Fetches the indexes of packages and sources of a release; stores them in `dir`.
    pub fn new(sh: &'a Shell, release: &str, dir: &Path) -> Result<Self> {
        for name in ["lists/partial", "cache/archives/partial", "parts"] {
            sh.create_dir(dir.join(name))?;
        }
        let origin = format!("[signed-by={KEYRING}] {} {release} main", mirror(sh)?);
        fs::write(dir.join("sources.list"), format!("deb {origin}\ndeb-src {origin}\n"))?;
        fs::write(dir.join("status"), "")?;
        let apt = Self { sh, dir: dir.to_owned() };
        // No translations, no program descriptions.
        let targets =
            ["-o", "Acquire::Languages=none", "-o", "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=0"];
        apt.command("apt-get").args(targets).args(["-q", "update"]).run()?;
        Ok(apt)
    }

    /// Returns the version of a package.
    pub fn version(&self, package: &str) -> Result<String> {
        let shown = self.command("apt-cache").args(["show", "--no-all-versions", package]).read()?;
        version_in(&shown).with_context(|| format!("{package}: apt knows no version"))
    }

    /// Returns the version of a source package.
    pub fn source_version(&self, package: &str) -> Result<String> {
        let shown = self.command("apt-cache").args(["showsrc", "--only-source", package]).read()?;
        version_in(&shown).with_context(|| format!("{package}: apt knows no source version"))
    }

    /// Downloads packages and unpacks them below `root`.
    pub fn unpack(&self, packages: &[&str], root: &Path) -> Result<()> {
        let sh = self.sh;
        let downloads = self.downloads()?;
        {
            let _inside = sh.push_dir(&downloads);
            self.command("apt-get").args(["-q", "download"]).args(packages).run()?;
        }
        sh.create_dir(root)?;
        for package in sh.read_dir(&downloads)? {
            cmd!(sh, "dpkg-deb -x {package} {root}").run()?;
        }
        Ok(sh.remove_path(downloads)?)
    }

    /// Downloads a source package and unpacks it, with its patches, as `root`.
    pub fn unpack_source(&self, package: &str, root: &Path) -> Result<()> {
        let sh = self.sh;
        let downloads = self.downloads()?;
        {
            let _inside = sh.push_dir(&downloads);
            // apt compares the files with the signed index.
            self.command("apt-get").args(["-q", "source", "--download-only", package]).run()?;
        }
        let files = sh.read_dir(&downloads)?;
        let description = files.iter().find(|file| file.extension().is_some_and(|kind| kind == "dsc"));
        let description = description.with_context(|| format!("{package}: no .dsc file"))?;
        cmd!(sh, "dpkg-source --no-check -x {description} {root}").run()?;
        Ok(sh.remove_path(downloads)?)
    }

    fn downloads(&self) -> Result<PathBuf> {
        let downloads = self.dir.join("downloads");
        self.sh.remove_path(&downloads)?;
        Ok(self.sh.create_dir(downloads)?)
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
        // The user that apt downloads as may lack access to the directory.
        cmd!(self.sh, "{program} {options...} -o=APT::Sandbox::User=root")
    }
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

fn version_in(shown: &str) -> Option<String> {
    shown.lines().find_map(|line| line.strip_prefix("Version: ")).map(str::to_owned)
}

/// Returns the Debian mirror of this machine.
fn mirror(sh: &Shell) -> Result<String> {
    let format = "$(REPO_URI) $(LABEL)";
    let targets = cmd!(sh, "apt-get indextargets --format {format}").arg("Created-By: Packages").read()?;
    let mirror = targets.lines().find_map(|line| line.strip_suffix(" Debian"));
    Ok(mirror.context("apt: no Debian mirror; run apt-get update first")?.to_owned())
}
