//! The number by which cached verdicts and endpoints count.
//!
//! A cache entry counts while it carries the current number, so no number may ever come back: not after a restart, not
//! after the pin of the map was lost, and not after somebody else has written to it. Each process starts from a random
//! number, and takes another one whenever it finds a number that it has not left.

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

use super::{pins::Pins, shape};

/// Of the number: something is being published, nothing counts and nothing is cached.
const SUSPENDED: u64 = 1;

/// The map's memory. It is written there and not by a system call: that copies bytes, and half of a new number with
/// half of the old one may be a number that counted long ago.
pub(super) struct Generation {
    memory: NonNull<c_void>,
    length: NonZeroUsize,
    /// Kernel id of the map.
    map: u32,
    /// The number as this process found it when it opened the map, or as it left it.
    left: u64,
    /// Somebody else has written to the map since the last [`Self::renew`].
    disturbed: bool,
}

// SAFETY: the mapping belongs to this value alone until it is dropped, and is only accessed atomically.
unsafe impl Send for Generation {}

impl Generation {
    pub fn open(pins: &Pins) -> Result<Self> {
        let map = shape::open(pins, names::GENERATION)?;
        // The kernel rounds up to whole pages; the map is one number.
        let length = NonZeroUsize::MIN.saturating_add(size_of::<u64>() - 1);
        let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice.
        let memory = unsafe { mmap(None, length, access, MapFlags::MAP_SHARED, map.fd().as_fd(), 0) }
            .with_context(|| format!("{}: cannot be mapped", pins.map(names::GENERATION).display()))?;
        let mut generation = Self { memory, length, map: map.info()?.id(), left: 0, disturbed: false };
        generation.left = generation.number().load(Ordering::SeqCst);
        Ok(generation)
    }

    /// Kernel id of the map.
    pub fn map_id(&self) -> u32 {
        self.map
    }

    /// From now on, until [`Self::advance`], nothing that is cached counts and nothing is cached: whatever becomes of
    /// this process meanwhile. To be called before anything that is in force changes.
    pub fn suspend(&mut self) {
        self.leave(self.left | SUSPENDED);
    }

    /// From now on nothing that was cached before counts. To be called when what is to be forgotten is no longer in
    /// force.
    pub fn advance(&mut self) {
        if self.is_disturbed() {
            return self.renew();
        }
        // Even again, and in this process's row of numbers always new.
        self.leave((self.left | SUSPENDED).wrapping_add(1));
    }

    /// The same, by a random number: for a process that cannot know which numbers counted before.
    pub fn renew(&mut self) {
        let random = RandomState::new().build_hasher().finish() & !SUSPENDED;
        // Zero stands in every entry of a new cache.
        self.leave(random.max(SUSPENDED << 1));
        self.disturbed = false;
    }

    /// Whether somebody else has written to the map since the last [`Self::renew`].
    pub fn is_disturbed(&self) -> bool {
        self.disturbed || self.number().load(Ordering::SeqCst) != self.left
    }

    fn leave(&mut self, number: u64) {
        self.disturbed |= self.number().swap(number, Ordering::SeqCst) != self.left;
        self.left = number;
    }

    fn number(&self) -> &AtomicU64 {
        // SAFETY: the map's one value, page-aligned, mapped as long as `self` lives; programs only read it.
        unsafe { AtomicU64::from_ptr(self.memory.as_ptr().cast()) }
    }
}

impl Drop for Generation {
    fn drop(&mut self) {
        // SAFETY: mapped by `open` with this length; nobody else has the address.
        let _ = unsafe { munmap(self.memory, self.length.get()) };
    }
}
