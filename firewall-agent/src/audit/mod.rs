//! Audit of the bypasses: ways to a protected port that the attached programs do not see. No I/O: facts in, findings
//! out.

mod broadcast;
mod facts;
mod interfaces;
mod kind;
mod listeners;
mod masquerade;
mod ports;
mod protected;
mod redirect;
mod resolver;
mod routes;
mod rule;
mod settings;
mod translation;
mod unwrapping;

#[cfg(test)]
mod tests;

use serde::Serialize;

pub use facts::{Ephemeral, Facts, Gathered, Interface, Listener, Setting, SettingName, Unchecked};
pub use kind::Kind;
pub use masquerade::{Masquerade, SourcePorts};
pub use protected::Protected;
pub use redirect::{Redirect, Target};
pub use routes::Routes;
pub use rule::Rule;
pub use translation::{NewPorts, Translation};
pub use unwrapping::{Unwrapping, UnwrappingKind};

/// Result of the audit. Field names are an interface.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Audit {
    pub findings: Vec<Finding>,
    /// Facts that could not be read; their bypasses are unknown.
    pub unchecked: Vec<Unchecked>,
}

/// Bypass: an unfiltered way to a protected port, or a setting that opens one. Field names are an interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub kind: Kind,
    /// The interface, listener, rule or setting.
    pub object: String,
    /// Consequence for the protected ports.
    pub meaning: String,
    /// Recommended action.
    pub advice: String,
    /// The socket filter, in force, judges these packets.
    pub socket_filter_covers: bool,
}

impl Finding {
    fn new(kind: Kind, object: String, meaning: String, advice: String) -> Self {
        Self { kind, object, meaning, advice, socket_filter_covers: kind.is_covered_by_socket_filter() }
    }
}

/// Checks for every kind of bypass. Reports each fact that could not be read.
#[must_use]
pub fn audit(facts: &Facts) -> Audit {
    let mut audit = Audit::default();
    if facts.protected.is_empty() {
        return audit;
    }
    let interfaces = audit.checked(&facts.interfaces);
    let listeners = audit.checked(&facts.listeners);
    if let Some(interfaces) = interfaces {
        audit.findings.extend(interfaces::findings(interfaces));
    }
    if let (Some(interfaces), Some(listeners)) = (interfaces, listeners) {
        audit.findings.extend(listeners::findings(&facts.protected, interfaces, listeners));
        audit.findings.extend(broadcast::findings(&facts.protected, interfaces, listeners));
        audit.findings.extend(resolver::findings(&facts.protected, listeners));
    }
    if let Some(routes) = audit.checked(&facts.routes) {
        if let (Some(interfaces), Some(listeners)) = (interfaces, listeners) {
            audit.findings.extend(routes::findings(&facts.protected, interfaces, listeners, routes));
        }
        audit.findings.extend(routes.unwrapping.iter().map(unwrapping::finding));
    }
    if let Some(ipsec) = audit.checked(&facts.ipsec) {
        audit.findings.extend(ipsec.iter().map(unwrapping::finding));
    }
    let ephemeral = audit.checked(&facts.ephemeral);
    for gathered in &facts.rules {
        for rule in audit.checked(gathered).into_iter().flatten() {
            audit.findings.extend(match rule {
                Rule::Translation(one) => translation::finding(&facts.protected, one),
                Rule::Masquerade(one) => masquerade::finding(&facts.protected, ephemeral, one),
                Rule::Redirect(one) => redirect::finding(interfaces.unwrap_or(&Vec::new()), one),
            });
        }
    }
    if let Some(ephemeral) = ephemeral {
        audit.findings.extend(ports::findings(&facts.protected, ephemeral));
    }
    let settings = audit.checked(&facts.settings);
    if let (Some(interfaces), Some(settings)) = (interfaces, settings) {
        audit.findings.extend(settings::findings(interfaces, settings));
    }
    audit
}

impl Audit {
    fn checked<'a, T>(&mut self, gathered: &'a Gathered<T>) -> Option<&'a T> {
        gathered.as_ref().map_err(|missing| self.unchecked.push(missing.clone())).ok()
    }
}
