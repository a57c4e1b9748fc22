//! The state of one host, in the kernel and on disk, and every change of it. The daemon and the verbs share it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use jiff::Timestamp;
use tracing::{error, warn};

use super::ledger::Ledger;
use super::taken::Taken;
use crate::bpf::{Kernel, Pins, detach_all, is_in_use};
use crate::config::{Config, GuardedPorts};
use crate::files::cgroup::memory_left;
use crate::files::scan::Snapshot;
use crate::files::store::{Entry, Store};
use crate::rules::{DatabaseId, ManagedRanges, read_ranges};
use crate::sync::{
    Admission, Candidate, Capacity, DataPlane as _, Desired, Live, Ports, Published, Target, ensure_known,
    publish, rebuilt_table,
};

/// What this host holds.
#[derive(Debug)]
pub struct Host {
    pins: Pins,
    pub(super) kernel: Kernel,
    pub(super) live: Live,
    pub(super) taken: Taken,
    /// The ledger as it is on disk.
    saved: Ledger,
    ranges_stored: bool,
    store: Store,
    guarded: Ports,
    monitor: bool,
    capacity: Capacity,
    /// Databases whose last good file could not be stored, and why. It is tried again.
    pub(super) unstored: BTreeMap<DatabaseId, String>,
    /// What else cannot be stored or was not readable, and why.
    pub(super) troubles: Vec<String>,
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
        kernel.hold()?;
        let store = Store::open(&config.state_dir)?;
        let lost = kernel.has_lost_endpoints()?;
        let mut live = if lost { kernel.live_but_endpoints()? } else { kernel.live()? };
        let (taken, troubles) = Taken::recall(store.load(), &config.node_name, &live);
        let guarded: Ports = config.guarded_ports.ranges().iter().cloned().flatten().collect();
        if lost {
            let desired = taken.desired(guarded.clone(), config.allow_monitor, taken.high_water());
            ensure_known(&desired, &live).context("the pin of the published endpoint table is gone")?;
            live.table = rebuilt_table(&desired, &live);
            kernel.publish_table(&live.table)?;
            warn!("the pin of the endpoint table was gone: it is made anew from the last good files");
        }
        kernel.adopt(&live)?;
        for trouble in &troubles {
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
            guarded,
            monitor: config.allow_monitor,
            capacity: Capacity {
                endpoints: usize::try_from(config.max_endpoints)?,
                prefixes: usize::try_from(config.max_prefixes)?,
                memory: u64::MAX,
            },
            unstored: BTreeMap::new(),
            troubles,
            restarted: BTreeSet::new(),
        })
    }

    /// Fails unless everything that is in force in another map layout is known here, too.
    ///
    /// # Errors
    /// What is not.
    pub fn ensure_known_from(&self, layout: &Path) -> Result<()> {
        let desired = self.desired(self.taken.high_water());
        ensure_known(&desired, &self.live)?;
        let in_use = self.live.databases.is_empty() && is_in_use(layout)?;
        ensure!(
            !in_use || !desired.databases.is_empty(),
            "no last good file is stored of what is in force there"
        );
        Ok(())
    }

    /// Whether something that was taken is not on disk.
    pub(super) fn is_unstored(&self) -> bool {
        !self.unstored.is_empty() || !self.ranges_stored || self.taken.ledger != self.saved
    }

    /// Which of `candidates` count. What is admitted is stored before anything is published.
    pub(super) fn admit(&mut self, candidates: Vec<Candidate>, snapshot: &Snapshot) -> Admission {
        let mut admission = self.taken.judge(candidates, &self.live);
        self.troubles.clear();
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
        // Killed after the publish, the next start still knows which file each database came from.
        if self.taken.ledger != self.saved {
            self.save_ledger();
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
        Desired { limits, ..self.taken.desired(self.guarded.clone(), self.monitor, now) }
    }

    /// Brings the kernel to what is desired.
    pub(super) fn publish(&mut self, desired: &Desired, now: Timestamp) -> Published {
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
        self.taken.ledger.bury(&before, &self.live);
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

    /// Drops a database whose file is gone. Its endpoints stay closed, unless they are to be opened.
    ///
    /// # Errors
    /// When it is not known, its file is still there, or the kernel refuses.
    pub fn forget(&mut self, id: &DatabaseId, open: bool) -> Result<String> {
        let known = self.taken.admitted.get(id);
        let closed = self.taken.ledger.left_by(id);
        ensure!(
            known.is_some() || self.live.slot(id).is_some() || !closed.is_empty(),
            "database {id}: not known on this host"
        );
        if let Some(candidate) = known.filter(|candidate| candidate.path.exists()) {
            anyhow::bail!(
                "database {id}: its file is still there: remove {} first",
                candidate.path.display()
            );
        }
        let now = self.taken.ledger.high_water;
        let mut desired = Desired { closed: self.taken.ledger.closed(), ..self.untouched() };
        desired.removed.insert(id.clone());
        finish(self.publish(&desired, now))?;
        self.taken.admitted.remove(id);
        self.store.remove(&Entry::Database(id))?;
        self.taken.ledger.rebased.remove(id.as_str());
        let left = self.taken.ledger.left_by(id);
        if open {
            let desired = Desired { opened: left.clone(), ..self.untouched() };
            finish(self.publish(&desired, now))?;
        }
        self.save_ledger();
        let (opened, closed): (Vec<&Target>, Vec<&Target>) =
            left.iter().partition(|target| open && !self.live.guarded.contains(&target.port));
        let list = |targets: Vec<&Target>| match targets.as_slice() {
            [] => "nothing".to_owned(),
            some => some.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
        };
        let guarded = if open { " (guarded)" } else { "" };
        Ok(format!("database {id}: forgotten; opened: {}; closed{guarded}: {}", list(opened), list(closed)))
    }

    /// Lets the next file of a database have any revision. Its rules stay in force.
    ///
    /// # Errors
    /// When it is not known.
    pub fn rebase(&mut self, id: &DatabaseId) -> Result<String> {
        ensure!(
            self.taken.admitted.contains_key(id) || self.live.slot(id).is_some(),
            "database {id}: not known on this host"
        );
        self.taken.ledger.rebased.insert(id.to_string());
        self.save_ledger();
        Ok(format!("database {id}: its next file may have any revision; its rules are untouched"))
    }

    /// Since when everything is down by an operator's will.
    pub fn detached(&self) -> Option<Timestamp> {
        self.taken.ledger.detached
    }

    /// Notes that everything is taken down, or to be put up; over restarts and reboots.
    ///
    /// # Errors
    /// When it cannot be stored.
    pub fn set_detached(&mut self, detached: bool) -> Result<()> {
        self.taken.ledger.detached = detached.then(Timestamp::now);
        self.save_ledger();
        ensure!(
            self.taken.ledger == self.saved,
            "{}",
            self.troubles.last().map_or("not stored", String::as_str)
        );
        Ok(())
    }

    /// Takes every link down where no daemon runs, until `attach`; says what is open now.
    ///
    /// # Errors
    /// When a link cannot be taken down, or that cannot be stored.
    pub fn detach(&mut self) -> Result<String> {
        // A full disk is no reason to stay closed when an operator wants it open.
        let noted = self.set_detached(true);
        let interfaces = detach_all(&self.pins)?;
        noted.context("everything is down, but the next start will attach again")?;
        Ok(self.describe_open(&interfaces))
    }

    /// What anybody may reach now that `interfaces` are not filtered.
    #[must_use]
    pub fn describe_open(&self, interfaces: &[String]) -> String {
        let list = |items: Vec<String>| if items.is_empty() { "none".to_owned() } else { items.join(", ") };
        let endpoints = self.live.table.endpoints.keys().map(Target::to_string).collect();
        format!(
            "detached until `attach`: {}\nopen to everyone now: {}; guarded ports: {}",
            list(interfaces.to_vec()),
            list(endpoints),
            GuardedPorts::new(self.live.guarded.iter().map(|port| *port..=*port))
        )
    }

    /// A wish that changes nothing.
    fn untouched(&self) -> Desired {
        Desired { guarded: self.live.guarded.clone(), monitor: self.monitor, ..Desired::default() }
    }

    fn save_ledger(&mut self) {
        match serde_json::to_vec(&self.taken.ledger) {
            Ok(bytes) => {
                if self.save(&Entry::Ledger, &bytes) {
                    self.saved = self.taken.ledger.clone();
                }
            }
            Err(error) => self.trouble(format!("ledger: {error}")),
        }
    }

    /// A full disk delays nothing: what cannot be stored is reported, and published all the same.
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

fn finish(published: Published) -> Result<()> {
    match published.failed.into_values().chain(published.errors).next() {
        Some(error) => Err(error),
        None => Ok(()),
    }
}
