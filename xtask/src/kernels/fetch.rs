//! Kernels from Debian packages, downloaded from this machine's apt mirror and cached.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use fs_err as fs;

use super::suite::Suite;
use crate::run::{output, run, say, shown};

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
pub fn kernel(suite: &Suite, dir: &Path) -> Result<Kernel> {
    let apt = Apt::new(suite, &dir.join("apt").join(suite.name))?;
    let packages = apt.packages()?;
    let first = packages.first().with_context(|| format!("{}: no kernel package", suite.name))?;
    let release =
        release(first).with_context(|| format!("{first}: no kernel release in the package name"))?.to_owned();
    let root = dir.join("unpacked").join(apt.versions(&packages)?);
    if !root.exists() {
        // The rename makes the directory complete or absent, even after an interruption.
        let next = root.with_added_extension("next");
        start_anew(&next)?;
        for package in apt.download(&packages)? {
            unpack(&package, &next)?;
        }
        let modules = next.join("lib");
        if !modules.exists() {
            fs::os::unix::fs::symlink("usr/lib", &modules)?;
        }
        run(Command::new("depmod").arg("-b").arg(&next).arg(&release))?;
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
    suite: &'a Suite,
    dir: PathBuf,
}

impl<'a> Apt<'a> {
    fn new(suite: &'a Suite, dir: &Path) -> Result<Self> {
        for name in ["lists/partial", "cache/archives/partial", "parts", "downloads"] {
            let dir = dir.join(name);
            fs::create_dir_all(&dir)?;
        }
        let source = format!("deb [signed-by={KEYRING}] {} {} main\n", mirror()?, suite.name);
        let apt = Self { suite, dir: dir.to_owned() };
        for (name, text) in [("sources.list", source.as_str()), ("status", "")] {
            fs::write(dir.join(name), text)?;
        }
        // Only the package indexes: no translations, no program descriptions.
        let targets =
            ["-o", "Acquire::Languages=none", "-o", "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=0"];
        run(apt.command("apt-get").args(targets).args(["-q", "update"]))?;
        Ok(apt)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        for (option, path) in [
            ("Dir::State", ""),
            ("Dir::State::lists", "lists"),
            ("Dir::State::status", "status"),
            ("Dir::Cache", "cache"),
            ("Dir::Etc::sourcelist", "sources.list"),
            ("Dir::Etc::sourceparts", "parts"),
            ("Dir::Etc::preferencesparts", "parts"),
        ] {
            command.arg("-o").arg(format!("{option}={}", self.dir.join(path).display()));
        }
        // The user that apt downloads as may lack access to the directory.
        command.args(["-o", "APT::Sandbox::User=root"]);
        command
    }

    /// Returns the packages of the release's kernel, sorted.
    fn packages(&self) -> Result<Vec<String>> {
        let mut depends = self.command("apt-cache");
        let listed = output(depends.args(["depends", "--recurse", "--important", LATEST]))?;
        let mut packages: Vec<String> =
            listed.lines().filter(|line| release(line).is_some()).map(str::to_owned).collect();
        packages.sort();
        packages.dedup();
        Ok(packages)
    }

    /// Returns a name that identifies these packages in these versions.
    fn versions(&self, packages: &[String]) -> Result<String> {
        let shown = output(self.command("apt-cache").arg("show").args(packages))?;
        let version = shown.lines().find_map(|line| line.strip_prefix("Version: "));
        let version = version.with_context(|| format!("{}: no version", packages.join(", ")))?;
        Ok(format!("{}-{version}", self.suite.name))
    }

    fn download(&self, packages: &[String]) -> Result<Vec<PathBuf>> {
        let downloads = self.dir.join("downloads");
        start_anew(&downloads)?;
        run(self.command("apt-get").current_dir(&downloads).args(["-q", "download"]).args(packages))?;
        let mut files: Vec<PathBuf> =
            fs::read_dir(&downloads)?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
        files.sort();
        Ok(files)
    }
}

/// Returns the Debian mirror of this machine.
fn mirror() -> Result<String> {
    let format = ["indextargets", "--format", "$(REPO_URI) $(LABEL)", "Created-By: Packages"];
    let targets = output(Command::new("apt-get").args(format))?;
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
    tar.stdin(stream).stderr(Stdio::null()).status().with_context(|| shown(&tar))?;
    ensure!(archive.wait()?.success(), "cannot read {}", package.display());
    Ok(fs::remove_file(package)?)
}

fn start_anew(dir: &Path) -> Result<()> {
    if dir.exists() {
        fs::remove_dir_all(dir)?;
    }
    Ok(fs::create_dir_all(dir)?)
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
