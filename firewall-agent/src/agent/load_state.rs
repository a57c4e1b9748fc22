//! Start of a reconciler: joins the kernel's state with the stored records.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, ensure};
use tracing::warn;

use super::Ownership;
use super::read_back::ReadBack;
use super::reconcile::{Reconciler, Settings};
use crate::bpf::Kernel;
use crate::config::Config;
use crate::files::store::{LastGoodStore, StateFile};
use crate::files::store_writer::StoreWriter;
use crate::host::boot::boot_id;
use crate::host::clock::Moment;
use crate::rules::DatabaseId;
use crate::status::{Condition, Conditions, event};
use crate::sync::{
    AcceptedFiles, Changes, DataPlane as _, Key, Live, PersistedState, Record, StateStore, ensure_known,
    rebuilt_table,
};

/// Identity of the kernel's counters among those of every boot.
///
/// # Errors
/// When /proc cannot be read.
pub fn counters_identity(kernel: &Kernel) -> Result<String> {
    Ok(format!("{}/{}", boot_id()?, kernel.counters_map()))
}

/// The boot in an identity of [`counters_identity`].
pub(super) fn boot_of(counters: &str) -> Option<&str> {
    Some(counters.split_once('/')?.0)
}

/// Unused stored records, each with the reason.
pub type Unused = BTreeMap<Key, String>;

/// Joins stored records with the kernel's state. Returns the state, the changes that complete the store, and the unused
/// records with the reason.
#[must_use]
pub fn join(records: Vec<Record>, live: &Live) -> (AcceptedFiles, PersistedState, Changes, Unused) {
    let (mut persisted, mut changes) = (PersistedState::default(), Changes::default());
    let files: Vec<Record> = records.into_iter().filter_map(|record| persisted.load(record)).collect();
    persisted.pack();
    persisted.adopt(live, &mut changes);
    let mut accepted = AcceptedFiles::new(live);
    let loaded = files.into_iter().map(|record| {
        let key = record.key();
        accepted.load(record, &persisted, live, &mut changes).map_err(|error| (key, error))
    });
    let unused = loaded.filter_map(Result::err).collect();
    (accepted, persisted, changes, unused)
}

impl Reconciler {
    /// Reads the kernel's state and the stored records.
    ///
    /// # Errors
    /// The kernel's state or the store cannot be read: neither may be assumed empty.
    pub fn open(config: &Config, ownership: &Ownership) -> Result<Self> {
        let store = LastGoodStore::new(StateFile::new(&config.state_dir));
        let records = store.load()?;
        let mut kernel = Kernel::open(&config.bpffs_dir)?;
        kernel.remove_stale();
        // A killed agent may have left a publish unfinished.
        kernel.invalidate_caches();
        kernel.open_published()?;
        let is_unpinned = kernel.is_table_unpinned()?;
        let live = if is_unpinned { kernel.live_but_endpoints()? } else { kernel.live()? };
        let (accepted, persisted, changes, unused) = join(records, &live);
        let (moment, counters) = (Moment::now()?, counters_identity(&kernel)?);
        let mut store = StoreWriter::start(store)?;
        store.submit(changes);
        let settings = Settings::new(config)?;
        let mut reconciler = Self::new(settings, kernel, live, (accepted, persisted), store, moment);
        reconciler.unused = unused;
        reconciler.resume_hits(&counters, moment);
        if !ownership.is_first {
            reconciler.confirm_stored();
        }
        if is_unpinned {
            reconciler.rebuild_table()?;
        }
        reconciler.data_plane.adopt(&reconciler.live)?;
        Ok(reconciler)
    }

    /// Rebuilds the endpoint table from the accepted files after the loss of its pin.
    fn rebuild_table(&mut self) -> Result<()> {
        let desired = self.resolve(self.clock.now());
        ensure_known(&desired, &self.live).context("the pin of the published endpoint table is missing")?;
        let live = &mut self.live;
        live.table = rebuilt_table(&desired, live);
        live.claimed.extend(live.table.endpoints.keys().map(|destination| destination.port));
        live.guarded = live.guarded.stricter(&desired.guarded);
        self.data_plane.set_ports(&live.claimed, &live.guarded)?;
        self.data_plane.publish_table(&live.table)?;
        warn!(event = event::DRIFT, "endpoint table rebuilt from the accepted files, its pin was missing");
        Ok(())
    }
}

impl<D: ReadBack, S: StateStore> Reconciler<D, S> {
    /// Messages of the unused stored records that no accepted file has replaced, by subject.
    pub(super) fn unused(&self) -> impl Iterator<Item = (String, String)> {
        let unused = self.unused.iter().filter(|(key, _)| self.accepted.lacks(key, &self.persisted));
        unused.map(|(key, error)| {
            let subject = if let Key::File(id) = key { id.to_string() } else { String::new() };
            (subject, error.clone())
        })
    }

    /// Makes the store confirm the records it loaded, see [`Changes::confirm`].
    pub(super) fn confirm_stored(&mut self) {
        let mut changes = Changes::default();
        changes.confirm();
        self.store.submit(changes);
        self.store.flush(self.store_patience);
    }

    /// Fails unless a finished pass put in force here everything that another map layout has in force. A database that
    /// was not in force there, for example for lack of capacity, is no obstacle, and neither is a database without
    /// capacity for its newer revision here.
    ///
    /// # Errors
    /// A write was refused, a claim is not durable, accepted rules that were in force are not, or more databases are in
    /// force there than here, including those that have left.
    pub fn ensure_replaces(&self, in_force_there: usize, conditions: &Conditions) -> Result<()> {
        ensure_known(&self.resolve(self.clock.now()), &self.live)?;
        let in_force = self.persisted.in_force();
        let has_own = |id: &DatabaseId| {
            let live = self.live.slot(id).and_then(|slot| self.live.databases.get(&slot));
            let revision = live.and_then(|live| live.stamp.as_ref()).map(|stamp| stamp.revision);
            in_force.get(id).is_some_and(|there| Some(there.revision) == revision)
        };
        let there = in_force.iter().filter(|(_, in_force)| !in_force.is_lost).map(|(id, _)| id);
        let missing = there.filter(|id| !has_own(id)).map(ToString::to_string).collect();
        let incomplete = conditions.incomplete_of(&missing);
        ensure!(
            incomplete.is_empty() && !self.is_uncertain,
            "not everything is in force: {}",
            incomplete.join("; ")
        );
        let waiting: Vec<String> = self.withheld.iter().map(ToString::to_string).collect();
        ensure!(waiting.is_empty(), "closed until they are stored: {}", waiting.join(", "));
        let failed: BTreeSet<&str> = conditions
            .iter()
            .filter_map(|(condition, subject, _)| (condition == Condition::Database).then_some(subject))
            .collect();
        let complete = self.live.databases.values().map(|one| &one.id);
        let complete = complete.filter(|id| has_own(id) || !failed.contains(id.as_str())).count();
        let here = complete + self.persisted.departed();
        ensure!(
            in_force_there <= here,
            "{in_force_there} databases are in force in the other layout, only {here} in this one"
        );
        Ok(())
    }
}
