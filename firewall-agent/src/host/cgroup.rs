//! Memory left in the agent's control group: the kernel kills a process that exceeds it.

use std::fs::read_to_string;
use std::path::{Path, PathBuf};

const ROOT: &str = "/sys/fs/cgroup";

/// Bytes below the tightest limit of the agent's group and its ancestors (cgroup v2); `None` without a limit, or if it
/// is unknown.
#[must_use]
pub fn memory_left() -> Option<u64> {
    left_in(Path::new(ROOT), &read_to_string("/proc/self/cgroup").ok()?)
}

fn left_in(root: &Path, membership: &str) -> Option<u64> {
    let path = membership.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let group = root.join(path);
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
    fn the_tightest_limit_above_counts() {
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
            assert_eq!(left_in(root.path(), &format!("0::/{path}\n")), expected, "{path}");
        }
        assert_eq!(left_in(root.path(), "4:memory:/pods\n"), None);
    }
}
