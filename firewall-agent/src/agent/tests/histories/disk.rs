//! A disk in memory that a test can fill, break, slow down and cut off from power.

use std::fmt::{self, Display, Formatter};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Result, bail, ensure};
use fastrand::Rng;
use redb::StorageBackend;

use crate::files::store::Medium;

const ENOSPC: i32 = 28;
const EIO: i32 = 5;
/// Bytes that a disk writes atomically.
const SECTOR: usize = 512;
/// Bytes that a file reserves beyond its end while the disk has space.
const RESERVE: usize = 256 << 10;

/// Behaviour of a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskFault {
    None,
    /// No block is free: allocated blocks can be overwritten.
    Full,
    /// Every write is refused, even to allocated blocks.
    NoWrites,
    /// The file cannot be opened for writing.
    ReadOnly,
    /// Accepts bytes, but does not write them to the disk.
    NoSyncs,
    /// The same, and drops the unwritten bytes: only a power cut shows it.
    LosesSyncs,
    /// Refuses one of this number of operations.
    Flaky(u8),
}

impl DiskFault {
    pub const ALL: [Self; 6] =
        [Self::Full, Self::NoWrites, Self::ReadOnly, Self::NoSyncs, Self::LosesSyncs, Self::Flaky(8)];
}

#[derive(Debug)]
enum Operation {
    Write(usize, Vec<u8>),
    Length(usize),
    Replace(Vec<u8>),
}

#[derive(Debug)]
struct Platter {
    rng: Rng,
    /// Bytes as every process sees them.
    seen: Vec<u8>,
    /// Bytes that survive a power cut.
    durable: Vec<u8>,
    /// Operations that a power cut may lose, whole or in part.
    unsynced: Vec<Operation>,
    /// Allocated bytes from the beginning of the file.
    allocated: usize,
    disk_fault: DiskFault,
    reserves: bool,
    /// Operations until the process dies.
    fuse: Option<usize>,
    /// The process is dead: none of its operations reaches the disk.
    dead: bool,
}

/// The disk; it outlives every process.
#[derive(Debug, Clone)]
pub struct Disk(Arc<Mutex<Platter>>);

/// The file as opened by one process.
#[derive(Debug)]
pub struct OpenFile(Disk);

impl Disk {
    pub fn new(rng: Rng) -> Self {
        Self(Arc::new(Mutex::new(Platter {
            rng,
            seen: Vec::new(),
            durable: Vec::new(),
            unsynced: Vec::new(),
            allocated: 0,
            disk_fault: DiskFault::None,
            reserves: true,
            fuse: None,
            dead: false,
        })))
    }

    fn lock(&self) -> MutexGuard<'_, Platter> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn set_fault(&self, disk_fault: DiskFault, reserves: bool) {
        let mut platter = self.lock();
        (platter.disk_fault, platter.reserves) = (disk_fault, reserves);
    }

    /// Kills the process at the operation of this number from now.
    pub fn kill_at(&self, operation: usize) {
        self.lock().fuse = Some(operation);
    }

    pub fn kill(&self) {
        self.lock().dead = true;
    }

    pub fn is_dead(&self) -> bool {
        self.lock().dead
    }

    /// A new process uses the disk.
    pub fn revive(&self) {
        let mut platter = self.lock();
        (platter.dead, platter.fuse) = (false, None);
    }

    /// Loses an arbitrary part of the unsynced operations.
    pub fn cut_power(&self) {
        self.lock().cut_power();
    }
}

impl Platter {
    fn cut_power(&mut self) {
        let style = self.rng.u8(0..4);
        for operation in std::mem::take(&mut self.unsynced) {
            let is_done = match style {
                0 => false,
                1 => true,
                _ => self.rng.bool(),
            };
            match operation {
                Operation::Length(length) if is_done => self.durable.resize(length, 0),
                Operation::Replace(bytes) if is_done => self.durable = bytes,
                Operation::Length(_) | Operation::Replace(_) => {}
                Operation::Write(at, bytes) if style < 3 => {
                    if is_done {
                        overwrite(&mut self.durable, at, &bytes);
                    }
                }
                Operation::Write(at, bytes) => self.tear(at, &bytes),
            }
        }
        self.seen.clone_from(&self.durable);
        self.allocated = self.allocated.min(self.seen.len());
    }

    /// Some sectors of a write, or its first bytes.
    fn tear(&mut self, at: usize, bytes: &[u8]) {
        if self.rng.bool() {
            let cut = self.rng.usize(0..=bytes.len());
            overwrite(&mut self.durable, at, &bytes[..cut]);
            return;
        }
        for (number, sector) in bytes.chunks(SECTOR).enumerate() {
            if self.rng.bool() {
                overwrite(&mut self.durable, at + number * SECTOR, sector);
            }
        }
    }

    /// One operation of the process; an error when it is refused or the process is dead.
    fn operate(&mut self) -> io::Result<()> {
        match &mut self.fuse {
            Some(0) => self.dead = true,
            Some(left) => *left -= 1,
            None => {}
        }
        if self.dead {
            return Err(io::Error::other("the process is dead"));
        }
        match self.disk_fault {
            DiskFault::Flaky(one_in) if self.rng.u8(0..one_in) == 0 => Err(io::Error::from_raw_os_error(EIO)),
            DiskFault::None
            | DiskFault::Full
            | DiskFault::NoWrites
            | DiskFault::ReadOnly
            | DiskFault::NoSyncs
            | DiskFault::LosesSyncs
            | DiskFault::Flaky(_) => Ok(()),
        }
    }

    fn change(&mut self) -> io::Result<()> {
        self.operate()?;
        match self.disk_fault {
            DiskFault::NoWrites => Err(io::Error::from_raw_os_error(ENOSPC)),
            DiskFault::None
            | DiskFault::Full
            | DiskFault::ReadOnly
            | DiskFault::NoSyncs
            | DiskFault::LosesSyncs
            | DiskFault::Flaky(_) => Ok(()),
        }
    }

    fn reserve(&mut self) {
        let has_room =
            !matches!(self.disk_fault, DiskFault::Full | DiskFault::NoWrites | DiskFault::ReadOnly);
        if self.reserves && has_room && !self.dead {
            self.allocated = self.allocated.max(self.seen.len() + RESERVE);
        }
    }
}

/// Bytes beyond the end are lost, as without the file's new length.
fn overwrite(bytes: &mut [u8], at: usize, new: &[u8]) {
    let end = bytes.len().min(at + new.len());
    if at < end {
        bytes[at..end].copy_from_slice(&new[..end - at]);
    }
}

impl Display for Disk {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("disk in memory")
    }
}

impl Medium for Disk {
    type Backend = OpenFile;

    fn open(&self) -> Result<OpenFile> {
        let mut platter = self.lock();
        platter.operate()?;
        if platter.disk_fault == DiskFault::ReadOnly {
            bail!("read-only file system");
        }
        platter.reserve();
        Ok(OpenFile(self.clone()))
    }

    fn replace(&self, bytes: &[u8]) -> Result<()> {
        let mut platter = self.lock();
        // Writes, syncs and renames a copy; each step may be refused, and may be the last one done.
        platter.change()?;
        platter.operate()?;
        ensure!(platter.disk_fault != DiskFault::ReadOnly, "read-only file system");
        // A full disk still has the reserved space; its later state is unknown.
        let has_room = platter.allocated.saturating_sub(platter.seen.len()) >= bytes.len();
        ensure!(platter.disk_fault != DiskFault::Full || has_room, "no space left on device");
        ensure!(
            !matches!(platter.disk_fault, DiskFault::NoSyncs | DiskFault::LosesSyncs),
            "input/output error"
        );
        platter.operate()?;
        platter.seen = bytes.to_vec();
        if platter.disk_fault != DiskFault::Full || platter.rng.bool() {
            platter.allocated = bytes.len();
        }
        platter.unsynced.clear();
        let (old, is_renamed) = (std::mem::replace(&mut platter.durable, bytes.to_vec()), platter.operate());
        if is_renamed.is_err() && platter.rng.bool() {
            // The directory was not synced: a power cut restores the old file.
            platter.durable = old;
            platter.unsynced.push(Operation::Replace(bytes.to_vec()));
        }
        Ok(is_renamed?)
    }

    fn copy(&self) -> Result<Option<Vec<u8>>> {
        let platter = self.lock();
        Ok((!platter.seen.is_empty()).then(|| platter.seen.clone()))
    }

    fn reserve(&self) {
        self.lock().reserve();
    }
}

impl StorageBackend for OpenFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.lock().seen.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let mut platter = self.0.lock();
        platter.operate()?;
        let at = usize::try_from(offset).map_err(io::Error::other)?;
        let end = at.saturating_add(out.len());
        let bytes = platter.seen.get(at..end).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(bytes);
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        let mut platter = self.0.lock();
        platter.change()?;
        let length = usize::try_from(length).map_err(io::Error::other)?;
        if length < platter.seen.len() {
            platter.allocated = platter.allocated.min(length);
        }
        platter.seen.resize(length, 0);
        platter.unsynced.push(Operation::Length(length));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut platter = self.0.lock();
        platter.operate()?;
        match platter.disk_fault {
            DiskFault::NoSyncs => return Err(io::Error::from_raw_os_error(EIO)),
            DiskFault::LosesSyncs => {
                platter.unsynced.clear();
                return Err(io::Error::from_raw_os_error(EIO));
            }
            DiskFault::None
            | DiskFault::Full
            | DiskFault::NoWrites
            | DiskFault::ReadOnly
            | DiskFault::Flaky(_) => {}
        }
        for operation in std::mem::take(&mut platter.unsynced) {
            match operation {
                Operation::Length(length) => platter.durable.resize(length, 0),
                Operation::Replace(bytes) => platter.durable = bytes,
                Operation::Write(at, bytes) => overwrite(&mut platter.durable, at, &bytes),
            }
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut platter = self.0.lock();
        platter.change()?;
        let at = usize::try_from(offset).map_err(io::Error::other)?;
        let end = at + data.len();
        if end > platter.allocated {
            if platter.disk_fault == DiskFault::Full {
                return Err(io::Error::from_raw_os_error(ENOSPC));
            }
            platter.allocated = end;
        }
        if platter.seen.len() < end {
            platter.seen.resize(end, 0);
            platter.unsynced.push(Operation::Length(end));
        }
        platter.seen[at..end].copy_from_slice(data);
        platter.unsynced.push(Operation::Write(at, data.to_vec()));
        Ok(())
    }
}
