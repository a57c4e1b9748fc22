//! How databases stand: what waits, what is late, and whose file is refused or gone.

use std::collections::BTreeMap;

use jiff::Timestamp;
use tracing::error;

use super::Journal;
use crate::agent::host::Host;
use crate::http::{Lines, Snapshot as Posted, Tally};
use crate::status::{DatabaseState, Observed, Status};
use crate::sync::Live;

impl Journal {
    /// Databases whose file is taken and not in force yet, and since when.
    pub(super) fn waiting(&self) -> BTreeMap<String, Timestamp> {
        let waiting = self.observed.iter().filter(|(_, observed)| observed.waiting);
        waiting.filter_map(|(id, observed)| Some((id.to_string(), observed.detected_at?))).collect()
    }

    pub(super) fn post<K, S>(&self, status: &Status, host: &Host<K, S>) {
        let waiting = self.waiting();
        let mut lines = Lines::of(&host.live);
        for (database, retired) in &host.taken.ledger.retired {
            if let Some(lines) = lines.get_mut(database) {
                lines.retired = Tally { packets: retired.packets, bytes: retired.bytes };
            }
        }
        self.board.post(Posted {
            settled: waiting.is_empty() && self.errors.is_empty(),
            status: status.clone(),
            lines,
            waiting,
        });
    }

    /// Databases whose file has been waiting for half of the promised time; says each once.
    pub(super) fn late(&mut self) -> Vec<String> {
        let now = Timestamp::now();
        let mut late = Vec::new();
        for (id, observed) in &mut self.observed {
            let Some(detected) = observed.detected_at else { continue };
            let waited = now.duration_since(detected);
            if observed.waiting && waited.unsigned_abs() * 2 >= self.window {
                late.push(format!("database {id}: not in force since it was seen at {detected:.0}"));
                if !observed.late {
                    error!(database = %id, seconds = waited.as_secs(), "nears the promised time without being in force");
                }
                observed.late = true;
            }
        }
        late
    }

    /// How each live database stands, its file considered.
    pub(super) fn states(&self, live: &Live) -> BTreeMap<String, Observed> {
        let mut states = BTreeMap::new();
        for database in live.databases.values() {
            let mut observed = self.observed.get(&database.id).cloned().unwrap_or_default();
            let files = || self.sources.iter().filter(|(_, id)| **id == database.id).map(|(path, _)| path);
            // A file beside the one that is in force may be refused without harm: an older revision, say.
            let in_force =
                files().any(|path| self.present.contains(path) && !self.rejected.contains_key(path));
            match files().find_map(|path| self.rejected.get(path)) {
                _ if in_force => {}
                Some(errors) => {
                    observed.state = DatabaseState::Rejected;
                    observed.problem = errors.first().cloned();
                }
                None => {
                    observed.state = DatabaseState::Orphaned;
                    observed.problem = Some("no file that is in order names it".to_owned());
                }
            }
            states.insert(database.id.to_string(), observed);
        }
        states
    }
}
