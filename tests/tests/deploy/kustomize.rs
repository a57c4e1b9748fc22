//! Objects that kustomize renders from the base, and the differences between two renderings.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use firewall_tests::lab::tool;
use serde_json::Value;
use tempfile::TempDir;

use crate::units::deploy;

/// Directory of the base, and name of its copy.
pub const BASE: &str = "kubernetes";
pub const EXAMPLE: &str = "kubernetes-example";
/// Of Debian 12 with kustomize 2.0.3, which knows no components; of Debian 13.
pub const OLD: &str = "kubectl";
pub const NEW: &str = "kubectl-trixie";

/// Rendered objects by `KIND/NAME`.
pub type Objects = BTreeMap<String, Value>;

/// Copies of the base and of the example, with an overlay beside them.
#[derive(Debug)]
pub struct Overlay {
    dir: TempDir,
}

impl Overlay {
    /// Makes an overlay of the base with these further lines of its `kustomization.yaml`.
    pub fn new(lines: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for copied in [BASE, EXAMPLE] {
            let mut cp = Command::new("cp");
            assert!(cp.arg("-r").arg(deploy(copied)).arg(dir.path()).status().unwrap().success());
        }
        let overlay = Self { dir };
        fs::create_dir(overlay.path("overlay")).unwrap();
        let head = "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\n";
        overlay.with("overlay/kustomization.yaml", &format!("{head}resources: [../{BASE}]\n{lines}"))
    }

    /// Writes a file, whose path is relative to the copy of `deploy/`.
    pub fn with(self, path: &str, text: &str) -> Self {
        fs::write(self.path(path), text).unwrap();
        self
    }

    /// Changes a text of a file that contains it.
    pub fn with_changed(self, path: &str, from: &str, to: &str) -> Self {
        let text = fs::read_to_string(self.path(path)).unwrap();
        assert!(text.contains(from), "{path}: {from}");
        self.with(path, &text.replace(from, to))
    }

    pub fn path(&self, path: &str) -> std::path::PathBuf {
        self.dir.path().join(path)
    }

    pub fn objects(&self) -> Objects {
        objects(&kustomize(NEW, &self.path("overlay")))
    }
}

/// Returns the answer of `kubectl kustomize`.
pub fn kustomize(kubectl: &str, dir: &Path) -> Output {
    let kubectl = tool(&format!("{kubectl}/usr/bin/kubectl")).unwrap();
    Command::new(kubectl).arg("kustomize").arg(dir).output().unwrap()
}

/// Returns the objects of a successful rendering.
pub fn objects(rendered: &Output) -> Objects {
    assert!(rendered.status.success() && rendered.stderr.is_empty(), "{rendered:?}");
    let documents = str::from_utf8(&rendered.stdout).unwrap().split("\n---\n");
    documents
        .map(|document| {
            let object: Value = serde_yaml::from_str(document).unwrap();
            let [kind, name] =
                [&object["kind"], &object["metadata"]["name"]].map(|one| one.as_str().unwrap());
            (format!("{kind}/{name}"), object)
        })
        .collect()
}

/// Returns the objects of the base as it is shipped.
pub fn base() -> Objects {
    objects(&kustomize(NEW, &deploy(BASE)))
}

/// Returns each value that only one of the renderings has, as `- KIND/NAME.FIELD: VALUE` (before) or `+ …` (after),
/// sorted. A list item with a name stands under its name, another under its position.
pub fn changes(before: &Objects, after: &Objects) -> Vec<String> {
    let [before, after] = [before, after].map(|objects| {
        let mut leaves = BTreeSet::new();
        objects.iter().for_each(|(name, object)| collect(name, object, &mut leaves));
        leaves
    });
    let gone = before.difference(&after).map(|leaf| format!("- {leaf}"));
    gone.chain(after.difference(&before).map(|leaf| format!("+ {leaf}"))).collect()
}

fn collect(at: &str, value: &Value, leaves: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            fields.iter().for_each(|(name, value)| collect(&format!("{at}.{name}"), value, leaves));
        }
        Value::Array(items) if !items.is_empty() => {
            for (index, item) in items.iter().enumerate() {
                let name = item["name"].as_str().map_or_else(|| index.to_string(), str::to_owned);
                collect(&format!("{at}.{name}"), item, leaves);
            }
        }
        Value::String(text) => _ = leaves.insert(format!("{at}: {text}")),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            _ = leaves.insert(format!("{at}: {value}"));
        }
    }
}
