//! Checks that the bpffs of the pins is the host's: one that ends with a container would take the firewall with it.

use std::{
    fs::{self, read_link},
    path::Path,
};

use anyhow::{Context as _, Result, ensure};

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
    let mounts = fs::read_to_string(MOUNTS).with_context(|| format!("cannot read {MOUNTS}"))?;
    let root = mount_root(&mounts, &dir)
        .with_context(|| format!("{}: no bpffs there in {MOUNTS}", dir.display()))?;
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
fn mount_root(mounts: &str, dir: &Path) -> Option<String> {
    let mut found: Option<(&str, &str, bool)> = None;
    for line in mounts.lines() {
        // 36 35 98:0 /root /mount/point options… - type source options (proc(5)).
        let (head, tail) = line.split_once(" - ")?;
        let mut fields = head.split(' ').skip(3);
        let (root, point) = (fields.next()?, fields.next()?);
        // Of two mounts at one mount point, the later one is visible.
        if dir.starts_with(point) && found.is_none_or(|(_, before, _)| point.len() >= before.len()) {
            found = Some((root, point, tail.starts_with("bpf ")));
        }
    }
    found.filter(|(_, _, is_bpffs)| *is_bpffs).map(|(root, _, _)| root.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_of_the_mount_that_is_seen_counts() {
        let mounts = "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n\
                      30 22 0:27 / /sys rw shared:7 - sysfs sysfs rw\n\
                      40 30 0:28 / /sys/fs/bpf rw shared:9 - bpf bpf rw\n\
                      41 40 0:28 /firewall-agent /sys/fs/bpf/firewall-agent rw master:9 - bpf bpf rw\n";
        let root = |dir: &str| mount_root(mounts, Path::new(dir));
        assert_eq!(root("/sys/fs/bpf/firewall-agent").as_deref(), Some("/firewall-agent"));
        assert_eq!(root("/sys/fs/bpf/other").as_deref(), Some("/"));
        assert_eq!(root("/sys/fs/cgroup"), None);
        let over = format!("{mounts}50 41 0:31 / /sys/fs/bpf/firewall-agent rw - bpf bpf rw\n");
        assert_eq!(mount_root(&over, Path::new("/sys/fs/bpf/firewall-agent/v1")).as_deref(), Some("/"));
    }
}
