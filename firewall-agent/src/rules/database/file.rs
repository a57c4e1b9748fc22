//! The top of a rule file.

use super::endpoints::read_endpoints;
use super::sources::{read_internal_ranges, read_rules};
use super::{DatabaseRules, Limits, Mode, State};
use crate::rules::shape::{Document, Ending, Fields, Item, Report, decimal, ident, label, timestamp};
use crate::rules::{Checked, Problem};

const FIELDS: [&str; 11] = [
    "schema_version",
    "database_id",
    "name",
    "revision",
    "generated_at",
    "state",
    "host",
    "mode",
    "endpoints",
    "rules",
    "internal_ranges",
];

/// Reads a rule file.
///
/// # Errors
/// Every problem of the file, in file order; or the first that makes it no complete document at all.
pub fn read_database(bytes: &[u8], limits: &Limits) -> Result<Checked<DatabaseRules>, Vec<Problem>> {
    Document::read(bytes, Ending::Marked, |top, report| database(&top, limits, report))
}

fn database(top: &Item<'_, '_>, limits: &Limits, report: &mut Report) -> Option<DatabaseRules> {
    let fields = Fields::open(top, &FIELDS, report)?;
    if let Some(item) = fields.required("schema_version", report) {
        item.plain(report, decimal::<u64>(1..=1));
    }
    let id = fields.required("database_id", report).and_then(|item| item.text(report, ident));
    let name = fields.optional("name").and_then(|item| item.text(report, label));
    let revision =
        fields.required("revision", report).and_then(|item| item.plain(report, decimal(1..=u64::MAX)));
    let generated_at = fields.required("generated_at", report).and_then(|item| item.text(report, timestamp));
    let state = match fields.optional("state") {
        Some(item) => item.text(report, state),
        None => Some(State::default()),
    };
    let host = fields.optional("host").and_then(|item| item.text(report, |text| host(text, limits)));
    let mode = match fields.optional("mode") {
        Some(item) => item.text(report, |text| mode(text, limits)),
        None => Some(Mode::default()),
    };

    let due = |name, report: &mut Report| match state {
        Some(State::Active) => fields.required(name, report),
        Some(State::Removed) | None => fields.optional(name),
    };
    let endpoints = due("endpoints", report).map(|item| {
        let endpoints = read_endpoints(&item, report);
        if endpoints.is_empty() && item.is_empty_list() && state == Some(State::Active) {
            item.refuse(report, "an active database needs at least one endpoint");
        }
        endpoints
    });
    let rules = due("rules", report).map(|item| read_rules(&item, limits.max_rules, report));
    let internal_ranges = fields.optional("internal_ranges").map(|item| read_internal_ranges(&item, report));

    Some(DatabaseRules {
        id: id?,
        name,
        revision: revision?,
        generated_at: generated_at?,
        state: state?,
        host,
        mode: mode?,
        endpoints: endpoints.unwrap_or_default(),
        rules: rules.unwrap_or_default(),
        internal_ranges: internal_ranges.unwrap_or_default(),
    })
}

fn state(text: &str) -> Result<State, String> {
    match text {
        "active" => Ok(State::Active),
        "removed" => Ok(State::Removed),
        _ => Err("must be active or removed".to_owned()),
    }
}

fn host(text: &str, limits: &Limits) -> Result<String, String> {
    if text == limits.node_name {
        Ok(text.to_owned())
    } else {
        Err(format!("file is for another host, this is \"{}\"", limits.node_name))
    }
}

fn mode(text: &str, limits: &Limits) -> Result<Mode, String> {
    match text {
        "enforce" => Ok(Mode::Enforce),
        "monitor" if limits.allow_monitor => Ok(Mode::Monitor),
        "monitor" => {
            Err("not allowed on this host: its configuration does not set `allow_monitor: true`".to_owned())
        }
        _ => Err("must be enforce or monitor".to_owned()),
    }
}
