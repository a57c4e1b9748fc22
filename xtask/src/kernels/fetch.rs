//! Kernels from Debian packages, downloaded from this machine's apt mirror and cached.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use fs_err as fs;
use xshell::{Cmd, Shell, cmd};

use super::suite::Suite;
use crate::run::say;

/// The metapackage of a release's kernel; not the cloud kernel, which lacks the 9p file system.
const LATEST: &str = "linux-image-amd64";
const ARCHITECTURE: &str = "-amd64";
/// Name prefixes of the packages that make up a kernel; the version follows.
const PARTS: &[&str] = &["linux-image-", "linux-base-", "linux-binary-", "linux-modules-"];
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
/// Files of a package that a guest may need, without drivers for hardware that it lacks.
const WANTED: &[&str] = &[
    "./boot/vmlinuz-*",
    "*/lib/modules/*/vmlinuz",
    "*/lib/modules/*/modules.*",
    "*/lib/modules/*/kernel/arch",
    "*/lib/modules/*/kernel/crypto",
    "*/lib/modules/*/kernel/drivers/char",
    "*/lib/modules/*/kernel/drivers/net/*.ko*",
    "*/lib/modules/*/kernel/drivers/net/vxlan",
    "*/lib/modules/*/kernel/drivers/virtio",
    "*/lib/modules/*/kernel/fs",
    "*/lib/modules/*/kernel/lib",
    "*/lib/modules/*/kernel/net",
];

/// An unpacked kernel.
#[derive(Debug)]
pub struct Kernel {
    /// As `uname -r` prints it.
    pub release: String,
    pub image: PathBuf,
    /// Contains `lib/modules/<release>`.
    pub root: PathBuf,
}

/// Returns the newest kernel of a release; downloads and unpacks it below `dir` unless it is cached.
pub fn kernel(sh: &Shell, suite: &Suite, dir: &Path) -> Result<Kernel> {
    let apt = Apt::new(sh, suite, &dir.join("apt").join(suite.name))?;
    let packages = apt.packages()?;
    let first = packages.first().with_context(|| format!("{}: no kernel package", suite.name))?;
    let release =
        release(first).with_context(|| format!("{first}: no kernel release in the package name"))?.to_owned();
    let root = dir.join("unpacked").join(apt.versions(&packages)?);
    if !root.exists() {
        // The rename makes the directory complete or absent, even after an interruption.
        let next = root.with_added_extension("next");
        sh.remove_path(&next)?;
        sh.create_dir(&next)?;
        for package in apt.download(&packages)? {
            unpack(&package, &next)?;
        }
        let modules = next.join("lib");
        if !modules.exists() {
            fs::os::unix::fs::symlink("usr/lib", &modules)?;
        }
        cmd!(sh, "depmod -b {next} {release}").run()?;
        fs::rename(&next, &root)?;
    }
    let paths = [format!("boot/vmlinuz-{release}"), format!("lib/modules/{release}/vmlinuz")];
    let image = paths.iter().map(|path| root.join(path)).find(|image| image.exists());
    let image = image.with_context(|| format!("{}: no kernel image in {}", suite.name, root.display()))?;
    Ok(Kernel { release, image, root })
}

/// Returns `6.1.0-50-amd64` for `linux-image-6.1.0-50-amd64`.
fn release(package: &str) -> Option<&str> {
    let release = PARTS.iter().find_map(|part| package.strip_prefix(part))?;
    (release.starts_with(|c: char| c.is_ascii_digit()) && release.ends_with(ARCHITECTURE)).then_some(release)
}

/// A separate apt state for one release, with nothing installed; this machine's apt state stays unchanged.
struct Apt<'a> {
    sh: &'a Shell,
    suite: &'a Suite,
    dir: PathBuf,
}

impl<'a> Apt<'a> {
    fn new(sh: &'a Shell, suite: &'a Suite, dir: &Path) -> Result<Self> {
        for name in ["lists/partial", "cache/archives/partial", "parts"] {
            sh.create_dir(dir.join(name))?;
        }
        let source = format!("deb [signed-by={KEYRING}] {} {} main\n", mirror(sh)?, suite.name);
        fs::write(dir.join("sources.list"), source)?;
        fs::write(dir.join("status"), "")?;
        let apt = Self { sh, suite, dir: dir.to_owned() };
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
        // The user that apt downloads as may lack access to the directory.
        cmd!(self.sh, "{program} {options...} -o=APT::Sandbox::User=root")
    }

    /// Returns the packages of the release's kernel, sorted.
    fn packages(&self) -> Result<Vec<String>> {
        let depends = self.command("apt-cache").args(["depends", "--recurse", "--important", LATEST]);
        let listed = depends.read()?;
        let mut packages: Vec<String> =
            listed.lines().filter(|line| release(line).is_some()).map(str::to_owned).collect();
        packages.sort();
        packages.dedup();
        Ok(packages)
    }

    /// Returns a name that identifies these packages in these versions.
    fn versions(&self, packages: &[String]) -> Result<String> {
        let shown = self.command("apt-cache").arg("show").args(packages).read()?;
        let version = shown.lines().find_map(|line| line.strip_prefix("Version: "));
        let version = version.with_context(|| format!("{}: no version", packages.join(", ")))?;
        Ok(format!("{}-{version}", self.suite.name))
    }

    fn download(&self, packages: &[String]) -> Result<Vec<PathBuf>> {
        let downloads = self.dir.join("downloads");
        self.sh.remove_path(&downloads)?;
        self.sh.create_dir(&downloads)?;
        let _inside = self.sh.push_dir(&downloads);
        self.command("apt-get").args(["-q", "download"]).args(packages).run()?;
        Ok(self.sh.read_dir(&downloads)?)
    }
}

/// Returns the Debian mirror of this machine.
pub fn mirror(sh: &Shell) -> Result<String> {
    let format = "$(REPO_URI) $(LABEL)";
    let targets = cmd!(sh, "apt-get indextargets --format {format}").arg("Created-By: Packages").read()?;
    let mirror = targets.lines().find_map(|line| line.strip_suffix(" Debian"));
    Ok(mirror.context("apt: no Debian mirror; run apt-get update first")?.to_owned())
}

/// Unpacks the wanted files of a package and removes the package.
fn unpack(package: &Path, root: &Path) -> Result<()> {
    say(format_args!("unpacking {}", package.display()));
    let mut archive = Command::new("dpkg-deb")
        .arg("--fsys-tarfile")
        .arg(package)
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start dpkg-deb")?;
    let mut tar = Command::new("tar");
    tar.args(["-x", "--wildcards", "-C"]).arg(root).args(WANTED);
    // tar fails on patterns that match nothing, as some do in every package; the caller checks for the needed files.
    let stream = archive.stdout.take().context("dpkg-deb: no output")?;
    tar.stdin(stream).stderr(Stdio::null()).status().context("cannot start tar")?;
    ensure!(archive.wait()?.success(), "cannot read {}", package.display());
    Ok(fs::remove_file(package)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_packages_are_distinguished_from_their_dependencies() {
        for (package, found) in [
            ("linux-image-6.1.0-50-amd64", Some("6.1.0-50-amd64")),
            ("linux-modules-7.2.13+deb14-amd64", Some("7.2.13+deb14-amd64")),
            ("linux-image-amd64", None),
            ("linux-base", None),
            ("linux-image-6.1.0-50-amd64-unsigned", None),
            ("  Depends: linux-image-6.1.0-50-amd64", None),
        ] {
            assert_eq!(release(package), found, "{package}");
        }
    }
}
