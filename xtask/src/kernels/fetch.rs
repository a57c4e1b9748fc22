//! Kernels from Debian packages, downloaded from this machine's apt mirror and cached.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use fs_err as fs;
use xshell::{Shell, cmd};

use super::architecture::Architecture;
use super::debian_kernel::DebianKernel;
use crate::apt::{Apt, cached, in_path};

/// Name prefixes of the packages that make up a kernel; the version follows.
const PARTS: &[&str] = &["linux-image-", "linux-base-", "linux-binary-", "linux-modules-"];
/// Files of a package that a guest may need, without drivers for hardware that it lacks.
const WANTED: &[&str] = &[
    "./boot/vmlinuz-*",
    "*/lib/modules/*/vmlinuz",
    "*/lib/modules/*/modules.*",
    "*/lib/modules/*/kernel/arch",
    "*/lib/modules/*/kernel/crypto",
    "*/lib/modules/*/kernel/drivers/char",
    "*/lib/modules/*/kernel/drivers/dca",
    "*/lib/modules/*/kernel/drivers/i2c/algos",
    "*/lib/modules/*/kernel/drivers/net/*.ko*",
    "*/lib/modules/*/kernel/drivers/net/ethernet/intel/e1000e",
    "*/lib/modules/*/kernel/drivers/net/ethernet/intel/igb",
    "*/lib/modules/*/kernel/drivers/net/vmxnet3",
    "*/lib/modules/*/kernel/drivers/net/vxlan",
    "*/lib/modules/*/kernel/drivers/pps",
    "*/lib/modules/*/kernel/drivers/ptp",
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
    pub architecture: Architecture,
    pub image: PathBuf,
    /// Contains `lib/modules/<release>`.
    pub root: PathBuf,
}

/// Returns the newest kernel of its kind; downloads and unpacks it below `dir` unless it is cached.
pub fn kernel(sh: &Shell, of: &DebianKernel, dir: &Path) -> Result<Kernel> {
    let architecture = of.architecture;
    let apt = Apt::of_architecture(sh, of.release, architecture.name(), dir)?;
    let packages = packages(&apt.dependencies(of.package)?, architecture);
    let first = packages.first().with_context(|| format!("{}: no kernel package", of.package))?;
    let release = release(first, architecture);
    let release =
        release.with_context(|| format!("{first}: no kernel release in the package name"))?.to_owned();
    let root = dir.join("kernels").join(format!("{}-{}", of.name, in_path(&apt.version(first)?)));
    cached(sh, &root, |root| {
        let packages: Vec<&str> = packages.iter().map(String::as_str).collect();
        apt.unpack_matching(&packages, root, WANTED)?;
        let modules = root.join("lib");
        if !modules.exists() {
            fs::os::unix::fs::symlink("usr/lib", &modules)?;
        }
        Ok(cmd!(sh, "depmod -b {root} {release}").run()?)
    })?;
    let paths = [format!("boot/vmlinuz-{release}"), format!("lib/modules/{release}/vmlinuz")];
    let image = paths.iter().map(|path| root.join(path)).find(|image| image.exists());
    let image = image.with_context(|| format!("{}: no kernel image in {}", of.name, root.display()))?;
    Ok(Kernel { release, architecture, image, root })
}

/// Returns the packages that make up a kernel, of the lines of a metapackage's dependencies, sorted.
fn packages(dependencies: &str, architecture: Architecture) -> Vec<String> {
    let is_part = |line: &&str| release(line, architecture).is_some();
    let mut packages: Vec<String> = dependencies.lines().filter(is_part).map(str::to_owned).collect();
    packages.sort();
    packages.dedup();
    packages
}

/// Returns `6.1.0-50-amd64` for `linux-image-6.1.0-50-amd64`.
fn release(package: &str, architecture: Architecture) -> Option<&str> {
    let release = PARTS.iter().find_map(|part| package.strip_prefix(part))?;
    let flavour = release.strip_suffix(architecture.name()).is_some_and(|start| start.ends_with('-'));
    (release.starts_with(|c: char| c.is_ascii_digit()) && flavour).then_some(release)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_packages_are_distinguished_from_their_dependencies() {
        for (package, found) in [
            ("linux-image-6.1.0-50-amd64", Some("6.1.0-50-amd64")),
            ("linux-image-6.1.0-50-rt-amd64", Some("6.1.0-50-rt-amd64")),
            ("linux-modules-7.2.13+deb14-amd64", Some("7.2.13+deb14-amd64")),
            ("linux-image-amd64", None),
            ("linux-base", None),
            ("linux-image-6.1.0-50-amd64-unsigned", None),
            ("  Depends: linux-image-6.1.0-50-amd64", None),
        ] {
            assert_eq!(release(package, Architecture::Amd64), found, "{package}");
        }
        let arm = "linux-image-6.12.117+deb13-arm64";
        assert_eq!(release(arm, Architecture::Amd64), None);
        assert_eq!(release(arm, Architecture::Arm64), Some("6.12.117+deb13-arm64"));
    }
}
