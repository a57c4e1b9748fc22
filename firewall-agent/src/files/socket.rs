//! A listening socket on disk.

use std::fs::{Permissions, create_dir_all, remove_file, set_permissions};
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;
use std::path::Path;

use anyhow::{Context as _, Result};
use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, listen, socket};
use nix::sys::stat::{Mode, fchmod};

/// For the agent's own user only.
pub const PRIVATE: u32 = 0o600;
/// For whoever is in the socket's group, too: the agent's, or that of a set-group-id directory.
pub const GROUP: u32 = 0o660;

/// Binds `path` with these permissions, in the place of a socket that an earlier agent left.
///
/// # Errors
/// When the directory cannot be made or written.
pub fn bind_at(path: &Path, mode: u32) -> Result<UnixListener> {
    let bound = || -> Result<UnixListener> {
        if let Some(dir) = path.parent() {
            create_dir_all(dir)?;
        }
        match remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
        // What is bound gets no more than the socket has: nobody may connect before the permissions are set.
        fchmod(&socket, Mode::from_bits_truncate(mode))?;
        bind(socket.as_raw_fd(), &UnixAddr::new(path)?)?;
        // The umask took some.
        set_permissions(path, Permissions::from_mode(mode))?;
        listen(&socket, Backlog::new(128)?)?;
        Ok(UnixListener::from(socket))
    };
    bound().with_context(|| format!("{}: cannot be listened on", path.display()))
}

#[cfg(test)]
mod tests {
    use std::fs::metadata;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn a_socket_has_its_permissions_and_takes_the_place_of_an_old_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run/a.sock");
        for mode in [PRIVATE, GROUP] {
            let listener = bind_at(&path, mode).unwrap();
            assert_eq!(metadata(&path).unwrap().permissions().mode() & 0o777, mode);
            UnixStream::connect(&path).unwrap();
            listener.accept().unwrap();
        }
        let long = dir.path().join("a".repeat(200));
        let error = format!("{:#}", bind_at(&long, GROUP).unwrap_err());
        assert!(error.contains("cannot be listened on"), "{error}");
    }
}
