//! The overlay: decisions of an operator in an emergency, over the files of the control plane. Each expires.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use ipnet::IpNet;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::desired::Desired;
use super::model::CounterKind;
use crate::rules::{CounterKey, DatabaseId};

/// Maximum number of entries.
pub const MAX_ENTRIES: usize = 256;

/// Effect of an entry. Blocks come before closings, closings before permissions, and all of them before the rules.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OverlayAction {
    /// Refuses sources at the endpoints of one database, or of every database.
    Block { source: IpNet, database: Option<DatabaseId> },
    /// Closes every endpoint of a database.
    Close { database: DatabaseId },
    /// Allows sources at the endpoints of a database.
    Allow { source: IpNet, database: DatabaseId },
}

impl OverlayAction {
    /// Name of the command.
    #[must_use]
    pub fn verb(&self) -> &'static str {
        match self {
            Self::Block { .. } => "block",
            Self::Close { .. } => "close",
            Self::Allow { .. } => "allow",
        }
    }

    #[must_use]
    pub fn source(&self) -> Option<IpNet> {
        match self {
            Self::Block { source, .. } | Self::Allow { source, .. } => Some(*source),
            Self::Close { .. } => None,
        }
    }

    #[must_use]
    pub fn database(&self) -> Option<&DatabaseId> {
        match self {
            Self::Block { database, .. } => database.as_ref(),
            Self::Close { database } | Self::Allow { database, .. } => Some(database),
        }
    }
}

/// Formats as `block 203.0.113.7/32 everywhere`, `close database orders`, `allow 203.0.113.7/32 at database orders`.
impl fmt::Display for OverlayAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Block { source, database: None } => write!(f, "block {source} everywhere"),
            Self::Block { source, database: Some(database) } => {
                write!(f, "block {source} at database {database}")
            }
            Self::Close { database } => write!(f, "close database {database}"),
            Self::Allow { source, database } => write!(f, "allow {source} at database {database}"),
        }
    }
}

/// End of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Expiry {
    After { seconds: u64 },
    At { time: Timestamp },
}

/// Id of an entry, as in `block:3f9a`: the colon keeps it apart from the ids of rules and ranges.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct OverlayId(String);

impl OverlayId {
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for OverlayId {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl fmt::Display for OverlayId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for OverlayId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let is_id = text.split_once(':').is_some_and(|(verb, digits)| {
            ["block", "close", "allow"].contains(&verb)
                && (4..=16).contains(&digits.len())
                && digits.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
        });
        if is_id {
            Ok(Self(text.to_owned()))
        } else {
            Err(format!("overlay entry {text:?}: not an id such as block:3f9a"))
        }
    }
}

/// One entry of the overlay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OverlayEntry {
    pub id: OverlayId,
    pub action: OverlayAction,
    pub created_at: Timestamp,
    /// In force before this time.
    pub until: Timestamp,
    /// Reason, for people; empty where none was given.
    pub note: String,
}

/// The entries, by id.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Overlay {
    entries: BTreeMap<OverlayId, OverlayEntry>,
}

impl Overlay {
    pub fn entries(&self) -> impl Iterator<Item = &OverlayEntry> {
        self.entries.values()
    }

    #[must_use]
    pub fn get(&self, id: &OverlayId) -> Option<&OverlayEntry> {
        self.entries.get(id)
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// An entry with a new id. An id does not return soon after its entry is gone: a command that names it would hit
    /// another entry.
    #[must_use]
    pub fn entry(
        &self,
        action: OverlayAction,
        until: Timestamp,
        note: String,
        now: Timestamp,
    ) -> OverlayEntry {
        let hash = Sha256::digest(format!("{action} {now}"));
        let hash: String = hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        let is_free = |id: &OverlayId| !self.entries.contains_key(id);
        let ids = (4..=16).map(|digits| OverlayId(format!("{}:{}", action.verb(), &hash[..digits])));
        let longest = OverlayId(format!("{}:{}", action.verb(), &hash[..16]));
        let id = ids.into_iter().find(is_free).unwrap_or(longest);
        OverlayEntry { id, action, created_at: now, until, note }
    }

    pub(super) fn insert(&mut self, entry: OverlayEntry) {
        self.entries.insert(entry.id.clone(), entry);
    }

    pub(super) fn remove(&mut self, id: &OverlayId) -> Option<OverlayEntry> {
        self.entries.remove(id)
    }

    /// Entries that are over at `now`.
    pub fn expired(&self, now: Timestamp) -> impl Iterator<Item = &OverlayEntry> {
        self.entries().filter(move |entry| entry.until <= now)
    }

    /// Permissions from a time after `now`, as if they were given now: they end no later than their span allows.
    pub fn given_later(&self, now: Timestamp) -> impl Iterator<Item = OverlayEntry> {
        let is_later = move |entry: &&OverlayEntry| {
            entry.created_at > now && matches!(entry.action, OverlayAction::Allow { .. })
        };
        self.entries().filter(is_later).map(move |entry| {
            let span = entry.until.duration_since(entry.created_at);
            let until = now.checked_add(span).unwrap_or(entry.until).min(entry.until);
            OverlayEntry { until, created_at: now, ..entry.clone() }
        })
    }

    /// Time at which the next entry expires.
    #[must_use]
    pub fn next_expiry(&self, now: Timestamp) -> Option<Timestamp> {
        self.entries().map(|entry| entry.until).filter(|until| *until > now).min()
    }

    /// Applies the entries that are in force at `now`. One about an absent database has no effect.
    pub(super) fn apply(&self, desired: &mut Desired, now: Timestamp) {
        for OverlayEntry { id, action, note, .. } in self.entries().filter(|entry| entry.until > now) {
            match action {
                OverlayAction::Block { source, database } => desired.local_blocks.push(LocalBlock {
                    id: id.clone(),
                    source: *source,
                    database: database.clone(),
                    note: note.clone(),
                }),
                OverlayAction::Close { database } => {
                    if let Some(wanted) = desired.databases.get_mut(database) {
                        Arc::make_mut(wanted).is_closed = true;
                    }
                }
                OverlayAction::Allow { source, database } => {
                    if let Some(wanted) = desired.databases.get_mut(database) {
                        let wanted = Arc::make_mut(wanted);
                        let key = CounterKey::Local(id.as_str().into());
                        wanted.set.allow(*source, &key);
                        wanted.counters.insert(key, (CounterKind::LocalAllow, note.clone()));
                    }
                }
            }
        }
    }

    /// Databases that an entry closes.
    #[must_use]
    pub fn closed(&self) -> BTreeSet<&DatabaseId> {
        let closes = |entry: &OverlayEntry| matches!(entry.action, OverlayAction::Close { .. });
        self.entries().filter(|entry| closes(entry)).filter_map(|entry| entry.action.database()).collect()
    }
}

/// A block of the overlay, as desired.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalBlock {
    pub id: OverlayId,
    pub source: IpNet,
    /// `None`: at every endpoint.
    pub database: Option<DatabaseId>,
    pub note: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permission_lasts_no_longer_than_given_after_the_clock_went_back() {
        let at = |time: &str| time.parse::<Timestamp>().unwrap();
        let (ahead, now) = (at("2035-01-01T00:00:00Z"), at("2026-11-29T01:00:00Z"));
        let (source, database) = ("203.0.113.7/32".parse().unwrap(), "orders".parse::<DatabaseId>().unwrap());
        let mut overlay = Overlay::default();
        for action in [
            OverlayAction::Allow { source, database: database.clone() },
            OverlayAction::Block { source, database: Some(database.clone()) },
            OverlayAction::Close { database },
        ] {
            let entry = overlay.entry(action, at("2035-01-01T01:00:00Z"), String::new(), ahead);
            overlay.insert(entry);
        }
        assert_eq!(overlay.given_later(ahead).count(), 0, "the clock did not go back");
        let shorter: Vec<OverlayEntry> = overlay.given_later(now).collect();
        assert_eq!(shorter.len(), 1, "what refuses keeps its end");
        assert_eq!((shorter[0].created_at, shorter[0].until), (now, at("2026-11-29T02:00:00Z")));
        shorter.into_iter().for_each(|entry| overlay.insert(entry));
        assert_eq!(overlay.given_later(now).count(), 0);
    }
}
