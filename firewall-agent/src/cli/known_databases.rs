//! The database that an operator names: by id, name, beginning of an id, or endpoint.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::Result;

use super::BadInput;
use crate::agent::join;
use crate::files::store::{LastGoodStore, StateFile};
use crate::rules::DatabaseId;
use crate::sync::{AcceptedFiles, Destination, Live, PersistedState};

/// Most candidates in an error.
const LISTED: usize = 10;

/// The databases that a command accepts.
#[derive(Debug, Clone, Default)]
pub(super) struct KnownDatabases(BTreeMap<DatabaseId, Known>);

#[derive(Debug, Clone, Default)]
struct Known {
    /// Empty without one.
    name: String,
    destinations: BTreeSet<Destination>,
}

impl KnownDatabases {
    /// Those in the kernel.
    pub fn live(live: &Live) -> Self {
        let open = live.open_endpoints();
        let known = live.databases.iter().map(|(slot, database)| {
            let destinations = open.of(*slot).iter().map(|endpoint| endpoint.destination).collect();
            (database.id.clone(), Known { name: database.name.clone(), destinations })
        });
        Self(known.collect())
    }

    /// Those in the store, also removed and forgotten ones, and those in the kernel.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn stored(state_dir: &Path, live: &Live) -> Result<Self> {
        let records = LastGoodStore::new(StateFile::new(state_dir)).load()?;
        let (accepted, persisted, _, _) = join(records, live);
        Ok(Self::joined(&accepted, &persisted, live))
    }

    /// Those in the stored state, also removed and forgotten ones, and those in the kernel.
    pub fn joined(accepted: &AcceptedFiles, persisted: &PersistedState, live: &Live) -> Self {
        let mut known = Self::live(live);
        for id in persisted.databases() {
            let one = known.0.entry(id.clone()).or_default();
            one.destinations.extend(persisted.claimed_by(id));
            let name = accepted.files().get(id).and_then(|file| file.rules.name.clone());
            one.name = name.unwrap_or_else(|| std::mem::take(&mut one.name));
        }
        known
    }

    /// Returns the database that `text` names: its id, its name, ADDRESS:PORT[/udp] or :PORT of an endpoint, or the
    /// beginning of its id, in this order.
    ///
    /// # Errors
    /// No database, or several.
    pub fn find(&self, text: &str) -> Result<&DatabaseId, BadInput> {
        match self.candidates(text).as_slice() {
            [one] => Ok(one),
            [] => Err(BadInput(format!(
                "database {text:?}: unknown here: give an id, its unique beginning, a name, ADDRESS:PORT[/udp] or :PORT"
            ))),
            several => Err(BadInput(format!("database {text:?}: matches several: {}", self.listed(several)))),
        }
    }

    /// As [`Self::find`]; a text that names no database may be the id of one that is not known yet.
    ///
    /// # Errors
    /// Several databases, or none and a text that is no id.
    pub fn find_or_parse(&self, text: &str) -> Result<DatabaseId, BadInput> {
        match text.parse() {
            Ok(id) if self.candidates(text).is_empty() => Ok(id),
            Ok(_) | Err(_) => self.find(text).cloned(),
        }
    }

    fn candidates(&self, text: &str) -> Vec<&DatabaseId> {
        if let Some((id, _)) = self.0.iter().find(|(id, _)| id.as_str() == text) {
            return vec![id];
        }
        let named = self.all(|_, known| known.name == text && !text.is_empty());
        if named.is_empty() { self.by_endpoint_or_prefix(text) } else { named }
    }

    fn by_endpoint_or_prefix(&self, text: &str) -> Vec<&DatabaseId> {
        if let Some(port) = text.strip_prefix(':').and_then(|port| port.parse::<u16>().ok()) {
            return self.all(|_, known| known.destinations.iter().any(|one| one.port == port));
        }
        if let Ok(wanted) = text.parse::<Destination>() {
            return self.all(|_, known| known.destinations.iter().any(|one| one.overlaps(&wanted)));
        }
        self.all(|id, _| !text.is_empty() && id.as_str().starts_with(text))
    }

    fn all(&self, is_wanted: impl Fn(&DatabaseId, &Known) -> bool) -> Vec<&DatabaseId> {
        self.0.iter().filter(|(id, known)| is_wanted(id, known)).map(|(id, _)| id).collect()
    }

    fn listed(&self, candidates: &[&DatabaseId]) -> String {
        let described = candidates.iter().take(LISTED).map(|id| {
            let name = self.0.get(*id).map_or("", |known| &known.name);
            if name.is_empty() { id.to_string() } else { format!("{id} ({name})") }
        });
        let left_out = candidates.len().saturating_sub(LISTED);
        let more = (left_out > 0).then(|| format!("{left_out} more"));
        described.chain(more).collect::<Vec<_>>().join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known() -> KnownDatabases {
        let of = |id: &str, name: &str, destinations: &[&str]| {
            let destinations = destinations.iter().map(|one| one.parse().unwrap()).collect();
            (id.parse().unwrap(), Known { name: name.to_owned(), destinations })
        };
        KnownDatabases(BTreeMap::from([
            of("6a31", "orders", &["192.0.2.10:30092", "192.0.2.10:30092/udp"]),
            of("6a32", "billing", &["*:30093"]),
            of("orders", "6b", &["[2001:db8::1]:30092"]),
            of("7a", "twice", &[]),
            of("7b", "twice", &[]),
        ]))
    }

    #[test]
    fn each_form_names_one_database() {
        for (text, id) in [
            ("6a31", "6a31"),
            ("billing", "6a32"),
            // An id goes before a name, and a name before the beginning of an id.
            ("orders", "orders"),
            ("6b", "orders"),
            ("7a", "7a"),
            ("or", "orders"),
            ("192.0.2.10:30092", "6a31"),
            ("192.0.2.10:30092/udp", "6a31"),
            ("198.51.100.1:30093", "6a32"),
            (":30093", "6a32"),
            ("[2001:db8::1]:30092", "orders"),
        ] {
            assert_eq!(known().find(text).map(DatabaseId::as_str), Ok(id), "{text}");
        }
    }

    #[test]
    fn no_database_and_several_are_errors_that_quote_the_argument() {
        for (text, says) in [
            ("", "\"\": unknown here"),
            ("8", "\"8\": unknown here"),
            ("192.0.2.11:30092", "\"192.0.2.11:30092\": unknown here"),
            (":1", "\":1\": unknown here"),
            ("twice", "\"twice\": matches several: 7a (twice), 7b (twice)"),
            ("6a", "\"6a\": matches several: 6a31 (orders), 6a32 (billing)"),
            (":30092", "\":30092\": matches several: 6a31 (orders), orders (6b)"),
        ] {
            let error = known().find(text).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
    }

    #[test]
    fn a_long_list_of_candidates_is_cut() {
        let many = (10..30).map(|at| (format!("id{at}").parse().unwrap(), Known::default()));
        let error = KnownDatabases(many.collect()).find("id").unwrap_err().to_string();
        assert!(error.ends_with("id19, 10 more"), "{error}");
    }
}
