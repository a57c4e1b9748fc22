//! Owner of the files that a process of root creates.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use caps::CapSet;
use nix::unistd::{Gid, Uid, geteuid, setfsgid, setfsuid};
use tracing::info;

/// In a process of root, makes this thread and those that it starts create files and pins as the owner of the first of
/// `dirs` that exists; the capabilities stay. Otherwise a command of root would leave files that the daemon, which runs
/// as that user, cannot open. Changes nothing where none exists or the first belongs to root.
///
/// # Errors
/// A directory cannot be read, another one belongs to a third user, or the kernel refuses another user.
pub fn create_as_owner_of(dirs: &[&Path]) -> Result<()> {
    if !geteuid().is_root() {
        return Ok(());
    }
    let mut owners = Vec::new();
    for dir in dirs {
        match fs::metadata(dir) {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            metadata => {
                let metadata = metadata.with_context(|| format!("cannot stat {}", dir.display()))?;
                owners.push((dir, Uid::from_raw(metadata.uid()), Gid::from_raw(metadata.gid())));
            }
        }
    }
    let Some((dir, user, group)) = owners.first().copied().filter(|(_, user, _)| !user.is_root()) else {
        return Ok(());
    };
    if let Some((other, third, _)) = owners.iter().find(|(_, owner, _)| !owner.is_root() && *owner != user) {
        bail!(
            "{} belongs to uid {user}, {} to uid {third}: must belong to one user",
            dir.display(),
            other.display()
        );
    }
    let capabilities = caps::read(None, CapSet::Effective).context("cannot read the capabilities")?;
    let before = (setfsgid(group), setfsuid(user));
    // Both return the previous id, even on failure.
    if (setfsgid(group), setfsuid(user)) != (group, user) {
        setfsgid(before.0);
        setfsuid(before.1);
        bail!(
            "{}: cannot create files as its owner, uid {user} and gid {group}: needs CAP_SETUID and CAP_SETGID",
            dir.display()
        );
    }
    // The kernel has removed those over files, as CAP_DAC_OVERRIDE.
    caps::set(None, CapSet::Effective, &capabilities).context("cannot raise the capabilities again")?;
    info!(dir = %dir.display(), uid = user.as_raw(), "files and pins created as the directory's owner");
    Ok(())
}
