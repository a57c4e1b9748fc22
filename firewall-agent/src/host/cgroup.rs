//! Memory left in the agent's control group: the kernel kills a process that exceeds it.

use std::fs::{read, read_to_string};
use std::path::{Path, PathBuf};

use procfs_core::{FromBufRead as _, ProcessCGroups};

const ROOT: &str = "/sys/fs/cgroup";

/// Bytes below the tightest limit of the agent's group and its ancestors (cgroup v2); `None` without a limit, or if it
/// is unknown.
#[must_use]
pub fn memory_left() -> Option<u64> {
    left_in(Path::new(ROOT), &read("/proc/self/cgroup").ok()?)
}

fn left_in(root: &Path, membership: &[u8]) -> Option<u64> {
    let groups = ProcessCGroups::from_buf_read(membership).ok()?;
    // Only cgroup v2 has the hierarchy 0.
    let path = groups.into_iter().find(|group| group.hierarchy == 0)?.pathname;
    let group = root.join(path.strip_prefix('/')?);
    let groups = group.ancestors().take_while(|group| group.starts_with(root)).map(PathBuf::from);
    groups.filter_map(|group| left_below(&group)).min()
}

fn left_below(group: &Path) -> Option<u64> {
    let number = |name: &str| read_to_string(group.join(name)).ok()?.trim().parse::<u64>().ok();
    Some(number("memory.max")?.saturating_sub(number("memory.current")?))
}

#[cfg(test)]
mod tests {
    use std::fs::{create_dir_all, write};

    use super::*;

    #[test]
    fn tightest_limit_of_the_ancestors_applies() {
        let root = tempfile::tempdir().unwrap();
        let group = |path: &str, max: &str, current: &str| {
            let dir = root.path().join(path);
            create_dir_all(&dir).unwrap();
            write(dir.join("memory.max"), max).unwrap();
            write(dir.join("memory.current"), current).unwrap();
        };
        group("pods", "1000\n", "400\n");
        group("pods/agent", "700\n", "200\n");
        group("pods/free", "max\n", "200\n");
        for (path, expected) in [("pods/agent", Some(500)), ("pods/free", Some(600)), ("elsewhere", None)] {
            assert_eq!(left_in(root.path(), format!("0::/{path}\n").as_bytes()), expected, "{path}");
        }
        for membership in ["4:memory:/pods\n", "", "0\n", "0::\n", "x::/pods\n"] {
            assert_eq!(left_in(root.path(), membership.as_bytes()), None, "{membership:?}");
        }
        assert_eq!(left_in(root.path(), b"4:memory:/x\n0::/pods\n"), Some(600));
        assert_eq!(left_in(root.path(), b"0::/pods\xff\n"), None);
    }
}
