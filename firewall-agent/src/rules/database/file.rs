//! Top level of a rule file.

use super::endpoints::{ENDPOINT, read_endpoints};
use super::sources::{INTERNAL_RANGE, RULE, read_internal_ranges, read_rules};
use super::{DatabaseRules, Limits, Mode, State};
use crate::rules::parser::{
    Document, Ending, Field, Fields, Item, Kind, Report, Requirement, Shape, choice, choices, generated,
    ident, label,
};
use crate::rules::{Cause, Checked, Problem};

const STATES: [(&str, State); 2] = [("active", State::Active), ("removed", State::Removed)];
const MODES: [(&str, Mode); 2] = [("enforce", Mode::Enforce), ("monitor", Mode::Monitor)];
const ACTIVE: Requirement = Requirement::RequiredIf("state", STATES[0].0);

/// Fields of the top level.
pub(crate) static FILE: Shape = Shape {
    fields: &[
        Field::new("schema_version", Requirement::Required, Kind::Number(1..=1), ""),
        Field::new("database_id", Requirement::Required, Kind::Ident, ""),
        Field::new("name", Requirement::Optional, Kind::Label, ""),
        Field::new(
            "revision",
            Requirement::Required,
            Kind::Number(1..=u64::MAX),
            "Strictly increasing for each database",
        ),
        Field::new("generated_at", Requirement::Required, Kind::Time, ""),
        Field::new(
            "state",
            Requirement::Optional,
            Kind::Choice(&choices(&STATES)),
            "removed: the database leaves this host, and its endpoints are closed",
        ),
        Field::new(
            "host",
            Requirement::Optional,
            Kind::Host,
            "The only host that may accept the file: its `node_name`",
        ),
        Field::new(
            "mode",
            Requirement::Optional,
            Kind::Choice(&choices(&MODES)),
            "monitor: count what would be denied, and let it pass",
        ),
        Field::new("endpoints", ACTIVE, Kind::Maps { of: &ENDPOINT, least: 1, most: None }, ""),
        Field::new(
            "rules",
            ACTIVE,
            Kind::Maps { of: &RULE, least: 0, most: Some(MAX_RULES) },
            "An empty list denies everything. 30 is the default of `max_rules_per_database`",
        ),
        Field::new(
            "internal_ranges",
            Requirement::Optional,
            Kind::Maps { of: &INTERNAL_RANGE, least: 0, most: None },
            "",
        ),
    ],
};

/// Default of `max_rules_per_database`.
const MAX_RULES: usize = 30;

/// Parses a rule file.
///
/// # Errors
/// Every problem of the file, in file order; or only the first one that prevents parsing a complete document.
pub fn read_database(bytes: &[u8], limits: &Limits) -> Result<Checked<DatabaseRules>, Vec<Problem>> {
    Document::read(bytes, Ending::Marked, |top, report| database(&top, limits, report))
}

fn database(top: &Item<'_, '_>, limits: &Limits, report: &mut Report) -> Option<DatabaseRules> {
    let fields = Fields::open(top, &FILE, report)?;
    let _version: Option<u64> = fields.number("schema_version", report);
    let id = fields.required("database_id", report).and_then(|item| item.text(report, ident));
    let name = fields.optional("name").and_then(|item| item.text(report, label));
    let revision = fields.number("revision", report);
    let generated_at = fields.required("generated_at", report).and_then(|item| item.text(report, generated));
    let state = match fields.optional("state") {
        Some(item) => item.text(report, choice(&STATES)),
        None => Some(State::default()),
    };
    let host = fields.optional("host").and_then(|item| host(&item, limits, report));
    let mode = match fields.optional("mode") {
        Some(item) => mode(&item, limits, report),
        None => Some(Mode::default()),
    };

    let required_if_active = |name, report: &mut Report| match state {
        Some(State::Active) => fields.required(name, report),
        Some(State::Removed) | None => fields.optional(name),
    };
    let endpoints = required_if_active("endpoints", report).map(|item| {
        let endpoints = read_endpoints(&item, report);
        if endpoints.is_empty() && item.is_empty_list() && state == Some(State::Active) {
            item.refuse(report, "an active database needs at least one endpoint");
        }
        endpoints
    });
    let rules = required_if_active("rules", report).map(|item| read_rules(&item, limits.max_rules, report));
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

fn host(item: &Item<'_, '_>, limits: &Limits, report: &mut Report) -> Option<String> {
    let host = item.text(report, |text| Ok(text.to_owned()))?;
    match &limits.node_name {
        Some(name) if host != *name => {
            let reason = format!("file is for another host, this is \"{name}\"");
            item.refuse_as(Cause::WrongHost, report, &reason);
            None
        }
        Some(_) | None => Some(host),
    }
}

fn mode(item: &Item<'_, '_>, limits: &Limits, report: &mut Report) -> Option<Mode> {
    match item.text(report, choice(&MODES))? {
        Mode::Monitor if !limits.allow_monitor => {
            let reason = "not allowed on this host: its configuration does not set `allow_monitor: true`";
            item.refuse_as(Cause::NotPermitted, report, reason);
            None
        }
        mode @ (Mode::Enforce | Mode::Monitor) => Some(mode),
    }
}
