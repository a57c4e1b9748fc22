//! The identity of sources: the names of their git trees.

use anyhow::{Result, ensure};
use xshell::{Shell, cmd};

/// The crates that make up the XDP program.
pub const DATA_PLANE: &[&str] = &["firewall-common", "firewall-ebpf"];
/// Digits of a tree's name.
const DIGITS: usize = 12;

/// Returns the trees of these paths in a commit: `firewall-common 0123456789ab, firewall-ebpf 0123456789ab`.
pub fn trees(sh: &Shell, commit: &str, paths: &[&str]) -> Result<String> {
    let listed = cmd!(sh, "git ls-tree {commit} --").args(paths).read()?;
    let tree = |line: &str| {
        let (description, name) = line.split_once('\t')?;
        let tree = description.split(' ').nth(2)?.get(..DIGITS)?;
        Some(format!("{name} {tree}"))
    };
    Ok(listed.lines().filter_map(tree).collect::<Vec<_>>().join(", "))
}

/// Fails if the work tree has changes of these paths that no commit has: a name of their state would not be known to
/// others.
pub fn ensure_committed(sh: &Shell, paths: &[&str]) -> Result<()> {
    let changed = cmd!(sh, "git status --porcelain --").args(paths).read()?;
    ensure!(changed.is_empty(), "{}: uncommitted changes, commit them first:\n{changed}", paths.join(", "));
    Ok(())
}
