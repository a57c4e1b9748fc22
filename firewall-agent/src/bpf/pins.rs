//! Paths of all pins, and the agent's directory on bpffs.

use std::{
    fs::{self, File, TryLockError},
    io,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail, ensure};
use firewall_common::names;

use crate::host::mount;

/// The agent's directory on bpffs:
///
/// ```text
/// <bpffs_dir>/v3/<MAP>                              maps of this layout
/// <bpffs_dir>/v3/{firewall,probe,socket_filter,…}     programs
/// <bpffs_dir>/v3/sources/v4-<slot>-<generation>     published source tries
/// <bpffs_dir>/v3/blocks/v4-<list>-<number>          published block lists
/// <bpffs_dir>/v3/endpoints/table-<number>           the published endpoint table
/// <bpffs_dir>/links/<interface>                     attached links, of every layout
/// <bpffs_dir>/links/:socket-filter                  the link on the control group
/// ```
#[derive(Debug, Clone)]
pub struct Pins {
    root: PathBuf,
}

/// The exclusive right to write below a bpffs directory; the kernel revokes it when the process ends, however it ends.
#[derive(Debug)]
pub struct Owned {
    dir: File,
}

impl Owned {
    /// Returns whether the path still names the owned directory: `false` after bpffs was unmounted or mounted again.
    #[must_use]
    pub fn is_current(&self, pins: &Pins) -> bool {
        let identity = |about: io::Result<fs::Metadata>| about.ok().map(|about| (about.dev(), about.ino()));
        let owned = identity(self.dir.metadata());
        owned.is_some() && owned == identity(fs::metadata(pins.root()))
    }
}

impl Pins {
    #[must_use]
    pub fn new(bpffs_dir: &Path) -> Self {
        Self { root: bpffs_dir.to_owned() }
    }

    /// Returns `true` when nothing is pinned: no agent has run since the boot, or its bpffs is gone.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        entries(&self.root).is_ok_and(|entries| entries.is_empty())
            || matches!(self.root.try_exists(), Ok(false))
    }

    /// Creates the directories.
    ///
    /// # Errors
    /// When the directory is not on a bpffs, on one that ends with this container, or not writable.
    pub fn create(&self) -> Result<()> {
        self.create_root()?;
        self.create_layout()
    }

    /// Creates the directory itself, without any below it.
    ///
    /// # Errors
    /// As [`Pins::create`].
    pub fn create_root(&self) -> Result<()> {
        make_dir(&self.root)?;
        let kind = nix::sys::statfs::statfs(&self.root)
            .with_context(|| format!("cannot stat {}", self.root.display()))?
            .filesystem_type();
        if kind != nix::sys::statfs::BPF_FS_MAGIC {
            bail!(
                "{}: not on a bpffs: mount one there, as in `mount -t bpf bpf /sys/fs/bpf`",
                self.root.display()
            );
        }
        mount::refuse_private(&self.root)
    }

    /// Removes every pin and directory, if any exist.
    ///
    /// # Errors
    /// When bpffs refuses.
    pub fn remove(&self) -> Result<()> {
        match fs::remove_dir_all(&self.root) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("cannot remove {}", self.root.display()))
            }
            _ => Ok(()),
        }
    }

    /// Creates missing directories below the agent's own.
    ///
    /// # Errors
    /// When bpffs refuses.
    pub fn create_layout(&self) -> Result<()> {
        for dir in [self.layout(), self.sources(), self.blocks(), self.endpoints(), self.links()] {
            make_dir(&dir)?;
        }
        Ok(())
    }

    /// Locks the directory: makes this process the only agent that writes here while the returned value lives.
    ///
    /// # Errors
    /// When another agent owns it, or a process that is no agent has a shared lock on the directory.
    pub fn own(&self) -> Result<Owned> {
        let dir = File::open(&self.root).with_context(|| format!("cannot open {}", self.root.display()))?;
        match dir.try_lock() {
            Ok(()) => Ok(Owned { dir }),
            // Agents take exclusive locks only, which exclude shared ones.
            Err(TryLockError::WouldBlock) if dir.try_lock_shared().is_ok() => {
                bail!("{}: another process, not an agent, holds a shared lock on it", self.root.display())
            }
            Err(TryLockError::WouldBlock) => bail!("{}: another agent owns it", self.root.display()),
            Err(TryLockError::Error(error)) => {
                Err(error).with_context(|| format!("cannot lock {}", self.root.display()))
            }
        }
    }

    /// Fails unless an agent of this layout has run since the boot.
    ///
    /// # Errors
    /// When nothing is pinned, or the pins are inaccessible.
    pub fn expect(&self) -> Result<()> {
        let present = self
            .map(names::ENDPOINTS)
            .try_exists()
            .with_context(|| format!("cannot stat {}", self.layout().display()))?;
        ensure!(present, "{}: no pinned maps: no agent has run since the boot", self.layout().display());
        Ok(())
    }

    #[must_use]
    pub fn map(&self, name: &str) -> PathBuf {
        self.layout().join(name)
    }

    #[must_use]
    pub fn program(&self, name: &str) -> PathBuf {
        self.layout().join(name)
    }

    /// The bpffs directory itself.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    #[must_use]
    pub fn layout(&self) -> PathBuf {
        self.root.join(names::LAYOUT)
    }

    #[must_use]
    pub fn sources(&self) -> PathBuf {
        self.layout().join(names::SOURCES_DIR)
    }

    #[must_use]
    pub fn blocks(&self) -> PathBuf {
        self.layout().join("blocks")
    }

    #[must_use]
    pub fn endpoints(&self) -> PathBuf {
        self.layout().join("endpoints")
    }

    #[must_use]
    pub fn links(&self) -> PathBuf {
        self.root.join("links")
    }

    #[must_use]
    pub fn link(&self, interface: &str) -> PathBuf {
        self.links().join(interface)
    }
}

/// Paths in a directory, sorted by name.
pub(super) fn entries(dir: &Path) -> Result<Vec<PathBuf>> {
    let read = || -> io::Result<Vec<PathBuf>> { fs::read_dir(dir)?.map(|entry| Ok(entry?.path())).collect() };
    let mut paths = read().with_context(|| format!("cannot read {}", dir.display()))?;
    paths.sort();
    Ok(paths)
}

/// Removes a pin; its object lives on while the kernel uses it.
pub(super) fn unpin(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot unpin {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// Renames a pin, replacing any pin with the new name.
pub(super) fn rename(from: &Path, to: &Path) -> Result<()> {
    fs::rename(from, to).with_context(|| format!("cannot rename {} to {}", from.display(), to.display()))
}

/// Creates a directory with mode 0700, unless it exists.
fn make_dir(dir: &Path) -> Result<()> {
    match fs::DirBuilder::new().mode(0o700).create(dir) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(error).with_context(|| format!("cannot create {}", dir.display()))
        }
        _ => Ok(()),
    }
}
