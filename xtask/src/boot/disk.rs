//! The guest's disks: a Debian system, made once for each release, and a partition for the agent's state.

use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use fs_err as fs;
use xshell::{Shell, cmd};

use super::packages::Packages;
use super::release::Release;
use super::rules::rules;
use crate::apt::mirror;
use crate::run::say;
use crate::workspace::Workspace;

/// Packages of every guest, besides those of priority `required`.
const PACKAGES: &[&str] = &[
    "dbus",
    "e2fsprogs",
    "initramfs-tools",
    "iproute2",
    "kmod",
    "linux-image-cloud-amd64",
    "netbase",
    "python3-minimal",
    "systemd-sysv",
    "udev",
];
/// Sizes of the sparse disks.
const SYSTEM_SIZE: &str = "2G";
const STATE_SIZE: &str = "64M";
/// Directory in the guest with everything that the steps use.
const OWN: &str = "opt/boot";
const UNITS: &str = "etc/systemd/system";
/// The agent's state directory, on a partition of its own.
const STATE: &str = "var/lib/firewall-agent";

/// Files of every guest: path, content.
const FILES: &[(&str, &str)] = &[
    ("etc/fstab", "/dev/vda / ext4 rw 0 1\n/dev/vdb /var/lib/firewall-agent ext4 rw 0 2\n"),
    ("etc/hostname", "db-host\n"),
    ("etc/hosts", "127.0.0.1 localhost\n127.0.1.1 db-host\n"),
    // Empty: systemd makes an identity, without the questions of a first boot.
    ("etc/machine-id", ""),
    ("etc/systemd/system/boot-shell.service", include_str!("guest/shell.service")),
    ("etc/systemd/system/boot-early.service", include_str!("guest/early.service")),
    ("etc/systemd/system/postgresql@.service", include_str!("guest/database.service")),
    // The shipped limits are for a machine, not for one that is emulated beside other work.
    ("etc/systemd/system/firewall-agent.service.d/limits.conf", "[Unit]\nJobRunningTimeoutSec=600\n"),
    ("etc/systemd/system/firewall-agent-restore.service.d/limits.conf", "[Service]\nTimeoutStartSec=600\n"),
    ("opt/boot/shell.sh", include_str!("guest/shell.sh")),
    ("opt/boot/arrivals.py", include_str!("guest/arrivals.py")),
];
/// Enabled units: target, unit, its file.
const ENABLED: &[(&str, &str, &str)] = &[
    ("sysinit.target", "boot-shell.service", "boot-shell.service"),
    ("sysinit.target", "boot-early.service", "boot-early.service"),
    ("multi-user.target", super::guest::DATABASE, "postgresql@.service"),
];

/// Disks of a guest, with the kernel to boot from them.
#[derive(Debug)]
pub struct Disks {
    pub system: PathBuf,
    pub state: PathBuf,
    pub kernel: PathBuf,
    pub initrd: PathBuf,
}

impl Disks {
    /// Makes disks in the release's directory, with these packages in the guest.
    pub fn new(workspace: &Workspace, release: &Release, dir: &Path, packages: &Packages) -> Result<Self> {
        let sh = &workspace.shell;
        let archive = system(sh, release, dir)?;
        let root = dir.join("root");
        sh.remove_path(&root)?;
        sh.create_dir(&root)?;
        cmd!(sh, "tar --extract --preserve-permissions --numeric-owner --file {archive} -C {root}").run()?;
        furnish(release, &root, packages)?;
        fs::write(root.join(OWN).join("rules.yaml"), rules(sh)?)?;
        let disks = Self {
            system: dir.join("system.img"),
            state: dir.join("state.img"),
            kernel: dir.join("vmlinuz"),
            initrd: dir.join("initrd.img"),
        };
        for (start, copy) in [("vmlinuz-", &disks.kernel), ("initrd.img-", &disks.initrd)] {
            fs::copy(boot_file(sh, &root, start)?, copy)?;
        }
        for (disk, size) in [(&disks.system, SYSTEM_SIZE), (&disks.state, STATE_SIZE)] {
            sh.remove_path(disk)?;
            cmd!(sh, "truncate -s {size} {disk}").run()?;
        }
        let (system, state) = (&disks.system, &disks.state);
        cmd!(sh, "mke2fs -q -t ext4 -d {root} {system}").run()?;
        cmd!(sh, "mke2fs -q -t ext4 {state}").run()?;
        sh.remove_path(&root)?;
        Ok(disks)
    }
}

/// Returns the archive of a release's system; makes it unless it is cached for the same packages.
fn system(sh: &Shell, release: &Release, dir: &Path) -> Result<PathBuf> {
    let (archive, list) = (dir.join("root.tar"), dir.join("root.packages"));
    let packages = [PACKAGES, release.packages].concat().join(",");
    if archive.exists() && fs::read_to_string(&list).is_ok_and(|made| made == packages) {
        return Ok(archive);
    }
    say(format_args!("boot: making a system of {}, once", release.title));
    let (name, mirror, next) = (release.name, mirror(sh)?, dir.join("root.tar.next"));
    let languages = "--aptopt=Acquire::Languages \"none\"";
    cmd!(
        sh,
        "mmdebstrap --quiet --format=tar --variant=minbase --include={packages} {languages} {name} {next} {mirror}"
    )
    .run()?;
    fs::rename(&next, &archive)?;
    fs::write(&list, packages)?;
    Ok(archive)
}

/// Adds the guest's own files to an unpacked system.
fn furnish(release: &Release, root: &Path, packages: &Packages) -> Result<()> {
    for (path, content) in FILES.iter().chain(release.files) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().context("a file without a directory")?)?;
        fs::write(&path, content)?;
    }
    let own = root.join(OWN);
    fs::set_permissions(own.join("shell.sh"), Permissions::from_mode(0o755))?;
    fs::create_dir_all(root.join(STATE))?;
    for (target, unit, file) in ENABLED {
        let wants = root.join(UNITS).join(format!("{target}.wants"));
        fs::create_dir_all(&wants)?;
        symlink(format!("/{UNITS}/{file}"), wants.join(unit))?;
    }
    for (link, to) in release.links {
        symlink(to, root.join(link))?;
    }
    for package in [&packages.current, &packages.next] {
        let name = package.file_name().context("a package without a name")?;
        fs::copy(package, own.join(name))?;
    }
    Ok(())
}

/// Returns the only file of this kind in the system's `/boot`.
fn boot_file(sh: &Shell, root: &Path, start: &str) -> Result<PathBuf> {
    let boot = root.join("boot");
    let named = |path: &PathBuf| {
        path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(start))
    };
    sh.read_dir(&boot)?.into_iter().find(named).with_context(|| format!("{}: no {start}*", boot.display()))
}
