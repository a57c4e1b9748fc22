//! apt with a state of its own for one Debian release: packages and sources, without changes to this machine's apt state.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use fs_err as fs;
use xshell::{Cmd, Shell, cmd};

use crate::run::say;

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// A separate apt state, with nothing installed; the packages come from this machine's mirror.
#[derive(Debug)]
pub struct Apt<'a> {
    sh: &'a Shell,
    architecture: String,
    dir: PathBuf,
}

impl<'a> Apt<'a> {
    /// Fetches the index of a release's packages for this machine; stores it below `dir`.
    pub fn new(sh: &'a Shell, release: &str, dir: &Path) -> Result<Self> {
        Self::of_architecture(sh, release, &own_architecture(sh)?, dir)
    }

    /// As `new`, for machines of a Debian architecture.
    pub fn of_architecture(sh: &'a Shell, release: &str, architecture: &str, dir: &Path) -> Result<Self> {
        let dir = dir.join("apt").join(format!("{release}-{architecture}"));
        Self::updated(sh, release, architecture.to_owned(), &["deb"], dir)
    }

    /// As `new`, with the index of the source packages.
    pub fn with_sources(sh: &'a Shell, release: &str, dir: &Path) -> Result<Self> {
        let dir = dir.join("apt").join(format!("{release}-sources"));
        Self::updated(sh, release, own_architecture(sh)?, &["deb", "deb-src"], dir)
    }

    fn updated(
        sh: &'a Shell,
        release: &str,
        architecture: String,
        kinds: &[&str],
        dir: PathBuf,
    ) -> Result<Self> {
        for name in ["lists/partial", "cache/archives/partial", "parts"] {
            sh.create_dir(dir.join(name))?;
        }
        let mirror = mirror(sh)?;
        let line = |kind: &&str| format!("{kind} [signed-by={KEYRING}] {mirror} {release} main\n");
        fs::write(dir.join("sources.list"), kinds.iter().map(line).collect::<String>())?;
        fs::write(dir.join("status"), "")?;
        let apt = Self { sh, architecture, dir };
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

    /// Returns the lines of a package and of everything that it depends on.
    pub fn dependencies(&self, package: &str) -> Result<String> {
        Ok(self.command("apt-cache").args(["depends", "--recurse", "--important", package]).read()?)
    }

    /// Downloads packages and unpacks them below `root`.
    pub fn unpack(&self, packages: &[&str], root: &Path) -> Result<()> {
        self.unpack_matching(packages, root, &[])
    }

    /// As `unpack`, only the files that match one of these patterns of tar; all without any pattern.
    pub fn unpack_matching(&self, packages: &[&str], root: &Path, wanted: &[&str]) -> Result<()> {
        let downloads = self.downloads()?;
        {
            let _inside = self.sh.push_dir(&downloads);
            self.command("apt-get").args(["-q", "download"]).args(packages).run()?;
        }
        let files = self.sh.read_dir(&downloads)?;
        self.sh.create_dir(root)?;
        files.iter().try_for_each(|file| unpack(file, root, wanted))
    }

    /// As `unpack`, with everything that the packages depend on; the files of the package `first` are there first.
    pub fn unpack_with_dependencies(&self, packages: &[&str], first: &str, root: &Path) -> Result<()> {
        self.command("apt-get").arg("clean").run()?;
        let install = ["-q", "-y", "--download-only", "--no-install-recommends", "install"];
        self.command("apt-get").args(install).args(packages).run()?;
        let mut files = self.sh.read_dir(self.dir.join("cache/archives"))?;
        files.retain(|file| file.extension().is_some_and(|extension| extension == "deb"));
        let is_first = |file: &PathBuf| file.to_string_lossy().contains(&format!("/{first}_"));
        files.sort_by_key(|file| !is_first(file));
        files.iter().try_for_each(|file| unpack(file, root, &[]))
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
        let architecture = &self.architecture;
        // The user that apt downloads as may lack access to the directory.
        cmd!(
            self.sh,
            "{program} {options...} -o=APT::Sandbox::User=root -o=APT::Architecture={architecture}
             -o=APT::Architectures={architecture}"
        )
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

/// Returns a version for the name of a directory: lists of libraries and of an overlay's layers separate their parts by
/// the colon that an epoch has.
pub fn in_path(version: &str) -> String {
    version.replace(':', "%3a")
}

/// Returns the Debian mirror of this machine.
pub fn mirror(sh: &Shell) -> Result<String> {
    let format = "$(REPO_URI) $(LABEL)";
    let targets = cmd!(sh, "apt-get indextargets --format {format}").arg("Created-By: Packages").read()?;
    let mirror = targets.lines().find_map(|line| line.strip_suffix(" Debian"));
    Ok(mirror.context("apt: no Debian mirror; run apt-get update first")?.to_owned())
}

fn own_architecture(sh: &Shell) -> Result<String> {
    Ok(cmd!(sh, "dpkg --print-architecture").read()?)
}

fn version_in(shown: &str) -> Option<String> {
    shown.lines().find_map(|line| line.strip_prefix("Version: ")).map(str::to_owned)
}

/// Unpacks the files of a package that match a pattern, all without any pattern, and removes the package.
fn unpack(package: &Path, root: &Path, wanted: &[&str]) -> Result<()> {
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
    let unpacked = tar.stdin(stream).stderr(Stdio::null()).status().context("cannot start tar")?;
    ensure!(archive.wait()?.success(), "cannot read {}", package.display());
    ensure!(unpacked.success() || !wanted.is_empty(), "cannot unpack {}", package.display());
    Ok(fs::remove_file(package)?)
}
