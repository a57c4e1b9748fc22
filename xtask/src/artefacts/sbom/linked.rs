//! The packages that cargo links into a program, from `cargo tree`.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use xshell::cmd;

use crate::workspace::Workspace;

/// Name and version.
pub(super) type Key = (String, String);

/// A program whose packages are listed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Part<'a> {
    pub name: &'static str,
    pub package: &'a str,
    pub target: &'a str,
    pub features: &'a str,
}

#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Package {
    licence: String,
    repository: String,
    parts: BTreeSet<&'static str>,
    needs: BTreeSet<Key>,
}

/// Every package once, with the parts that contain it.
#[derive(Debug, Default)]
pub(super) struct Linked {
    pub packages: BTreeMap<Key, Package>,
}

impl Linked {
    /// Adds the packages linked into a part.
    pub fn add(&mut self, workspace: &Workspace, part: Part<'_>) -> Result<()> {
        let Part { name, package, target, features } = part;
        // Procedural macros and their own dependencies run in the compiler only.
        let tree = cmd!(
            workspace.shell,
            "cargo tree --locked --package {package} --target {target} --features {features}
             --edges normal,no-proc-macro --prefix depth --no-dedupe --format '|{p}|{l}|{r}'"
        );
        self.read(name, &tree.read()?)
    }

    fn read(&mut self, part: &'static str, tree: &str) -> Result<()> {
        let mut above: Vec<Key> = Vec::new();
        for line in tree.lines() {
            let (depth, key, licence, repository) =
                parse(line).with_context(|| format!("cargo tree: cannot parse {line:?}"))?;
            let package = self.packages.entry(key.clone()).or_default();
            package.licence = licence.replace('/', " OR ");
            package.repository = repository.to_owned();
            package.parts.insert(part);
            above.truncate(depth);
            if let Some(parent) = above.last().and_then(|parent| self.packages.get_mut(parent)) {
                parent.needs.insert(key.clone());
            }
            above.push(key);
        }
        Ok(())
    }

    pub fn dependencies(&self) -> Vec<Value> {
        let entry = |(key, package): (&Key, &Package)| {
            let needs = package.needs.iter().map(name_of);
            json!({"ref": name_of(key), "dependsOn": needs.collect::<Vec<_>>()})
        };
        self.packages.iter().map(entry).collect()
    }
}

impl Package {
    /// Returns the CycloneDX component.
    pub fn component(&self, key: &Key, checksum: Option<&String>) -> Value {
        let (name, version) = key;
        let parts = self.parts.iter().map(|part| json!({"name": "firewall:part", "value": part}));
        let mut component = json!({
            "type": "library",
            "bom-ref": name_of(key),
            "name": name,
            "version": version,
            "licenses": [{"expression": self.licence}],
            "purl": format!("pkg:cargo/{name}@{version}"),
            "properties": parts.collect::<Vec<_>>(),
        });
        if let Some(checksum) = checksum {
            component["hashes"] = json!([{"alg": "SHA-256", "content": checksum}]);
        }
        if !self.repository.is_empty() {
            component["externalReferences"] = json!([{"type": "vcs", "url": self.repository}]);
        }
        component
    }
}

/// Packages of the workspace are referenced without a version: each has only one.
pub(super) fn reference(name: &str) -> String {
    format!("firewall:{name}")
}

fn name_of((name, version): &Key) -> String {
    if name.starts_with("firewall-") { reference(name) } else { format!("pkg:cargo/{name}@{version}") }
}

/// Parses `2|aya-obj v0.3.0|MIT|https://…`: depth, package, licence, repository.
fn parse(line: &str) -> Option<(usize, Key, &str, &str)> {
    let mut fields = line.splitn(4, '|');
    let depth = fields.next()?.parse().ok()?;
    let mut words = fields.next()?.split(' ');
    let key = (words.next()?.to_owned(), words.next()?.strip_prefix('v')?.to_owned());
    Some((depth, key, fields.next()?, fields.next()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tree_is_parsed_into_packages_and_dependencies() {
        let mut linked = Linked::default();
        let tree = "0|firewall-agent v0.1.0 (/a)|MIT OR Apache-2.0|\n1|a v1.0.0|MIT/Apache-2.0|https://x\n\
                    2|b v2.0.0|MIT|\n1|b v2.0.0|MIT|\n";
        linked.read("agent", tree).unwrap();
        let key = |name: &str, version: &str| (name.to_owned(), version.to_owned());
        let needs = |name, version| linked.packages[&key(name, version)].needs.clone();
        assert_eq!(linked.packages.len(), 3);
        assert_eq!(needs("firewall-agent", "0.1.0"), BTreeSet::from([key("a", "1.0.0"), key("b", "2.0.0")]));
        assert_eq!(needs("a", "1.0.0"), BTreeSet::from([key("b", "2.0.0")]));
        assert_eq!(linked.packages[&key("a", "1.0.0")].licence, "MIT OR Apache-2.0");
        assert!(linked.read("agent", "a v1.0.0").is_err());
    }
}
