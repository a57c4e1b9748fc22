//! Opens files below a directory; the kernel confines every link on the path to it.

use std::fs::File;
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};

/// Most attempts: a concurrent rename can interrupt the resolution of a path with `..` (EAGAIN).
const ATTEMPTS: usize = 128;

/// Opens the file at `path`, relative to `dir`, for reading, without blocking on a FIFO. Follows links that are
/// relative and stay below `dir`; `dir` itself may be a link. An empty `dir` is the working directory.
///
/// # Errors
/// The file cannot be opened; a link leaves the directory ([`is_escape`]); or the kernel, or a filter of system calls,
/// has no `openat2`.
pub fn open_beneath(dir: &Path, path: &Path) -> io::Result<File> {
    let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
    let dir = File::options().read(true).custom_flags(libc::O_PATH | libc::O_DIRECTORY).open(dir)?;
    let how = OpenHow::new()
        .flags(OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK | OFlag::O_NOCTTY)
        .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    let mut attempts = 0;
    loop {
        attempts += 1;
        match openat2(&dir, path, how) {
            Ok(file) => return Ok(file.into()),
            Err(Errno::EAGAIN) if attempts < ATTEMPTS => {}
            Err(Errno::EINTR) => {}
            Err(error @ (Errno::ENOSYS | Errno::EPERM)) => {
                return Err(io::Error::new(
                    io::Error::from(error).kind(),
                    format!("openat2: {error}: needs Linux 5.18 and a seccomp filter that allows it"),
                ));
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Returns `true` for the error of a link that leaves the directory, or is absolute.
#[must_use]
pub fn is_escape(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EXDEV)
}

#[cfg(test)]
mod tests;
