//! Parser of `rules` and `internal_ranges` of a rule file.

use std::collections::BTreeMap;

use super::{InternalRange, Rule, Source};
use crate::rules::network::read_cidr;
use crate::rules::parser::{
    Field, Fields, Item, Kind, Report, Requirement, Shape, choice, choices, expiry, ident, label,
};
use crate::rules::{Cause, RuleId};

const TYPES: [(&str, Type); 2] = [("custom_range", Type::Custom), ("managed_range", Type::Managed)];

pub(super) static RULE: Shape = Shape {
    fields: &[
        Field::new("id", Requirement::Required, Kind::Ident, ""),
        Field::new("type", Requirement::Required, Kind::Choice(&choices(&TYPES)), ""),
        Field::new("cidr", Requirement::OnlyIf("type", TYPES[0].0), Kind::Cidr, ""),
        Field::new("range_id", Requirement::OnlyIf("type", TYPES[1].0), Kind::Ident, ""),
        Field::new("label", Requirement::Optional, Kind::Label, ""),
        Field::new("expires_at", Requirement::Optional, Kind::Time, "In force before this time"),
    ],
};

pub(super) static INTERNAL_RANGE: Shape = Shape {
    fields: &[
        Field::new("cidr", Requirement::Required, Kind::Cidr, ""),
        Field::new("label", Requirement::Optional, Kind::Label, ""),
    ],
};

/// Parses all rules, also those beyond `most`, and reports the first of these.
pub(super) fn read_rules(list: &Item<'_, '_>, most: usize, report: &mut Report) -> Vec<Rule> {
    let items: Vec<Item<'_, '_>> = list.list(report).collect();
    if let Some(item) = items.get(most) {
        let message = format!("too many rules: {}, at most {most} per database", items.len());
        report.refuse_as(Cause::NotPermitted, item.position(), item.path(), message);
    }
    let mut paths_of_ids = BTreeMap::new();
    let mut rules = Vec::new();
    for item in &items {
        let Some(fields) = Fields::open(item, &RULE, report) else { continue };
        let id = rule_id(&fields, &mut paths_of_ids, report);
        let source = source(&fields, report);
        let label = fields.optional("label").and_then(|item| item.text(report, label));
        let expires_at = fields.optional("expires_at").and_then(|item| item.text(report, expiry));
        if let (Some(id), Some((source, source_item))) = (id, source) {
            rules.push((Rule { id, source, label, expires_at }, source_item));
        }
    }
    if items.len() <= most {
        warn_of_covered(&rules, report);
    }
    rules.into_iter().map(|(rule, _)| rule).collect()
}

pub(super) fn read_internal_ranges(list: &Item<'_, '_>, report: &mut Report) -> Vec<InternalRange> {
    let mut ranges = Vec::new();
    for item in list.list(report) {
        let Some(fields) = Fields::open(&item, &INTERNAL_RANGE, report) else { continue };
        let cidr = fields.required("cidr", report).and_then(|item| read_cidr(&item, report));
        let label = fields.optional("label").and_then(|item| item.text(report, label));
        if let Some(cidr) = cidr {
            ranges.push(InternalRange { cidr, label });
        }
    }
    ranges
}

#[derive(Clone, Copy)]
enum Type {
    Custom,
    Managed,
}

fn rule_id(
    fields: &Fields<'_, '_>,
    paths: &mut BTreeMap<RuleId, String>,
    report: &mut Report,
) -> Option<RuleId> {
    let item = fields.required("id", report)?;
    let id: RuleId = item.text(report, ident)?;
    match paths.get(&id) {
        Some(path) => item.refuse(report, &format!("duplicate rule id, already used by {path}")),
        None => drop(paths.insert(id.clone(), item.path().to_owned())),
    }
    Some(id)
}

/// The source, and the field that defines it.
fn source<'n, 't>(fields: &Fields<'n, 't>, report: &mut Report) -> Option<(Source, Item<'n, 't>)> {
    match fields.required("type", report).and_then(|item| item.text(report, choice(&TYPES)))? {
        Type::Custom => {
            fields.forbidden("range_id", "not allowed in a custom_range, which has a cidr", report);
            let item = fields.required("cidr", report)?;
            Some((Source::Custom(read_cidr(&item, report)?), item))
        }
        Type::Managed => {
            fields.forbidden("cidr", "not allowed in a managed_range, which has a range_id", report);
            let item = fields.required("range_id", report)?;
            Some((Source::Managed(item.text(report, ident)?), item))
        }
    }
}

/// Warns of covered rules: the later of two equal sources, else the smaller one. Names the widest cover.
fn warn_of_covered(rules: &[(Rule, Item<'_, '_>)], report: &mut Report) {
    for (i, (rule, item)) in rules.iter().enumerate() {
        let covering = rules.iter().enumerate().filter(|(j, (other, _))| {
            *j != i && covers(&other.source, &rule.source) && (other.source != rule.source || *j < i)
        });
        if let Some((_, (widest, widest_item))) =
            covering.min_by_key(|(_, (other, _))| prefix_len(&other.source))
        {
            let relation = if widest.source == rule.source { "same as" } else { "covered by" };
            let Rule { id, source, .. } = widest;
            item.warn(report, &format!("{relation} {source} of rule {id} ({})", widest_item.path()));
        }
    }
}

fn covers(wide: &Source, narrow: &Source) -> bool {
    match (wide, narrow) {
        (Source::Custom(wide), Source::Custom(narrow)) => wide.contains(narrow),
        (Source::Managed(wide), Source::Managed(narrow)) => wide == narrow,
        (Source::Custom(_), Source::Managed(_)) | (Source::Managed(_), Source::Custom(_)) => false,
    }
}

fn prefix_len(source: &Source) -> u8 {
    match source {
        Source::Custom(net) => net.prefix_len(),
        Source::Managed(_) => 0,
    }
}
