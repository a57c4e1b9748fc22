//! The database that an operator names: by id, name, beginning of an id, or endpoint.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::Result;

use super::BadInput;
use crate::agent::join;
use crate::escape::is_harmful;
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

    /// Those with these ids and names, without endpoints.
    pub fn named(databases: impl IntoIterator<Item = (DatabaseId, String)>) -> Self {
        let known = |(id, name)| (id, Known { name, destinations: BTreeSet::new() });
        Self(databases.into_iter().map(known).collect())
    }

    /// Those of either; where both have a name, that of `other` counts.
    pub fn joined_with(mut self, other: Self) -> Self {
        for (id, Known { name, destinations }) in other.0 {
            let one = self.0.entry(id).or_default();
            one.destinations.extend(destinations);
            one.name = if name.is_empty() { std::mem::take(&mut one.name) } else { name };
        }
        self
    }

    /// Values that [`Self::find`] takes for one database, with a description: every id, and the names that no other
    /// database has and that a terminal shows as they are.
    pub fn values(&self) -> Vec<(String, String)> {
        let mut by_name: BTreeMap<&str, Vec<&DatabaseId>> = BTreeMap::new();
        self.0.iter().for_each(|(id, known)| by_name.entry(&known.name).or_default().push(id));
        let ids: BTreeSet<&str> = self.0.keys().map(DatabaseId::as_str).collect();
        let is_typed = |name: &str| !name.is_empty() && !name.starts_with('-') && !name.contains(is_harmful);
        by_name.retain(|name, owners| is_typed(name) && owners.len() == 1 && !ids.contains(name));
        let names = by_name.into_iter().map(|(name, owners)| (name.to_owned(), owners[0].to_string()));
        names.chain(self.0.iter().map(|(id, known)| (id.to_string(), known.name.clone()))).collect()
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
    fn every_value_names_its_database() {
        let known = known();
        let values = known.values();
        let text: Vec<&str> = values.iter().map(|(value, _)| value.as_str()).collect();
        // Neither the name of two databases, nor one that is the id of another.
        assert_eq!(text, ["6b", "billing", "6a31", "6a32", "7a", "7b", "orders"]);
        assert_eq!(values[1].1, "6a32");
        assert!(values.iter().all(|(value, _)| known.find(value).is_ok()), "{values:?}");
        let untyped = ["", "-o", "a\u{1b}[2Jb"].map(|name| ("x".parse().unwrap(), name.to_owned()));
        for (id, name) in untyped {
            let values = KnownDatabases::named([(id, name.clone())]).values();
            assert_eq!(values, [("x".to_owned(), name)]);
        }
    }

    #[test]
    fn a_name_of_the_store_replaces_that_of_the_kernel() {
        let named = |name: &str| KnownDatabases::named([("6a31".parse().unwrap(), name.to_owned())]);
        let values = |a: &str, b: &str| named(a).joined_with(named(b)).values()[0].0.clone();
        assert_eq!(values("old", "new"), "new");
        assert_eq!(values("old", ""), "old");
    }

    #[test]
    fn a_long_list_of_candidates_is_cut() {
        let many = (10..30).map(|at| (format!("id{at}").parse().unwrap(), Known::default()));
        let error = KnownDatabases(many.collect()).find("id").unwrap_err().to_string();
        assert!(error.ends_with("id19, 10 more"), "{error}");
    }
}
