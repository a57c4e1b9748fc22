//! A listening socket on disk that only the agent's own user may use.

use std::fs::{Permissions, create_dir_all, remove_file, set_permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;
use std::path::Path;

use anyhow::{Context as _, Result};
use nix::sys::stat::{Mode, umask};

/// Binds `path`, mode 0600, in the place of a socket that an earlier agent left.
///
/// # Errors
/// When the directory cannot be made or written.
pub fn bind_private(path: &Path) -> Result<UnixListener> {
    let bind = || -> Result<UnixListener> {
        if let Some(dir) = path.parent() {
            create_dir_all(dir)?;
        }
        match remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        // Nobody may connect before the permissions are set.
        let before = umask(Mode::from_bits_truncate(0o177));
        let bound = UnixListener::bind(path);
        umask(before);
        let listener = bound?;
        set_permissions(path, Permissions::from_mode(0o600))?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    };
    bind().with_context(|| format!("{}: cannot be listened on", path.display()))
}
