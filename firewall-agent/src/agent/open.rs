//! Start of a reconciler: the kernel's state and the stored records joined.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use tracing::{error, warn};

use super::reconcile::{Reconciler, Settings};
use crate::bpf::{Kernel, databases_in};
use crate::config::Config;
use crate::files::store::{LastGoodStore, StateFile};
use crate::files::store_writer::StoreWriter;
use crate::host::clock::Moment;
use crate::sync::{
    AcceptedFiles, Changes, DataPlane as _, Live, PersistedState, Record, StateStore as _, ensure_known,
    rebuilt_table,
};

/// Joins stored records with what the kernel holds. Returns the state, the changes that make the store know all of it, and
/// the records that are not used, with the reason.
#[must_use]
pub fn join(records: Vec<Record>, live: &Live) -> (AcceptedFiles, PersistedState, Changes, Vec<String>) {
    let (mut persisted, mut changes) = (PersistedState::default(), Changes::default());
    let files: Vec<Record> = records.into_iter().filter_map(|record| persisted.load(record)).collect();
    persisted.adopt(live, &mut changes);
    let mut accepted = AcceptedFiles::new(live);
    let loaded = files.into_iter().map(|record| accepted.load(record, &persisted));
    let unused = loaded.filter_map(Result::err).collect();
    (accepted, persisted, changes, unused)
}

impl Reconciler {
    /// Reads what the kernel holds and what was stored. Returns also the stored records that are not used.
    ///
    /// # Errors
    /// The kernel's state or the store cannot be read: nobody may take either for empty.
    pub fn open(config: &Config) -> Result<(Self, Vec<String>)> {
        let store = LastGoodStore::new(StateFile::new(&config.state_dir));
        let records = store.load()?;
        let mut kernel = Kernel::open(&config.bpffs_dir)?;
        kernel.sweep();
        // A killed agent may have left a publish unfinished.
        kernel.forget_kept();
        kernel.hold()?;
        let is_lost = kernel.has_lost_endpoints()?;
        let live = if is_lost { kernel.live_but_endpoints()? } else { kernel.live()? };
        let (accepted, persisted, changes, unused) = join(records, &live);
        for error in &unused {
            error!(error, "stored record not used");
        }
        let mut store = StoreWriter::start(store)?;
        store.submit(changes);
        let settings = Settings::new(config)?;
        let mut reconciler = Self::new(settings, kernel, live, (accepted, persisted), store, Moment::now()?);
        if is_lost {
            reconciler.rebuild_table()?;
        }
        reconciler.data_plane.adopt(&reconciler.live)?;
        Ok((reconciler, unused))
    }

    /// Makes the endpoint table anew from the accepted files, where its pin is gone.
    fn rebuild_table(&mut self) -> Result<()> {
        let desired = self.resolve(self.clock.now());
        ensure_known(&desired, &self.live).context("the pin of the published endpoint table is gone")?;
        let live = &mut self.live;
        live.table = rebuilt_table(&desired, live);
        live.claimed.extend(live.table.endpoints.keys().map(|destination| destination.port));
        live.guarded.extend(desired.guarded.iter());
        self.data_plane.set_ports(&live.claimed, &live.guarded)?;
        self.data_plane.publish_table(&live.table)?;
        warn!("endpoint table rebuilt from the accepted files, its pin was gone");
        Ok(())
    }

    /// Fails unless everything that is in force in another map layout is known here, too.
    ///
    /// # Errors
    /// A database is in force there and not stored here.
    pub fn ensure_known_from(&self, layout: &Path) -> Result<()> {
        ensure_known(&self.resolve(self.clock.now()), &self.live)?;
        let (there, known) = (databases_in(layout)?, self.accepted.files().len());
        ensure!(
            there <= known,
            "{there} databases are in force there, and accepted files are stored of {known}"
        );
        Ok(())
    }
}
