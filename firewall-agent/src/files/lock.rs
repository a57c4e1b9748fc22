//! Lock of a state directory: at most one agent each.

use std::fs::{File, Permissions, read_to_string};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use tracing::warn;

use super::dirs::{PRIVATE, make_dir};

/// Write lock of the open file `agent.lock` (`F_OFD_SETLK`) for the lifetime of the value; the kernel releases it when
/// the process ends in any way. Locks of other kinds do not mark an agent.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Becomes the owner of `state_dir`. Creates the directory if missing, for the agent's own user only.
    ///
    /// # Errors
    /// Another agent is the owner (the error gives its process id), a process other than an agent has a lock on the
    /// file (the error gives its kind), or the directory cannot be written.
    pub fn take(state_dir: &Path) -> Result<Self> {
        make_dir(state_dir, PRIVATE).with_context(|| format!("cannot create {}", state_dir.display()))?;
        let path = path(state_dir);
        let mut file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&path)
            .with_context(|| format!("cannot open {}", path.display()))?;
        // Any process that may read the file may lock it against its owner.
        let private = file.set_permissions(Permissions::from_mode(0o600));
        private.with_context(|| format!("cannot chmod {}", path.display()))?;
        match fcntl(&file, FcntlArg::F_OFD_SETLK(&whole_file(libc::F_WRLCK))) {
            Ok(_) => {}
            Err(Errno::EAGAIN | Errno::EACCES) => bail!("{}: {}", path.display(), conflict(&file, &path)),
            Err(error) => return Err(error).with_context(|| format!("cannot lock {}", path.display())),
        }
        // Fixed length: the write fits even on a full disk. The lock decides, not the recorded process id.
        if let Err(error) = writeln!(file, "{:>10}", std::process::id()) {
            warn!(
                file = %path.display(),
                error = error.to_string(),
                "process id not written to the lock file"
            );
        }
        Ok(Self { _file: file })
    }

    /// Process id of the owner of `state_dir`; `None` if there is none. Takes no lock: an agent that starts at this
    /// moment is not delayed. A reader's lock, or one of a process other than an agent, makes no owner.
    #[must_use]
    pub fn owner(state_dir: &Path) -> Option<u32> {
        let file = File::open(path(state_dir)).ok()?;
        match against(&file, libc::F_RDLCK)? {
            Conflict::Agent => io::read_to_string(file).ok()?.trim().parse().ok(),
            Conflict::Reader(_) | Conflict::Writer(_) => None,
        }
    }
}

/// Conflicting lock of another open file or process.
enum Conflict {
    /// Write lock of an open file, the kind that agents take.
    Agent,
    /// Read lock; of a process, if the kernel reports which.
    Reader(Option<i32>),
    /// Write lock of a process, which agents do not take.
    Writer(i32),
}

/// First lock of others that conflicts with a lock of this kind. Only write locks conflict with a read lock.
fn against(file: &File, kind: i32) -> Option<Conflict> {
    let mut lock = whole_file(kind);
    fcntl(file, FcntlArg::F_OFD_GETLK(&mut lock)).ok()?;
    // Locks of open files belong to no process: the kernel reports -1.
    let process = Some(lock.l_pid).filter(|process| *process > 0);
    match (i32::from(lock.l_type), process) {
        (libc::F_WRLCK, None) => Some(Conflict::Agent),
        (libc::F_WRLCK, Some(process)) => Some(Conflict::Writer(process)),
        (libc::F_RDLCK, process) => Some(Conflict::Reader(process)),
        _ => None,
    }
}

/// Reason why the file cannot be locked, for a message. An agent takes precedence over other processes.
fn conflict(file: &File, path: &Path) -> String {
    let foreign = |process: Option<i32>, kind: &str| {
        let process = process.map_or_else(String::new, |process| format!(" with process id {process}"));
        format!(
            "another process{process}, not an agent, holds a {kind} lock on the file: end it, or stop it \
             from locking"
        )
    };
    match against(file, libc::F_RDLCK).or_else(|| against(file, libc::F_WRLCK)) {
        Some(Conflict::Reader(process)) => foreign(process, "read"),
        Some(Conflict::Writer(process)) => foreign(Some(process), "write"),
        // Released meanwhile: most probably by an agent that ended just now.
        Some(Conflict::Agent) | None => {
            let owner = read_to_string(path).unwrap_or_default();
            format!("the agent with process id {} owns it", owner.trim())
        }
    }
}

/// Lock of a whole file.
fn whole_file(kind: i32) -> libc::flock {
    libc::flock { l_type: kind as i16, l_whence: libc::SEEK_SET as i16, l_start: 0, l_len: 0, l_pid: 0 }
}

fn path(state_dir: &Path) -> PathBuf {
    state_dir.join("agent.lock")
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;

    use super::*;

    #[test]
    fn second_instance_learns_the_owner_and_exit_releases_the_lock() {
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
    fn querying_the_owner_does_not_block_locking() {
        let dir = tempfile::tempdir().unwrap();
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    let _ = Lock::owner(dir.path());
                }
            });
            let locked = (0..5_000).try_for_each(|_| Lock::take(dir.path()).map(drop));
            done.store(true, Ordering::Relaxed);
            locked.unwrap();
        });
    }

    fn mode(path: &Path) -> u32 {
        path.metadata().unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn lock_file_and_directory_are_private_to_the_owner() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("a/state");
        drop(Lock::take(&dir).unwrap());
        assert_eq!([mode(&dir), mode(&path(&dir))], [0o700, 0o600]);
        // A file that was left open to other users.
        fs::set_permissions(path(&dir), Permissions::from_mode(0o644)).unwrap();
        drop(Lock::take(&dir).unwrap());
        assert_eq!(mode(&path(&dir)), 0o600);
    }

    /// The lock file, open, with a lock of `kind` on it: of the open file, or (as most programs do) of the process,
    /// which loses it as soon as it closes any descriptor of the file.
    fn locked(dir: &Path, kind: i32, of_process: bool) -> File {
        let file = File::options().read(true).write(true).open(path(dir)).unwrap();
        let lock = whole_file(kind);
        let done = if of_process { FcntlArg::F_SETLK(&lock) } else { FcntlArg::F_OFD_SETLK(&lock) };
        fcntl(&file, done).unwrap();
        file
    }

    #[test]
    fn only_an_agent_write_lock_makes_an_owner_and_others_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let own = std::process::id();
        drop(Lock::take(dir.path()).unwrap());
        for (kind, of_process, expected) in [
            (libc::F_RDLCK, false, "another process, not an agent, holds a read lock".to_owned()),
            (
                libc::F_RDLCK,
                true,
                format!("another process with process id {own}, not an agent, holds a read lock"),
            ),
            (
                libc::F_WRLCK,
                true,
                format!("another process with process id {own}, not an agent, holds a write lock"),
            ),
        ] {
            let foreign = locked(dir.path(), kind, of_process);
            assert_eq!(Lock::owner(dir.path()), None, "{expected}");
            drop(foreign);
            let foreign = locked(dir.path(), kind, of_process);
            let refused = Lock::take(dir.path()).unwrap_err().to_string();
            assert!(refused.contains(&expected), "{refused}");
            drop(foreign);
            // The control: without the foreign lock the same process becomes the owner, and no reader hides it.
            let lock = Lock::take(dir.path()).unwrap();
            assert_eq!(Lock::owner(dir.path()), Some(own));
            drop(lock);
        }
    }
}
