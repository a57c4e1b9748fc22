//! The faults to plant, read from the tables in `xtask/mutants`, one table for each set of test targets.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use fs_err as fs;
use serde::{Deserialize, Serialize};

/// The agent's own tests, including the fleet histories.
pub const OWN: &str = "lib";

/// The agent's own tests without the fleet histories.
pub const UNITS: &str = "units";

/// The tests of the programs' decisions, compiled for the host.
pub const EBPF: &str = "ebpf";

/// The fleet histories alone.
pub const HISTORIES: &str = "histories";

/// A fault to plant: replaces the only occurrence of `find` in `file` by `replace`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mutant {
    /// The table, without its extension.
    pub list: String,
    pub name: String,
    /// Relative to the root of the workspace.
    pub file: String,
    pub find: String,
    pub replace: String,
    /// Test targets of `firewall-tests`, one of which must fail; or, alone, [`OWN`], [`UNITS`], [`HISTORIES`], [`EBPF`] or a
    /// module of one target, as `lifecycle/rights::`.
    pub targets: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    targets: Vec<String>,
    mutant: Vec<Entry>,
}

/// A mutant as a table has it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    file: String,
    find: String,
    replace: String,
}

impl Mutant {
    /// Returns the mutants of every table of the workspace at `root`.
    pub fn all(root: &Path) -> Result<Vec<Self>> {
        let tables = fs::read_dir(root.join("xtask/mutants"))?;
        let mut tables = tables.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
        tables.sort();
        let mut mutants = Vec::new();
        for path in tables {
            let table = toml::from_str(&fs::read_to_string(&path)?);
            let Table { targets, mutant } = table.with_context(|| path.display().to_string())?;
            let list = path.file_stem().unwrap_or_default().to_string_lossy();
            mutants.extend(mutant.into_iter().map(|entry| {
                let Entry { name, file, find, replace } = entry;
                Self { list: list.to_string(), name, file, find, replace, targets: targets.clone() }
            }));
        }
        Ok(mutants)
    }

    /// Returns `true` if tests of this target, or of a module of it, must find the fault.
    pub fn is_of(&self, target: &str) -> bool {
        self.targets.iter().any(|one| one == target || one.split('/').next() == Some(target))
    }

    /// Returns the paths that decide whether the tests find the fault, relative to the root: the mutated file, and the
    /// programs of its test targets. Own tests are those beside the file, and for the agent the fleet histories.
    pub fn sources(&self) -> Vec<String> {
        let mut paths = vec![self.file.clone()];
        for target in &self.targets {
            let beside = self.file.rsplit_once('/').map_or("", |(folder, _)| folder);
            if target == EBPF {
                paths.push(beside.to_owned());
            } else if [OWN, UNITS, HISTORIES].contains(&target.as_str()) {
                paths.extend([beside.to_owned(), "firewall-agent/src/agent/tests".to_owned()]);
            } else {
                let program = target.split('/').next().unwrap_or(target);
                paths.extend([format!("tests/tests/{program}"), format!("tests/tests/{program}.rs")]);
            }
        }
        paths.sort();
        paths.dedup();
        paths
    }

    /// Returns the text of the file with the fault.
    pub fn plant(&self, text: &str) -> Result<String> {
        let Self { name, file, find, replace, .. } = self;
        let found = text.matches(find.as_str()).count();
        ensure!(found == 1, "{name}: {file}: {find:?} occurs {found} times, must occur once");
        Ok(text.replacen(find, replace, 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

    #[test]
    fn a_fault_is_planted_in_exactly_one_place() {
        let mutant = Mutant { find: "a == b".into(), replace: "true".into(), ..Mutant::default() };
        assert_eq!(mutant.plant("if a == b {").unwrap(), "if true {");
        for text in ["if b == a {", "a == b && a == b"] {
            let error = mutant.plant(text).unwrap_err().to_string();
            assert!(error.contains("must occur once"), "{text}: {error}");
        }
    }

    #[test]
    fn every_mutant_changes_its_file_and_has_a_unique_name() {
        let all = Mutant::all(Path::new(ROOT)).unwrap();
        assert!(all.len() >= 189, "{} mutants", all.len());
        for (index, mutant) in all.iter().enumerate() {
            assert_ne!(mutant.find, mutant.replace, "{}", mutant.name);
            assert!(!mutant.targets.is_empty(), "{}", mutant.name);
            let is_whole = mutant.targets.iter().all(|target| !target.contains('/'));
            assert!(is_whole || mutant.targets.len() == 1, "{}: a module stands alone", mutant.name);
            assert!(all[..index].iter().all(|other| other.name != mutant.name), "{}", mutant.name);
        }
    }

    #[test]
    fn sources_are_the_file_and_its_tests() {
        let mutant = |targets: &[&str]| Mutant {
            file: "firewall-agent/src/sync/clock.rs".to_owned(),
            targets: targets.iter().map(|target| (*target).to_owned()).collect(),
            ..Mutant::default()
        };
        let file = "firewall-agent/src/sync/clock.rs";
        assert_eq!(
            mutant(&["lifecycle/rights::"]).sources(),
            [file, "tests/tests/lifecycle", "tests/tests/lifecycle.rs"]
        );
        let own = ["firewall-agent/src/agent/tests", "firewall-agent/src/sync", file];
        assert_eq!(mutant(&[OWN]).sources(), own);
        assert_eq!(mutant(&[HISTORIES]).sources(), own);
    }

    #[test]
    fn every_mutant_text_occurs_once_in_its_file() {
        let root = Path::new(ROOT);
        let planted = |mutant: &Mutant| mutant.plant(&fs::read_to_string(root.join(&mutant.file))?);
        let all = Mutant::all(root).unwrap();
        let lost: Vec<_> = all.iter().filter_map(|mutant| planted(mutant).err()).collect();
        assert!(lost.is_empty(), "{lost:#?}");
    }
}
