//! Checks that the bpffs of the pins is the host's: one that ends with a container would take the firewall with it.

use std::{
    fs::{self, read_link},
    path::Path,
};

use anyhow::{Context as _, Result, anyhow, ensure};
use procfs_core::{
    FromBufRead as _,
    process::{MountInfo, MountInfos},
};

/// Inode number of the initial PID namespace, the same in every kernel (Linux 3.8).
const HOST_PIDS: &str = "pid:[4026531836]";
const MOUNTS: &str = "/proc/self/mountinfo";

/// Refuses a bpffs that was mounted inside a container. A bind mount of a directory of the host's bpffs has the path
/// within that file system as its mount root; a container's own bpffs has `/`.
///
/// # Errors
/// When it is private, or that cannot be determined.
pub(crate) fn refuse_private(dir: &Path) -> Result<()> {
    if read_link("/proc/self/ns/pid").context("cannot read /proc/self/ns/pid")?.as_os_str() == HOST_PIDS {
        return Ok(());
    }
    let dir = fs::canonicalize(dir).with_context(|| format!("cannot resolve {}", dir.display()))?;
    let mounts = fs::read(MOUNTS).with_context(|| format!("cannot read {MOUNTS}"))?;
    // The error of the parser names lines of its own source.
    let mounts =
        MountInfos::from_buf_read(&mounts[..]).map_err(|_| anyhow!("{MOUNTS}: not a mount table"))?;
    let root =
        mount_root(mounts, &dir).with_context(|| format!("{}: no bpffs there in {MOUNTS}", dir.display()))?;
    ensure!(
        root != "/",
        "{}: on a bpffs of this container, which disappears with it: mount a directory of the host's bpffs, \
         as in a hostPath volume of {}",
        dir.display(),
        dir.display()
    );
    Ok(())
}

/// The root, within its file system, of the mount of `dir`; `None` when that is no bpffs.
fn mount_root(mounts: MountInfos, dir: &Path) -> Option<String> {
    let mut found: Option<MountInfo> = None;
    for mount in mounts {
        let length = |mount: &MountInfo| mount.mount_point.as_os_str().len();
        // Of two mounts at one mount point, the later one is visible.
        if dir.starts_with(&mount.mount_point)
            && found.as_ref().is_none_or(|before| length(&mount) >= length(before))
        {
            found = Some(mount);
        }
    }
    found.filter(|mount| mount.fs_type == "bpf").map(|mount| mount.root)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root(mounts: &str, dir: &str) -> Option<String> {
        mount_root(MountInfos::from_buf_read(mounts.as_bytes()).unwrap(), Path::new(dir))
    }

    #[test]
    fn visible_mount_root_is_used() {
        let mounts = "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n\
                      30 22 0:27 / /sys rw shared:7 - sysfs sysfs rw\n\
                      40 30 0:28 / /sys/fs/bpf rw shared:9 - bpf bpf rw\n\
                      41 40 0:28 /firewall-agent /sys/fs/bpf/firewall-agent rw master:9 - bpf bpf rw\n";
        assert_eq!(root(mounts, "/sys/fs/bpf/firewall-agent").as_deref(), Some("/firewall-agent"));
        assert_eq!(root(mounts, "/sys/fs/bpf/other").as_deref(), Some("/"));
        assert_eq!(root(mounts, "/sys/fs/cgroup"), None);
        let over = format!("{mounts}50 41 0:31 / /sys/fs/bpf/firewall-agent rw - bpf bpf rw\n");
        assert_eq!(root(&over, "/sys/fs/bpf/firewall-agent/v3").as_deref(), Some("/"));
    }

    #[test]
    fn unusual_mounts_are_skipped_and_malformed_table_is_an_error() {
        let bpffs = "40 30 0:28 / /sys/fs/bpf rw shared:9 - bpf bpf rw\n";
        // A source may be empty, and its options may have any form (pasta, overlay, fuse).
        let odd = "60 22 0:40 / /mnt ro,size=0k master:1 propagate_from:2 x - tmpfs  ro,a=b=c,\n";
        assert_eq!(root(&format!("{odd}{bpffs}{odd}"), "/sys/fs/bpf").as_deref(), Some("/"));
        for malformed in ["60 22\n", "60 22 0:40 / /mnt rw\n", "\n", "60 22 0:40 / /mnt rw - bpf\n"] {
            let mounts = format!("{bpffs}{malformed}");
            assert!(MountInfos::from_buf_read(mounts.as_bytes()).is_err(), "{malformed:?}");
        }
        assert!(!MountInfos::from_buf_read(&fs::read(MOUNTS).unwrap()[..]).unwrap().0.is_empty());
    }
}
