//! A listening socket on disk.

use std::fs::{Permissions, create_dir_all, remove_file, set_permissions, symlink_metadata};
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::UnixListener;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, listen, socket};
use nix::sys::stat::{Mode, fchmod};

/// For the agent's own user only.
pub const PRIVATE: u32 = 0o600;
/// For whoever is in the socket's group, too: the agent's, or that of a set-group-id directory.
pub const GROUP: u32 = 0o660;

/// Binds `path` with these permissions, in the place of a socket that an earlier agent left.
///
/// # Errors
/// When the directory cannot be made or written, or something else than a socket is at `path`.
pub fn bind_at(path: &Path, mode: u32) -> Result<UnixListener> {
    let bound = || -> Result<UnixListener> {
        if let Some(dir) = path.parent() {
            create_dir_all(dir)?;
        }
        match symlink_metadata(path) {
            Ok(old) if old.file_type().is_socket() => remove_file(path)?,
            Ok(_) => bail!("something else than a socket is there"),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error.into()),
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
    use std::fs::{metadata, read_to_string, write};
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn a_socket_has_its_permissions_and_takes_the_place_of_an_old_one_and_of_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run/a.sock");
        for mode in [PRIVATE, GROUP] {
            let listener = bind_at(&path, mode).unwrap();
            assert_eq!(metadata(&path).unwrap().permissions().mode() & 0o777, mode);
            UnixStream::connect(&path).unwrap();
            listener.accept().unwrap();
        }
        let file = dir.path().join("precious");
        write(&file, "kept").unwrap();
        assert!(bind_at(&file, GROUP).is_err());
        assert_eq!(read_to_string(&file).unwrap(), "kept");
        let long = dir.path().join("a".repeat(200));
        let error = format!("{:#}", bind_at(&long, GROUP).unwrap_err());
        assert!(error.contains("cannot be listened on"), "{error}");
    }
}
