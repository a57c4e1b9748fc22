//! The state of one host, in the kernel and on disk, and every change of it. The daemon and the verbs share it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use jiff::Timestamp;
use tracing::{error, warn};

use super::deferred::Deferred;
use super::ledger::Ledger;
use super::machine::{Plane, Shelf};
use super::taken::Taken;
use crate::bpf::{Kernel, Pins, databases_in};
use crate::config::Config;
use crate::files::cgroup::memory_left;
use crate::files::scan::Snapshot;
use crate::files::store::{Entry, Store};
use crate::rules::{DatabaseId, ManagedRanges, read_ranges};
use crate::sync::{
    Admission, Candidate, Capacity, DataPlane as _, Desired, Live, Ports, Published, ensure_known, publish,
    rebuilt_table,
};

/// What this host holds.
#[derive(Debug)]
pub struct Host<K = Kernel, S = Deferred> {
    pub(super) pins: Pins,
    pub(super) kernel: K,
    pub(super) live: Live,
    pub(super) taken: Taken,
    /// The ledger as it is on disk.
    pub(super) saved: Ledger,
    ranges_stored: bool,
    pub(super) store: S,
    guarded: Ports,
    pub(super) monitor: bool,
    capacity: Capacity,
    /// Databases whose last good file could not be stored, and why. It is tried again.
    pub(super) unstored: BTreeMap<DatabaseId, String>,
    /// What else cannot be stored or was not readable, and why.
    pub(super) troubles: Vec<String>,
    /// What was stored and is not used, and why.
    pub(super) unused: Vec<String>,
    /// Nothing is freed while the programs of another map layout may count on it.
    pub(super) keeps: bool,
    /// Databases whose file after a `rebase` is taken, and not in force yet: until then the floor stays reset.
    restarted: BTreeSet<DatabaseId>,
}

impl Host {
    /// Reads back what the kernel holds and what was stored.
    ///
    /// # Errors
    /// When the kernel's state or the state directory is not usable.
    pub fn open(config: &Config) -> Result<Self> {
        let mut kernel = Kernel::open(&config.bpffs_dir)?;
        kernel.sweep();
        // An agent that was killed may have left what it had begun.
        kernel.forget_kept();
        kernel.hold()?;
        let store = Deferred::new(Store::open(&config.state_dir)?);
        let lost = kernel.has_lost_endpoints()?;
        let live = if lost { kernel.live_but_endpoints()? } else { kernel.live()? };
        let mut host = Self::recall(config, kernel, live, store)?;
        if lost {
            host.rebuild_table()?;
        }
        host.kernel.adopt(&host.live)?;
        Ok(host)
    }

    /// Waits for a slow disk from now on: for who has nothing else to do.
    pub fn wait_for_disk(&self) {
        self.store.wait();
    }

    /// Makes the endpoint table anew, whose pin is gone.
    fn rebuild_table(&mut self) -> Result<()> {
        let Self { kernel, live, taken, guarded, .. } = self;
        let desired = taken.desired(guarded.clone(), self.monitor, taken.high_water());
        ensure_known(&desired, live).context("the pin of the published endpoint table is gone")?;
        live.table = rebuilt_table(&desired, live);
        live.claimed.extend(live.table.endpoints.keys().map(|target| target.port));
        live.guarded.extend(guarded.iter());
        kernel.set_ports(&live.claimed, &live.guarded)?;
        kernel.publish_table(&live.table)?;
        warn!("the pin of the endpoint table was gone: it is made anew from the last good files");
        Ok(())
    }

    /// Fails unless everything that is in force in another map layout is known here, too.
    ///
    /// # Errors
    /// What is not.
    pub fn ensure_known_from(&self, layout: &Path) -> Result<()> {
        let desired = self.desired(self.taken.high_water());
        ensure_known(&desired, &self.live)?;
        let (there, known) = (databases_in(layout)?, self.taken.admitted.len());
        ensure!(
            there <= known,
            "{there} databases are in force there, and last good files are stored of {known}"
        );
        Ok(())
    }
}

impl<K: Plane, S: Shelf> Host<K, S> {
    /// Joins what the kernel holds and what was stored.
    ///
    /// # Errors
    /// When the configured capacity does not fit this machine's words.
    pub(super) fn recall(config: &Config, kernel: K, live: Live, store: S) -> Result<Self> {
        let (taken, unused) = Taken::recall(store.load(), &live);
        for trouble in &unused {
            error!(error = trouble, "a stored file is not used");
        }
        Ok(Self {
            pins: Pins::new(&config.bpffs_dir),
            kernel,
            live,
            saved: taken.ledger.clone(),
            taken,
            ranges_stored: true,
            store,
            guarded: config.guarded_ports.ranges().iter().cloned().flatten().collect(),
            monitor: config.allow_monitor,
            capacity: Capacity {
                endpoints: usize::try_from(config.max_endpoints)?,
                prefixes: usize::try_from(config.max_prefixes)?,
                memory: u64::MAX,
            },
            unstored: BTreeMap::new(),
            troubles: unused.clone(),
            unused,
            keeps: false,
            restarted: BTreeSet::new(),
        })
    }

    /// Whether something that was taken is not on disk.
    pub(super) fn is_unstored(&self) -> bool {
        !self.unstored.is_empty() || !self.ranges_stored || self.taken.ledger != self.saved
    }

    /// Which of `candidates` count. What is admitted is stored before anything is published, if the disk is not slow.
    pub(super) fn admit(&mut self, candidates: Vec<Candidate>, snapshot: &Snapshot) -> Admission {
        let mut admission = self.taken.judge(candidates, &self.live);
        self.troubles.clear();
        // Its file may be another one by now, or gone.
        let Self { unstored, store, .. } = self;
        unstored.retain(|id, _| !store.is_stored_since(&Entry::Database(id)));
        self.ranges_stored |= self.store.is_stored_since(&Entry::Ranges);
        for (id, candidate) in std::mem::take(&mut admission.admitted) {
            if self.taken.admitted.get(&id) != Some(&candidate) || self.unstored.contains_key(&id) {
                let content = snapshot.rules.get(&candidate.path).and_then(|seen| seen.content.as_ref().ok());
                let stored = self.store.save(&Entry::Database(&id), content.map_or(&[], Vec::as_slice));
                match stored {
                    Ok(()) => _ = self.unstored.remove(&id),
                    Err(error) => {
                        let message = format!("in force, but not stored for a reboot: {error:#}");
                        self.unstored.insert(id.clone(), message);
                    }
                }
                if self.taken.ledger.rebased.contains(id.as_str()) {
                    self.restarted.insert(id.clone());
                }
                self.taken.ledger.files.retain(|_, owner| owner != id.as_str());
                self.taken.ledger.files.insert(candidate.path.clone(), id.to_string());
            }
            self.taken.admitted.insert(id, candidate);
        }
        admission
    }

    /// Takes a new list of managed ranges; returns why it, or some range of it, does not count.
    pub(super) fn take_ranges(&mut self, new: ManagedRanges) -> Vec<String> {
        let before = self.taken.ranges.clone();
        let refused = self.taken.take_ranges(new);
        if self.taken.ranges != before || !self.ranges_stored {
            let text = self.taken.ranges.to_yaml();
            self.ranges_stored = match read_ranges(text.as_bytes()) {
                Ok(_) => self.save(&Entry::Ranges, text.as_bytes()),
                Err(_) => {
                    self.trouble(
                        "managed ranges: together with kept lists too large to be stored".to_owned(),
                    );
                    false
                }
            };
        }
        refused
    }

    /// What all admitted files ask for at a time.
    pub(super) fn desired(&self, now: Timestamp) -> Desired {
        let limits = Capacity { memory: memory_left().unwrap_or(u64::MAX), ..self.capacity };
        Desired { limits, keeps: self.keeps, ..self.taken.desired(self.guarded.clone(), self.monitor, now) }
    }

    /// Brings the kernel to what is desired.
    pub(super) fn publish(&mut self, desired: &Desired, now: Timestamp) -> Published {
        // Noted before: a power cut must not open what leaves, and a kill must not make the next start forget which file
        // each database came from, nor let an expired rule back in when the clock was set back meanwhile.
        self.taken.ledger.expect(desired, &self.live);
        if self.taken.next_expiry(self.taken.ledger.high_water).is_some_and(|at| at <= now) {
            self.taken.ledger.high_water = now;
        }
        if self.taken.ledger != self.saved {
            self.save_ledger();
        }
        let before = self.live.clone();
        let published = publish(desired, &mut self.live, &mut self.kernel, now);
        let Self { restarted, taken, .. } = self;
        restarted.retain(|id| {
            let in_force = !published.failed.contains_key(id);
            if in_force {
                taken.ledger.rebased.remove(id.as_str());
            }
            !in_force
        });
        self.taken.ledger.bury(&before, &self.live, desired);
        self.taken.ledger.retire(self.kernel.take_freed(), &before, &self.live);
        if self.taken.ledger != self.saved {
            self.save_ledger();
        }
        published
    }

    /// Reads the kernel's state anew, after a refused write.
    pub(super) fn reread(&mut self) -> Result<()> {
        self.live = self.kernel.live().context("the kernel's state cannot be read back")?;
        Ok(())
    }

    /// Keeps the time that expiry has reached.
    pub(super) fn keep_time(&mut self, now: Timestamp) {
        self.taken.ledger.high_water = now;
        self.save_ledger();
    }

    pub(super) fn save_ledger(&mut self) {
        match serde_json::to_vec(&self.taken.ledger) {
            Ok(bytes) => {
                if self.save(&Entry::Ledger, &bytes) {
                    self.saved = self.taken.ledger.clone();
                }
            }
            Err(error) => self.trouble(format!("ledger: {error}")),
        }
    }

    /// A full or slow disk delays nothing: what cannot be stored is reported, and published all the same.
    fn save(&mut self, entry: &Entry<'_>, content: &[u8]) -> bool {
        let saved = self.store.save(entry, content);
        if let Err(error) = &saved {
            self.trouble(format!("{error:#}"));
        }
        saved.is_ok()
    }

    fn trouble(&mut self, message: String) {
        warn!(error = message, "not stored: a reboot would go back to what was stored before");
        self.troubles.push(message);
    }
}
