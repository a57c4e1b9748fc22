//! What the loop needs of the machine under it: the kernel, a place for the last good files, and the time.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use nix::time::{ClockId, clock_gettime};

use crate::bpf::{Kernel, LineHits};
use crate::files::store::{Entry, Loaded};
use crate::sync::{DataPlane, Live, RuleSlot};

/// A kernel that can be read back.
pub trait Plane: DataPlane {
    /// Everything that is in force.
    ///
    /// # Errors
    /// When it cannot be read.
    fn live(&self) -> Result<Live>;

    /// What lines had counted when they were freed, since the last call.
    fn take_freed(&mut self) -> BTreeMap<RuleSlot, LineHits>;
}

impl Plane for Kernel {
    fn live(&self) -> Result<Live> {
        Self::live(self)
    }

    fn take_freed(&mut self) -> BTreeMap<RuleSlot, LineHits> {
        Self::take_freed(self)
    }
}

/// Keeps the last good files over a reboot.
pub trait Shelf {
    /// Everything that is stored.
    fn load(&self) -> Loaded;

    /// Replaces what is stored for `entry`. When this returns, it survives a power cut.
    ///
    /// # Errors
    /// When the disk refuses: what was stored before, or this, is then stored. Or when it is slow: this is stored later,
    /// unless something newer is.
    fn save(&self, entry: &Entry<'_>, content: &[u8]) -> Result<()>;

    /// Removes what is stored for `entry`, if anything is.
    ///
    /// # Errors
    /// When the disk refuses.
    fn remove(&self, entry: &Entry<'_>) -> Result<()>;

    /// Whether what a save could not do in time was done since.
    fn is_stored_since(&self, entry: &Entry<'_>) -> bool;
}

/// A moment by both clocks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment {
    /// The machine's clock: anybody may set it.
    pub wall: Timestamp,
    /// Since boot, sleep included: nobody sets it.
    pub uptime: Duration,
}

impl Moment {
    /// # Errors
    /// When the clock cannot be read.
    pub fn now() -> Result<Self> {
        let uptime = clock_gettime(ClockId::CLOCK_BOOTTIME).context("the clock cannot be read")?.into();
        Ok(Self { wall: Timestamp::now(), uptime })
    }
}
