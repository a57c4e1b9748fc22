//! One agent for each state directory.

use std::fs::{File, create_dir_all, read_to_string};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use tracing::warn;

/// Held as long as the value lives; the kernel frees it when the process ends, however it ends.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Becomes the owner of `state_dir`, which is made when it is not there.
    ///
    /// # Errors
    /// When another process is the owner (the error says which), or the directory cannot be written.
    pub fn take(state_dir: &Path) -> Result<Self> {
        create_dir_all(state_dir).with_context(|| format!("{}: cannot be made", state_dir.display()))?;
        let path = path(state_dir);
        let mut file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .with_context(|| format!("{}: cannot be opened", path.display()))?;
        match fcntl(&file, FcntlArg::F_OFD_SETLK(&exclusive())) {
            Ok(_) => {}
            Err(Errno::EAGAIN | Errno::EACCES) => {
                let owner = read_to_string(&path).unwrap_or_default();
                bail!("{}: the agent with process id {} owns it", path.display(), owner.trim());
            }
            Err(error) => return Err(error).with_context(|| format!("{}: cannot be locked", path.display())),
        }
        // Always as long, so that a full disk has room for it; and what counts is the lock, not who is told to have it.
        if let Err(error) = writeln!(file, "{:>10}", std::process::id()) {
            warn!(file = %path.display(), error = error.to_string(), "the owner's process id cannot be noted");
        }
        Ok(Self { _file: file })
    }

    /// Process id of the owner of `state_dir`; `None` when there is none. Only looks: an agent that starts at this
    /// very moment is not held up.
    #[must_use]
    pub fn owner(state_dir: &Path) -> Option<u32> {
        let file = File::open(path(state_dir)).ok()?;
        let mut lock = exclusive();
        fcntl(&file, FcntlArg::F_OFD_GETLK(&mut lock)).ok()?;
        if i32::from(lock.l_type) == libc::F_UNLCK {
            return None;
        }
        io::read_to_string(file).ok()?.trim().parse().ok()
    }
}

/// A lock of a whole file, for one open file only.
fn exclusive() -> libc::flock {
    libc::flock {
        l_type: libc::F_WRLCK as i16,
        l_whence: libc::SEEK_SET as i16,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    }
}

fn path(state_dir: &Path) -> PathBuf {
    state_dir.join("agent.lock")
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;

    use super::*;

    #[test]
    fn the_owner_is_named_to_who_comes_second_and_forgotten_when_it_ends() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Lock::owner(dir.path()), None);
        let lock = Lock::take(dir.path()).unwrap();
        let own = std::process::id();
        assert_eq!(Lock::owner(dir.path()), Some(own));
        let refused = Lock::take(dir.path()).unwrap_err().to_string();
        assert!(refused.ends_with(&format!("the agent with process id {own} owns it")), "{refused}");
        drop(lock);
        assert_eq!(Lock::owner(dir.path()), None);
    }

    #[test]
    fn looking_at_the_owner_keeps_nobody_from_becoming_it() {
        let dir = tempfile::tempdir().unwrap();
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    let _ = Lock::owner(dir.path());
                }
            });
            let taken = (0..5_000).try_for_each(|_| Lock::take(dir.path()).map(drop));
            done.store(true, Ordering::Relaxed);
            taken.unwrap();
        });
    }
}
