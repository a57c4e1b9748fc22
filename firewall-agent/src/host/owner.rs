//! Owner of the files that a process of root creates.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use caps::CapSet;
use nix::unistd::{Gid, Uid, geteuid, setfsgid, setfsuid};
use tracing::info;

/// In a process of root, makes this thread and those that it starts create files and pins as the owner of `dir`; the
/// capabilities stay. Otherwise a command of root would leave files that the daemon, which runs as that user, cannot
/// open. Changes nothing where `dir` is missing or belongs to root.
///
/// # Errors
/// `dir` cannot be read, or the kernel refuses another user.
pub fn create_as_owner_of(dir: &Path) -> Result<()> {
    if !geteuid().is_root() {
        return Ok(());
    }
    let metadata = match fs::metadata(dir) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        metadata => metadata.with_context(|| format!("cannot stat {}", dir.display()))?,
    };
    let (user, group) = (Uid::from_raw(metadata.uid()), Gid::from_raw(metadata.gid()));
    if user.is_root() {
        return Ok(());
    }
    let capabilities = caps::read(None, CapSet::Effective).context("cannot read the capabilities")?;
    setfsgid(group);
    setfsuid(user);
    // Both return the previous id, even on failure.
    let is_set = setfsgid(group) == group && setfsuid(user) == user;
    ensure!(is_set, "{}: cannot create files as its owner, uid {user}", dir.display());
    // The kernel has removed those over files, as CAP_DAC_OVERRIDE.
    caps::set(None, CapSet::Effective, &capabilities).context("cannot raise the capabilities again")?;
    info!(dir = %dir.display(), uid = user.as_raw(), "files and pins created as the directory's owner");
    Ok(())
}
