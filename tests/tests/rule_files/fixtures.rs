//! The fixture files, each read as its kind and compared with its `.expected` file.

use std::fs;
use std::path::{Path, PathBuf};

use firewall_agent::config::read_config;
use firewall_agent::rules::{Checked, Limits, Problem, read_database, read_ranges};

use crate::summary;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Databases,
    Ranges,
    Config,
}

pub struct Fixture {
    pub kind: Kind,
    pub path: PathBuf,
    pub bytes: Vec<u8>,
}

/// Returns the limits of the host that the fixtures are read on.
pub fn limits() -> Limits {
    Limits { max_rules: 30, allow_monitor: false, node_name: Some("db-host-17".to_owned()) }
}

/// Returns every `*.yaml` of one kind below `tests/fixtures/valid` or `tests/fixtures/invalid`, by name.
pub fn fixtures(validity: &str, kind: Kind) -> Vec<Fixture> {
    let name = match kind {
        Kind::Databases => "databases",
        Kind::Ranges => "ranges",
        Kind::Config => "config",
    };
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(validity).join(name);
    let entries = fs::read_dir(&dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    paths.sort();
    assert!(!paths.is_empty(), "{}: no fixture", dir.display());
    paths.into_iter().map(|path| Fixture { kind, bytes: fs::read(&path).unwrap(), path }).collect()
}

/// Reads bytes as one kind of file; returns the summary of an accepted one.
pub fn read(kind: Kind, bytes: &[u8]) -> Result<String, Vec<Problem>> {
    fn with_warnings<T>(checked: &Checked<T>, summary: impl FnOnce(&T) -> String) -> String {
        let warnings: String =
            checked.warnings.iter().map(|warning| format!("warning: {warning}\n")).collect();
        summary(&checked.value) + &warnings
    }
    match kind {
        Kind::Databases => {
            read_database(bytes, &limits()).map(|checked| with_warnings(&checked, summary::database))
        }
        Kind::Ranges => read_ranges(bytes).map(|checked| with_warnings(&checked, summary::ranges)),
        Kind::Config => read_config(bytes).map(|checked| with_warnings(&checked, summary::config)),
    }
}

impl Fixture {
    /// Compares with the sibling `.expected` file; returns the difference.
    pub fn check(&self, actual: &str) -> Option<String> {
        let recorded = self.path.with_extension("expected");
        if std::env::var_os("UPDATE_EXPECTED").is_some() {
            fs::write(&recorded, actual).unwrap();
        }
        let expected = fs::read_to_string(&recorded).unwrap_or_default();
        (expected != actual)
            .then(|| format!("{}\n--- expected\n{expected}--- actual\n{actual}", self.path.display()))
    }
}

/// Fails with all differences at once.
pub fn none(differences: Vec<String>) {
    assert!(differences.is_empty(), "{} of them:\n{}", differences.len(), differences.join("\n"));
}
