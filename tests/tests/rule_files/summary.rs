//! Typed values as text, one fact per line.

use std::fmt::{Debug, Write as _};

use firewall_agent::config::ConfigFile;
use firewall_agent::rules::{DatabaseRules, ManagedRanges, Source};

pub fn database(rules: &DatabaseRules) -> String {
    let DatabaseRules { id, name, revision, generated_at, state, host, mode, .. } = rules;
    let mut out =
        format!("database {id}{} revision {revision} at {generated_at} {state} {mode}", or_nothing(name));
    writeln!(out, "{}", or_nothing(host)).unwrap();
    for endpoint in &rules.endpoints {
        writeln!(out, "endpoint {endpoint}{}", or_nothing(&endpoint.kind)).unwrap();
    }
    for rule in &rules.rules {
        let source = match &rule.source {
            Source::Custom(cidr) => cidr.to_string(),
            Source::Managed(range) => format!("managed {range}"),
        };
        let until = rule.expires_at.map(|at| format!(" until {at}")).unwrap_or_default();
        writeln!(out, "rule {} {source}{}{until}", rule.id, or_nothing(&rule.label)).unwrap();
    }
    for internal in &rules.internal_ranges {
        writeln!(out, "internal {}{}", internal.cidr, or_nothing(&internal.label)).unwrap();
    }
    out
}

pub fn ranges(managed: &ManagedRanges) -> String {
    let mut out = format!("ranges revision {} at {}\n", managed.revision, managed.generated_at);
    for (id, range) in &managed.ranges {
        let shrink = if range.accept_shrink { " may shrink" } else { "" };
        let cidrs: Vec<String> = range.cidrs.iter().map(ToString::to_string).collect();
        writeln!(out, "range {id} {:?}{shrink} [{}]", range.name, cidrs.join(", ")).unwrap();
    }
    out
}

pub fn config(file: &ConfigFile) -> String {
    format!("{file:#?}\n")
}

fn or_nothing<T: Debug>(value: &Option<T>) -> String {
    value.as_ref().map(|value| format!(" {value:?}")).unwrap_or_default()
}
