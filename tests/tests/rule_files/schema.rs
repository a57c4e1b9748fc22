//! The JSON Schemas for control planes agree with the parser, as far as a schema can.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use firewall_agent::rules::{Limits, database_schema, ranges_schema, read_database, read_ranges};
use serde_json::{Value, json};

use crate::fixtures::{Kind, fixtures};

/// Invalid fixtures that the schema accepts: YAML hides the error from it, or the error involves two fields, the
/// calendar, or this host.
const BEYOND: &[&str] = &[
    "anchor",
    "bidi-override-in-comment",
    "comment-after-marker",
    "core-tag",
    "custom-tag",
    "duplicate-rule-id",
    "endpoint-twice-in-two-notations",
    "endpoint-twice",
    "endpoint-wildcard-over-address",
    "endpoint-wildcard-twice",
    "generated-at-impossible",
    "marker-missing",
    "marker-with-comment",
    "merge-key",
    "mode-monitor-not-allowed",
    "other-host",
    "port-hexadecimal",
    "revision-fraction",
    "revision-hexadecimal",
    "revision-with-leading-zero",
    "revision-with-plus",
    "revision-with-underscore",
    "schema-version-hexadecimal",
    "yaml-directive",
    "accept-shrink-in-words",
    "duplicate-range-id",
];
/// Valid fixtures that the schema rejects: the parser accepts any plain scalar as text.
const LAX: &[&str] = &["names-of-digits-and-words"];

const VALIDATOR: &str = "
import json, sys
from jsonschema import Draft202012Validator
request = json.load(sys.stdin)
Draft202012Validator.check_schema(request['schema'])
validator = Draft202012Validator(request['schema'])
json.dump([validator.is_valid(document) for document in request['documents']], sys.stdout)
";

/// Returns for each document whether the schema accepts it.
fn accepted(kind: Kind, documents: &[Value]) -> Vec<bool> {
    let name = if kind == Kind::Ranges { "managed-ranges" } else { "database" };
    let path = format!("{}/../deploy/schema/{name}.schema.json", env!("CARGO_MANIFEST_DIR"));
    let schema: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let mut python = Command::new("/usr/bin/python3");
    python.args(["-c", VALIDATOR]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = python.spawn().unwrap();
    let question = json!({"schema": schema, "documents": documents}).to_string();
    child.stdin.take().unwrap().write_all(question.as_bytes()).unwrap();
    let out = child.wait_with_output().unwrap();
    assert!(out.status.success(), "python3: {}", out.status);
    serde_json::from_slice(&out.stdout).unwrap()
}

/// Returns the file as a control plane in any language parses it; `None` if it is not YAML.
fn document(bytes: &[u8]) -> Option<Value> {
    serde_yaml::from_str(str::from_utf8(bytes).ok()?).ok()
}

/// `UPDATE_EXPECTED=1` rewrites the files.
#[test]
fn published_schemas_are_up_to_date() {
    for (name, schema) in [("database", database_schema()), ("managed-ranges", ranges_schema())] {
        let path = format!("{}/../deploy/schema/{name}.schema.json", env!("CARGO_MANIFEST_DIR"));
        let made = format!("{schema:#}\n");
        if std::env::var_os("UPDATE_EXPECTED").is_some() {
            std::fs::write(&path, &made).unwrap();
        }
        assert!(std::fs::read_to_string(&path).unwrap() == made, "{path}: UPDATE_EXPECTED=1 makes it anew");
    }
}

#[test]
fn schema_accepts_valid_fixtures_and_rejects_invalid_ones() {
    for kind in [Kind::Databases, Kind::Ranges] {
        for (validity, expected) in [("valid", true), ("invalid", false)] {
            let read: Vec<(String, Value)> = fixtures(validity, kind)
                .iter()
                .filter_map(|fixture| Some((stem(&fixture.path), document(&fixture.bytes)?)))
                .collect();
            let documents: Vec<Value> = read.iter().map(|(_, document)| document.clone()).collect();
            let wrong: Vec<&str> = read
                .iter()
                .zip(accepted(kind, &documents))
                .filter(|((name, _), accepted)| {
                    let known = if expected { LAX } else { BEYOND };
                    *accepted != (expected ^ known.contains(&name.as_str()))
                })
                .map(|((name, _), _)| name.as_str())
                .collect();
            assert!(wrong.is_empty(), "{kind:?} {validity}: {wrong:#?}");
        }
    }
}

/// Every change of one value of every valid file: the parser accepts each file that the schema accepts.
#[test]
fn parser_accepts_what_the_schema_accepts() {
    let limits = Limits { max_rules: 30, allow_monitor: true, node_name: Some("db-host-17".to_owned()) };
    let mut both = 0;
    for kind in [Kind::Databases, Kind::Ranges] {
        let mut documents = Vec::new();
        for fixture in fixtures("valid", kind) {
            changes(&document(&fixture.bytes).unwrap(), &mut documents);
        }
        let accepted = accepted(kind, &documents);
        for (document, _) in documents.iter().zip(accepted).filter(|(_, accepted)| *accepted) {
            // JSON is YAML.
            let text = format!("{document}\n...\n");
            let problems = match kind {
                Kind::Ranges => read_ranges(text.as_bytes()).err(),
                Kind::Databases | Kind::Config => read_database(text.as_bytes(), &limits).err(),
            };
            let messages: Vec<String> =
                problems.unwrap_or_default().iter().map(ToString::to_string).collect();
            // Errors that involve two fields, or this host.
            let beyond = ["duplicate", "already claimed", "overlaps", "another host"];
            assert!(
                messages.iter().all(|problem| beyond.iter().any(|words| problem.contains(words))),
                "{text}{messages:#?}"
            );
            both += usize::from(messages.is_empty());
        }
        assert!(both > 100, "{kind:?}: only {both} changed files were accepted by both");
    }
}

/// Returns the document with one value removed, replaced, or added.
fn changes(document: &Value, into: &mut Vec<Value>) {
    let mut pointers = vec![String::new()];
    gather(document, "", &mut pointers);
    // Long lists are repetitive.
    for pointer in pointers.iter().take(25) {
        let mut change = |with: &dyn Fn(&mut Value)| {
            let mut changed = document.clone();
            with(changed.pointer_mut(pointer).unwrap());
            into.push(changed);
        };
        for value in replacements() {
            change(&|value_at| *value_at = value.clone());
        }
        change(&|value_at| {
            if let Value::Object(fields) = value_at {
                fields.insert("surplus".to_owned(), json!(1));
            }
        });
        let names: Vec<String> = match document.pointer(pointer) {
            Some(Value::Object(fields)) => fields.keys().cloned().collect(),
            _ => Vec::new(),
        };
        for name in names {
            change(&|value_at| drop(value_at.as_object_mut().and_then(|fields| fields.remove(&name))));
        }
    }
}

fn replacements() -> Vec<Value> {
    let texts = [
        "",
        "x",
        "a b",
        "enforce",
        "monitor",
        "removed",
        "udp",
        "custom_range",
        "managed_range",
        "0.0.0.0/0",
        "10.0.0.1",
        "10.0.0.0/33",
        "10.0.0.0/08",
        "010.0.0.0/8",
        "::/0",
        "::ffff:1.2.3.4/128",
        "::ffff:102:304/128",
        "0:0:0:0:0:ffff:102:304",
        "2001:db8::1",
        "1:2:3:4:5:6:7::/64",
        "1::2:3:4:5:6:7:8",
        "1:::2",
        "224.0.0.1",
        "ff02::1",
        "0.0.0.0",
        "::",
        "::0",
        "255.255.255.255",
        "2026-08-21T15:27:60Z",
        "2026-08-21T15:27:32.5+02:00",
        "2026-08-21t15:27:32z",
        "a\u{202e}b",
        "tab\t",
        "30092",
        "1",
    ];
    let long = ["x".repeat(64), "x".repeat(65), "é".repeat(256), "é".repeat(257)];
    let texts = texts.into_iter().map(str::to_owned).chain(long).map(Value::String);
    let others =
        [json!(null), json!([]), json!({}), json!(true), json!(0), json!(1), json!(-1), json!(65_535)];
    let numbers = [json!(65_536), json!(1.5), json!(u64::MAX)];
    texts.chain(others).chain(numbers).collect()
}

fn gather(value: &Value, at: &str, into: &mut Vec<String>) {
    let inside: Vec<(String, &Value)> = match value {
        Value::Object(fields) => fields.iter().map(|(name, value)| (name.clone(), value)).collect(),
        Value::Array(items) => {
            items.iter().enumerate().map(|(index, value)| (index.to_string(), value)).collect()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Vec::new(),
    };
    for (name, value) in inside {
        let pointer = format!("{at}/{name}");
        gather(value, &pointer, into);
        into.push(pointer);
    }
}

fn stem(path: &Path) -> String {
    path.file_stem().unwrap().to_string_lossy().into_owned()
}
