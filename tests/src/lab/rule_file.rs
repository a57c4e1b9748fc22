//! Rule files and managed ranges of tests.

use std::fmt::{self, Display};

use derive_setters::Setters;

/// Generation time of a file that sets no other.
const GENERATED_AT: &str = "2026-08-21T15:27:32Z";

/// A rule file; `Display` writes its YAML. Sections without entries are empty lists; a removed database without
/// endpoints has no sections.
#[derive(Clone, Debug, Default, Setters)]
#[setters(generate = false)]
pub struct RuleFile {
    database: String,
    revision: u64,
    /// The generation time, as in RFC 3339.
    #[setters(generate, into)]
    generated_at: String,
    fields: Vec<String>,
    endpoints: Vec<String>,
    rules: Vec<String>,
    internal_ranges: Vec<String>,
    is_removed: bool,
}

impl RuleFile {
    pub fn new(database: &str, revision: u64) -> Self {
        let file = Self { database: database.to_owned(), revision, ..Self::default() };
        file.generated_at(GENERATED_AT)
    }

    pub fn database(&self) -> &str {
        &self.database
    }

    /// Adds a TCP endpoint: `192.0.2.10:5432`, `[2001:db8::10]:5432`, or `5432` for every address.
    pub fn endpoint(self, destination: &str) -> Self {
        self.endpoint_with(destination, "")
    }

    /// As `endpoint`, for UDP.
    pub fn udp_endpoint(self, destination: &str) -> Self {
        self.endpoint_with(destination, ", protocol: udp")
    }

    /// As `endpoint`, with further fields in YAML's flow style, each with a comma before it.
    pub fn endpoint_with(mut self, destination: &str, fields: &str) -> Self {
        let (address, port) = destination.rsplit_once(':').unwrap_or(("", destination));
        let address = match address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            Some(address) => format!("address: '{address}', "),
            None if address.is_empty() => String::new(),
            None => format!("address: {address}, "),
        };
        self.endpoints.push(format!("{{{address}port: {port}{fields}}}"));
        self
    }

    /// Allows a prefix; the rule's id is `fr-` and its position, from 1.
    pub fn allow(self, cidr: &str) -> Self {
        let id = format!("fr-{}", self.rules.len() + 1);
        self.allow_as(&id, cidr)
    }

    /// Allows a prefix by a rule of this id.
    pub fn allow_as(self, id: &str, cidr: &str) -> Self {
        self.rule(&format!("id: {id}, type: custom_range, cidr: '{cidr}'"))
    }

    /// Adds a rule with these fields, in YAML's flow style.
    pub fn rule(mut self, fields: &str) -> Self {
        self.rules.push(format!("{{{fields}}}"));
        self
    }

    pub fn rules(self, rules: &[&str]) -> Self {
        rules.iter().fold(self, |file, fields| file.rule(fields))
    }

    pub fn internal_range(mut self, cidr: &str, label: &str) -> Self {
        self.internal_ranges.push(format!("{{cidr: {cidr}, label: {label}}}"));
        self
    }

    /// Adds a top-level field: `name: Orders`.
    pub fn field(mut self, line: &str) -> Self {
        self.fields.push(line.to_owned());
        self
    }

    pub fn monitor(self) -> Self {
        self.field("mode: monitor")
    }

    /// Removes the database.
    pub fn removed(mut self) -> Self {
        self.is_removed = true;
        self.field("state: removed")
    }

    /// Returns the text with another in place of one that must occur in it.
    pub fn replace(&self, from: &str, to: &str) -> String {
        let text = self.to_string();
        assert!(text.contains(from), "{from}: not in {text}");
        text.replace(from, to)
    }
}

impl Display for RuleFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "schema_version: 1\ndatabase_id: {}\nrevision: {}", self.database, self.revision)?;
        writeln!(f, "generated_at: {}", self.generated_at)?;
        self.fields.iter().try_for_each(|line| writeln!(f, "{line}"))?;
        if !(self.is_removed && self.endpoints.is_empty()) {
            section(f, "endpoints", &self.endpoints)?;
            section(f, "rules", &self.rules)?;
        }
        if !self.internal_ranges.is_empty() {
            section(f, "internal_ranges", &self.internal_ranges)?;
        }
        writeln!(f, "...")
    }
}

/// The file of managed ranges; `Display` writes its YAML.
#[derive(Clone, Debug, Default, Setters)]
#[setters(generate = false)]
pub struct RangesFile {
    revision: u64,
    /// The generation time, as in RFC 3339.
    #[setters(generate, into)]
    generated_at: String,
    ranges: Vec<String>,
}

impl RangesFile {
    pub fn new(revision: u64) -> Self {
        Self { revision, ..Self::default() }.generated_at(GENERATED_AT)
    }

    pub fn range(self, id: &str, cidrs: &[impl Display]) -> Self {
        self.range_with(id, cidrs, "")
    }

    /// As `range`, with further fields in YAML's flow style, each with a comma before it.
    pub fn range_with(mut self, id: &str, cidrs: &[impl Display], more: &str) -> Self {
        let cidrs: Vec<String> = cidrs.iter().map(|cidr| format!("'{cidr}'")).collect();
        self.ranges.push(format!("{{id: {id}, name: Example region, cidrs: [{}]{more}}}", cidrs.join(", ")));
        self
    }
}

impl Display for RangesFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "schema_version: 1\nrevision: {}\ngenerated_at: {}", self.revision, self.generated_at)?;
        section(f, "ranges", &self.ranges)?;
        writeln!(f, "...")
    }
}

fn section(f: &mut fmt::Formatter<'_>, name: &str, entries: &[String]) -> fmt::Result {
    if entries.is_empty() {
        return writeln!(f, "{name}: []");
    }
    writeln!(f, "{name}:")?;
    entries.iter().try_for_each(|entry| writeln!(f, "  - {entry}"))
}
