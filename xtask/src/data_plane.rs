//! The identity of the data plane's sources: the git trees of its two crates.

use anyhow::{Result, ensure};
use xshell::{Shell, cmd};

/// The crates that make up the XDP program.
pub const CRATES: [&str; 2] = ["firewall-common", "firewall-ebpf"];
/// Digits of a tree's name.
const DIGITS: usize = 12;

/// Returns the trees of a commit: `firewall-common 0123456789ab, firewall-ebpf 0123456789ab`.
pub fn trees(sh: &Shell, commit: &str) -> Result<String> {
    let listed = cmd!(sh, "git ls-tree {commit} --").args(CRATES).read()?;
    let tree = |line: &str| {
        let (description, name) = line.split_once('\t')?;
        let tree = description.split(' ').nth(2)?.get(..DIGITS)?;
        Some(format!("{name} {tree}"))
    };
    Ok(listed.lines().filter_map(tree).collect::<Vec<_>>().join(", "))
}

/// Fails if the work tree has changes of the data plane that no commit has: a name of its state would not be known to
/// others.
pub fn ensure_committed(sh: &Shell) -> Result<()> {
    let changed = cmd!(sh, "git status --porcelain --").args(CRATES).read()?;
    ensure!(changed.is_empty(), "{}: uncommitted changes, commit them first:\n{changed}", CRATES.join(", "));
    Ok(())
}
