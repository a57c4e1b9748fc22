//! Listening unix socket on disk.

use std::fs::{Permissions, remove_file, set_permissions, symlink_metadata};
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, listen, socket};
use nix::sys::stat::{Mode, fchmod};

use super::dirs::{self, make_dir};

/// For the agent's own user only.
pub const PRIVATE: u32 = 0o600;
/// Also for the group of the socket: that of the agent, or of a set-group-id directory.
pub const GROUP: u32 = 0o660;

/// Path of a socket. The listener does not notice its removal, after which no client can connect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name {
    path: PathBuf,
    /// Device and inode.
    id: (u64, u64),
}

impl Name {
    /// Returns `true` if the path is gone, or leads to another file than this socket.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        !id_of(&self.path).is_ok_and(|id| id == self.id)
    }
}

fn id_of(path: &Path) -> io::Result<(u64, u64)> {
    let metadata = symlink_metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}

/// Binds `path` with these permissions, in place of a socket that an earlier agent left. Creates a missing directory,
/// for the agent's user and group.
///
/// # Errors
/// When the directory cannot be created or written, or `path` is a file other than a socket.
pub fn bind_at(path: &Path, mode: u32) -> Result<(UnixListener, Name)> {
    let bound = || -> Result<(UnixListener, Name)> {
        if let Some(dir) = path.parent() {
            // Sockets for the group and for the agent alone may share it: each has its own permissions.
            make_dir(dir, dirs::GROUP)?;
        }
        match symlink_metadata(path) {
            Ok(old) if old.file_type().is_socket() => remove_file(path)?,
            Ok(_) => bail!("the path exists and is not a socket"),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error.into()),
        }
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
        // The bound path gets at most the socket's permissions: no client may connect before they are set.
        fchmod(&socket, Mode::from_bits_truncate(mode))?;
        bind(socket.as_raw_fd(), &UnixAddr::new(path)?)?;
        // The umask removed some.
        set_permissions(path, Permissions::from_mode(mode))?;
        listen(&socket, Backlog::new(128)?)?;
        let name = Name { path: path.to_owned(), id: id_of(path)? };
        Ok((UnixListener::from(socket), name))
    };
    bound().with_context(|| format!("cannot listen on {}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::fs::{metadata, read_to_string, write};
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn socket_has_its_mode_and_replaces_only_a_stale_socket() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run/a.sock");
        for mode in [PRIVATE, GROUP] {
            let (listener, name) = bind_at(&path, mode).unwrap();
            assert!(!name.is_lost());
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
        assert!(error.contains("cannot listen on"), "{error}");
    }

    #[test]
    fn socket_path_is_lost_only_when_removed_or_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run/a.sock");
        let (_first, name) = bind_at(&path, PRIVATE).unwrap();
        assert_eq!(metadata(path.parent().unwrap()).unwrap().permissions().mode() & 0o777, 0o750);
        assert!(!name.is_lost(), "the control");
        remove_file(&path).unwrap();
        assert!(name.is_lost(), "removed");
        // Stays open: its inode must not be reused.
        let (_second, other) = bind_at(&path, PRIVATE).unwrap();
        assert!(!other.is_lost());
        std::fs::rename(&path, dir.path().join("aside")).unwrap();
        write(&path, "no socket").unwrap();
        assert!(other.is_lost(), "something else");
        std::fs::remove_dir_all(path.parent().unwrap()).unwrap();
        assert!(other.is_lost(), "with its directory");
    }
}
