//! The control group of a lab: the sockets of its thread and of every program that the thread starts belong to it, and a
//! program attached to `/sys/fs/cgroup` of the lab reaches no other socket of the machine.
//!
//! Labs of one process run in threads, so their groups are threaded, below one group of the process:
//!
//! ```text
//! firewall-lab-<pid namespace>-<pid>/           the process, while it has a lab
//! firewall-lab-<pid namespace>-<pid>/<number>/  the thread of a lab
//! ```

use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use fs_err as fs;
use nix::mount::{MntFlags, MsFlags, mount, umount2};

/// Mount of the whole hierarchy in the lab, for the lab's own use.
const HIERARCHY: &str = "/run/cgroup";
/// The default of `socket_filter_cgroup`.
const AGENTS: &str = "/sys/fs/cgroup";
const PREFIX: &str = "firewall-lab-";
/// Age at which an empty group of another namespace is an orphan: a lab fills its group at once.
const ORPHAN_AGE: Duration = Duration::from_mins(10);

/// Labs of this process.
static LABS: Mutex<Labs> = Mutex::new(Labs { made: 0, alive: 0, before: None });

struct Labs {
    made: usize,
    alive: usize,
    /// The group of the process before its first lab, relative to the hierarchy.
    before: Option<PathBuf>,
}

/// The current thread's membership in a group of its own.
#[derive(Debug)]
pub(super) struct Cgroup {
    path: PathBuf,
    /// File that moves a thread back to the group of the process.
    way_back: File,
    /// Directory of the hierarchy, which stays usable outside the lab.
    hierarchy: File,
}

impl Cgroup {
    /// Moves the thread to a new group, and binds the group over `/sys/fs/cgroup`. The thread must be in a mount namespace
    /// of its own.
    pub fn enter() -> Result<Self> {
        fs::create_dir(HIERARCHY)?;
        mount(Some("cgroup2"), HIERARCHY, Some("cgroup2"), MsFlags::empty(), None::<&str>)
            .context("lab: no control groups of version 2")?;
        remove_orphans()?;
        let mut labs = LABS.lock().unwrap_or_else(PoisonError::into_inner);
        // Two runs in containers of their own have processes with one id.
        let own = pid_namespace()?;
        let process = Path::new(HIERARCHY).join(format!("{PREFIX}{own}-{}", std::process::id()));
        if labs.made == 0 {
            // Left by a process of this id that was killed.
            remove(&process);
        }
        if labs.alive == 0 {
            if !process.exists() {
                fs::create_dir(&process)?;
            }
            labs.before = Some(group_of("/proc/self/cgroup")?);
            fs::write(process.join("cgroup.procs"), "0")?;
        }
        labs.made += 1;
        let path = process.join(labs.made.to_string());
        fs::create_dir(&path)?;
        fs::write(path.join("cgroup.type"), "threaded")?;
        fs::write(path.join("cgroup.threads"), "0")?;
        labs.alive += 1;
        mount(Some(&path), AGENTS, None::<&str>, MsFlags::MS_BIND, None::<&str>)
            .with_context(|| format!("{AGENTS}: not bound"))?;
        let way_back = File::options().write(true).open(process.join("cgroup.threads"))?;
        Ok(Self { path, way_back, hierarchy: File::open(HIERARCHY)? })
    }

    /// The group's directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Shows the machine's own directory at `/sys/fs/cgroup` again, for runtimes that make groups there.
    pub fn uncover() -> Result<()> {
        umount2(AGENTS, MntFlags::MNT_DETACH).with_context(|| format!("{AGENTS}: not unmounted"))
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let mut labs = LABS.lock().unwrap_or_else(PoisonError::into_inner);
        labs.alive -= 1;
        let _ = self.way_back.write_all(b"0");
        let at = |path: &Path| {
            let below = path.strip_prefix(HIERARCHY).unwrap_or(path);
            PathBuf::from(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&self.hierarchy)))
                .join(below)
        };
        // A child that ends later keeps its group, which a later lab removes.
        let _ = fs::remove_dir(at(&self.path));
        if labs.alive == 0
            && let Some(before) = labs.before.take()
        {
            let _ = fs::write(at(&before).join("cgroup.procs"), "0");
            let _ = self.path.parent().map(|process| remove(&at(process)));
        }
    }
}

/// The group of version 2 in the text of a `/proc/…/cgroup`, relative to the hierarchy.
fn group_of(file: &str) -> Result<PathBuf> {
    let text = fs::read_to_string(file)?;
    let group = text.lines().find_map(|line| line.strip_prefix("0::/"));
    Ok(group.with_context(|| format!("{file}: no group of version 2"))?.into())
}

/// Number of the namespace of this process's id.
fn pid_namespace() -> Result<u64> {
    Ok(fs::metadata("/proc/self/ns/pid")?.ino())
}

/// Removes the groups of processes that have ended. Of another namespace these are the old ones without a process.
fn remove_orphans() -> Result<()> {
    let own = pid_namespace()?;
    for entry in fs::read_dir(HIERARCHY)?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some((namespace, id)) = name.strip_prefix(PREFIX).and_then(|name| name.split_once('-')) else {
            continue;
        };
        let has_ended = if namespace == own.to_string() {
            !Path::new(&format!("/proc/{id}")).exists()
        } else {
            let made = entry.metadata().and_then(|group| group.modified());
            made.is_ok_and(|made| made.elapsed().is_ok_and(|age| age > ORPHAN_AGE))
        };
        if has_ended {
            remove(&entry.path());
        }
    }
    Ok(())
}

/// Removes a group and the groups below it, as far as no process is in them.
fn remove(group: &Path) {
    for entry in fs::read_dir(group).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            let _ = fs::remove_dir(entry.path());
        }
    }
    let _ = fs::remove_dir(group);
}
