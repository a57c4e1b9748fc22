//! The generation: the number that makes cached verdicts and endpoints valid.
//!
//! A cache entry is valid while it carries the current number, so no number may ever return: not after a restart, a
//! lost pin of the map, or a write by another process. Each process starts from a random number, and draws another one
//! whenever it finds a number that it has not written.

use std::{
    ffi::c_void,
    hash::{BuildHasher as _, Hasher as _, RandomState},
    num::NonZeroUsize,
    os::fd::AsFd as _,
    ptr::NonNull,
    sync::atomic::{AtomicU64, Ordering},
};

use anyhow::{Context as _, Result};
use firewall_common::names;
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};

use super::layouts::PinnedMaps;

/// Bit of the number: a publish is in progress, no entry is valid and none is cached.
const SUSPENDED: u64 = 1;

/// The map, mapped into memory. A system call would copy bytes, and half of a new number with half of the old one may
/// be a number that was valid long ago.
pub(super) struct Generation {
    memory: NonNull<c_void>,
    length: NonZeroUsize,
    /// The number that this process found when it opened the map, or last wrote.
    last_written: u64,
    /// Another process has written to the map since the last [`Self::renew`].
    disturbed: bool,
}

// SAFETY: the mapping belongs to this value alone until it is dropped, and every access is atomic.
unsafe impl Send for Generation {}

impl Generation {
    pub fn open(maps: &PinnedMaps<'_>) -> Result<Self> {
        let map = maps.open(names::GENERATION)?;
        // The kernel rounds up to whole pages; the map is one number.
        let length = NonZeroUsize::MIN.saturating_add(size_of::<u64>() - 1);
        let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice.
        let memory = unsafe { mmap(None, length, access, MapFlags::MAP_SHARED, map.fd().as_fd(), 0) }
            .with_context(|| format!("cannot mmap {}", maps.pins.map(names::GENERATION).display()))?;
        let mut generation = Self { memory, length, last_written: 0, disturbed: false };
        generation.last_written = generation.number().load(Ordering::SeqCst);
        Ok(generation)
    }

    /// Invalidates and stops all caching until [`Self::advance`], even if this process ends before that. Must be called
    /// before any change to the tables in force.
    pub fn suspend(&mut self) {
        self.write(self.last_written | SUSPENDED);
    }

    /// Invalidates every earlier cache entry. Must be called once the replaced tables are no longer in force.
    pub fn advance(&mut self) {
        if self.is_disturbed() {
            return self.renew();
        }
        // Even again, and within this process's sequence always new.
        self.write((self.last_written | SUSPENDED).wrapping_add(1));
    }

    /// Like [`Self::advance`], with a random number: for a process that cannot know the numbers used before.
    pub fn renew(&mut self) {
        let random = RandomState::new().build_hasher().finish() & !SUSPENDED;
        // Every entry of a new cache contains zero.
        self.write(random.max(SUSPENDED << 1));
        self.disturbed = false;
    }

    /// Returns whether another process has written to the map since the last [`Self::renew`].
    pub fn is_disturbed(&self) -> bool {
        self.disturbed || self.number().load(Ordering::SeqCst) != self.last_written
    }

    fn write(&mut self, number: u64) {
        self.disturbed |= self.number().swap(number, Ordering::SeqCst) != self.last_written;
        self.last_written = number;
    }

    fn number(&self) -> &AtomicU64 {
        // SAFETY: the map's one value, page-aligned, mapped as long as `self` lives; programs only read it.
        unsafe { AtomicU64::from_ptr(self.memory.as_ptr().cast()) }
    }
}

impl Drop for Generation {
    fn drop(&mut self) {
        // SAFETY: mapped by `open` with this length; no other code has the address.
        let _ = unsafe { munmap(self.memory, self.length.get()) };
    }
}
