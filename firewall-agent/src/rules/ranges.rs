//! The managed-ranges file: named lists of prefixes that the provider maintains.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ipnet::IpNet;
use jiff::Timestamp;
use serde_json::Value;

use super::network::read_cidr;
use super::parser::{
    Document, Ending, Field, Fields, Item, Kind, Report, Requirement, Shape, flag, generated, ident, label,
};
use super::{Checked, Problem, RangeId, Source};

/// Meaning of a file of ranges: both kinds have one form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RangesKind {
    /// Rules name them, and allow their prefixes.
    Managed,
    /// Refused at every endpoint, before any rule.
    Blocked,
}

impl RangesKind {
    pub const ALL: [Self; 2] = [Self::Managed, Self::Blocked];

    /// The name for people.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Managed => "managed ranges",
            Self::Blocked => "blocked ranges",
        }
    }
}

/// Managed or blocked ranges. The default is empty, at revision 0, which no file can have.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ManagedRanges {
    /// From 1, strictly increasing.
    pub revision: u64,
    pub generated_at: Timestamp,
    /// Each shared with everything that was compiled from it.
    pub ranges: BTreeMap<RangeId, Arc<ManagedRange>>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ManagedRange {
    /// For people.
    pub name: String,
    /// No host bits.
    pub cidrs: BTreeSet<IpNet>,
    /// Admits a large shrink of this range by this revision.
    pub accept_shrink: bool,
}

impl ManagedRanges {
    /// Prefixes that a rule allows.
    ///
    /// # Errors
    /// The range that the rule names and that does not exist.
    pub fn resolve<'a>(
        &'a self,
        source: &'a Source,
    ) -> Result<impl Iterator<Item = IpNet> + 'a, &'a RangeId> {
        let (custom, managed) = match source {
            Source::Custom(cidr) => (Some(*cidr), None),
            Source::Managed(id) => (None, Some(&self.ranges.get(id).ok_or(id)?.cidrs)),
        };
        Ok(custom.into_iter().chain(managed.into_iter().flatten().copied()))
    }

    /// The ranges with other prefixes than `before`, each with the numbers of added and removed ones. A missing range has
    /// no prefix.
    #[must_use]
    pub fn changes(&self, before: &Self) -> BTreeMap<RangeId, (usize, usize)> {
        let none = Arc::new(ManagedRange::default());
        let ids: BTreeSet<&RangeId> = self.ranges.keys().chain(before.ranges.keys()).collect();
        let ids = ids.into_iter().filter(|id| !self.shares(id, before));
        let changes = ids.map(|id| {
            let [now, before] = [self, before].map(|file| &file.ranges.get(id).unwrap_or(&none).cidrs);
            (id.clone(), (now.difference(before).count(), before.difference(now).count()))
        });
        changes.filter(|(_, (added, removed))| added + removed > 0).collect()
    }

    /// Returns `true` if both have the same allocation of a range: it is equal without a comparison of its prefixes.
    #[must_use]
    pub fn shares(&self, id: &RangeId, other: &Self) -> bool {
        let ranges = self.ranges.get(id).zip(other.ranges.get(id));
        ranges.is_some_and(|(one, other)| Arc::ptr_eq(one, other))
    }

    /// Shares every range that equals that of `other` with it.
    pub fn share(&mut self, other: &Self) {
        for (id, range) in &mut self.ranges {
            if let Some(same) = other.ranges.get(id).filter(|same| *same == range) {
                *range = Arc::clone(same);
            }
        }
    }

    /// Formats the ranges, one per line, as text that [`read_ranges`] parses back. Requires ranges from a file or from
    /// [`apply_shrink_guard`](super::apply_shrink_guard), and a text within the limit for files.
    #[must_use]
    pub fn to_yaml(&self) -> String {
        let Self { revision, generated_at, ranges } = self;
        let head = format!("schema_version: 1\nrevision: {revision}\ngenerated_at: {generated_at}\n");
        if ranges.is_empty() {
            return format!("{head}ranges: []\n...\n");
        }
        let lines: String = ranges.iter().map(|(id, range)| range.to_line(id)).collect();
        format!("{head}ranges:\n{lines}...\n")
    }
}

impl ManagedRange {
    fn to_line(&self, id: &RangeId) -> String {
        let cidrs = self.cidrs.iter().map(IpNet::to_string).collect::<Vec<_>>().join(",");
        // An id may look like a number or null, a name like anything: in quotes both are text. JSON strings are valid
        // YAML, except for two characters that YAML wants escaped.
        let name = Value::from(self.name.as_str()).to_string();
        let name = name.replace('\u{fffe}', "\\ufffe").replace('\u{ffff}', "\\uffff");
        let accept_shrink = if self.accept_shrink { ", accept_shrink: true" } else { "" };
        format!("  - {{id: \"{id}\", name: {name}, cidrs: [{cidrs}]{accept_shrink}}}\n")
    }
}

/// Fields of the top level.
pub(super) static FILE: Shape = Shape {
    fields: &[
        Field::new("schema_version", Requirement::Required, Kind::Number(1..=1), ""),
        Field::new("revision", Requirement::Required, Kind::Number(1..=u64::MAX), "Strictly increasing"),
        Field::new("generated_at", Requirement::Required, Kind::Time, ""),
        Field::new("ranges", Requirement::Required, Kind::Maps { of: &RANGE, least: 0, most: None }, ""),
    ],
};

static RANGE: Shape = Shape {
    fields: &[
        Field::new("id", Requirement::Required, Kind::Ident, ""),
        Field::new("name", Requirement::Required, Kind::Label, ""),
        Field::new("cidrs", Requirement::Required, Kind::Cidrs, ""),
        Field::new(
            "accept_shrink",
            Requirement::Optional,
            Kind::Flag,
            "Admits a large shrink of this range, once, on purpose",
        ),
    ],
};

/// Parses the managed-ranges file.
///
/// # Errors
/// Every problem of the file, in file order; or only the first one that prevents parsing a complete document.
pub fn read_ranges(bytes: &[u8]) -> Result<Checked<ManagedRanges>, Vec<Problem>> {
    Document::read(bytes, Ending::Marked, |top, report| managed_ranges(&top, report))
}

/// Returns `true` for a complete document with a top-level `ranges` field, which no other file has.
#[must_use]
pub fn is_ranges_file(bytes: &[u8]) -> bool {
    Document::parse(bytes, Ending::Marked).is_ok_and(|document| document.has_field("ranges"))
}

fn managed_ranges(top: &Item<'_, '_>, report: &mut Report) -> Option<ManagedRanges> {
    let fields = Fields::open(top, &FILE, report)?;
    let _version: Option<u64> = fields.number("schema_version", report);
    let revision = fields.number("revision", report);
    let generated_at = fields.required("generated_at", report).and_then(|item| item.text(report, generated));
    let list = fields.required("ranges", report)?;
    let mut ranges = BTreeMap::new();
    let mut paths: BTreeMap<RangeId, String> = BTreeMap::new();
    for item in list.list(report) {
        let Some((id, range)) = managed_range(&item, &paths, report) else { continue };
        paths.entry(id.clone()).or_insert_with(|| item.path().to_owned());
        ranges.insert(id, Arc::new(range));
    }
    Some(ManagedRanges { revision: revision?, generated_at: generated_at?, ranges })
}

fn managed_range(
    item: &Item<'_, '_>,
    paths: &BTreeMap<RangeId, String>,
    report: &mut Report,
) -> Option<(RangeId, ManagedRange)> {
    let fields = Fields::open(item, &RANGE, report)?;
    let id = fields.required("id", report).and_then(|item| {
        let id = item.text(report, ident)?;
        if let Some(path) = paths.get(&id) {
            item.refuse(report, &format!("duplicate range id, already used by {path}"));
        }
        Some(id)
    });
    let name = fields.required("name", report).and_then(|item| item.text(report, label));
    let cidrs = fields.required("cidrs", report).map(|list| {
        let items = list.list(report);
        items.filter_map(|item| read_cidr(&item, report)).collect()
    });
    let accept_shrink = fields.optional("accept_shrink").and_then(|item| item.plain(report, flag));
    Some((id?, ManagedRange { name: name?, cidrs: cidrs?, accept_shrink: accept_shrink.unwrap_or(false) }))
}

#[cfg(test)]
mod tests;
