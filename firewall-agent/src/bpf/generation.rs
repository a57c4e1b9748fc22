//! The number that kept verdicts are measured by.

use std::{
    ffi::c_void,
    num::NonZeroUsize,
    os::fd::AsFd as _,
    ptr::NonNull,
    sync::atomic::{AtomicU64, Ordering},
};

use anyhow::{Context as _, Result};
use firewall_common::names;
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};

use super::{pins::Pins, shape};

/// The map's memory. It is written there and not by a system call: that copies bytes, and half of a new number with
/// half of the old one may be a number that counted long ago.
pub(super) struct Generation {
    memory: NonNull<c_void>,
    length: NonZeroUsize,
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
        Ok(Self { memory, length })
    }

    /// From now on, until [`Self::advance`], nothing that is kept counts and nothing is kept: whatever becomes of this
    /// process meanwhile. To be called before anything that is in force changes.
    pub fn suspend(&self) {
        self.number().fetch_or(1, Ordering::SeqCst);
    }

    /// From now on nothing that was kept before counts. To be called when what is to be forgotten is no longer in force.
    pub fn advance(&self) {
        let number = self.number();
        number.fetch_or(1, Ordering::SeqCst);
        number.fetch_add(1, Ordering::SeqCst);
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
