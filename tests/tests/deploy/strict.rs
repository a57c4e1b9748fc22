//! Strict decoding of manifests against the field definitions of the Kubernetes API: unknown fields, duplicate keys,
//! missing fields, values of another type and nulls are errors. The API server refuses a null in a list and silently
//! drops one in a field. Files that kustomize reads are decoded without definitions, see [`raw_problems`].

use std::fs;

use firewall_tests::lab::tool;
use serde_json::{Map, Value};

/// Path of the definitions of the checked API version.
const DEFINITIONS: &str = "v1.37.0-local-strict/_definitions.json";

/// Fields of every kind of the API, with their types.
pub struct Definitions(Map<String, Value>);

impl Definitions {
    /// Loads the definitions that `kubernetes-validate` ships.
    pub fn load() -> Self {
        let python = fs::read_dir(tool("kubernetes-validate/lib").unwrap()).unwrap();
        let paths = python.map(|dir| {
            let dir = dir.unwrap().path().join("site-packages/kubernetes_validate");
            dir.join("kubernetes-json-schema").join(DEFINITIONS)
        });
        let [path] = &paths.filter(|path| path.exists()).collect::<Vec<_>>()[..] else {
            panic!("no single {DEFINITIONS}");
        };
        let mut file: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
        let Value::Object(all) = file["$defs"].take() else { panic!("{}: no $defs", path.display()) };
        Self(all)
    }

    /// Returns every problem of the manifest, each with the path of its field; none for a valid one.
    pub fn problems(&self, manifest: &str) -> Vec<String> {
        let value: Value = match serde_yaml::from_str(manifest) {
            Ok(value) => value,
            Err(error) => return vec![error.to_string()],
        };
        let mut problems = Vec::new();
        match self.kind(&value) {
            Some(definition) => self.judge("", &value, definition, &mut problems),
            None => problems.push(format!("{} {}: no such kind", value["apiVersion"], value["kind"])),
        }
        problems
    }

    /// Returns the definition of the kind that the value states.
    fn kind(&self, value: &Value) -> Option<&Value> {
        let (version, kind) = (value["apiVersion"].as_str()?, value["kind"].as_str()?);
        let (group, version) = version.split_once('/').unwrap_or(("", version));
        self.0.values().find(|definition| {
            let kinds = definition["x-kubernetes-group-version-kind"].as_array();
            kinds.is_some_and(|kinds| {
                kinds
                    .iter()
                    .any(|one| one["group"] == group && one["version"] == version && one["kind"] == kind)
            })
        })
    }

    fn judge(&self, at: &str, value: &Value, definition: &Value, problems: &mut Vec<String>) {
        if let Some(reference) = definition["$ref"].as_str() {
            let name = reference.rsplit('/').next().unwrap();
            return self.judge(at, value, &self.0[name], problems);
        }
        if value.is_null() {
            return problems.push(format!("{at}: null"));
        }
        if let Some(alternatives) = definition["oneOf"].as_array() {
            if !alternatives.iter().any(|one| has_type(value, one)) {
                problems.push(format!("{at}: {value}: of another type"));
            }
            return;
        }
        if !has_type(value, definition) {
            return problems.push(format!("{at}: {value}: not {}", definition["type"]));
        }
        if let Some(values) = definition["enum"].as_array()
            && !values.contains(value)
        {
            problems.push(format!("{at}: {value}: none of {values:?}"));
        }
        match value {
            Value::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    self.judge(&format!("{at}[{index}]"), item, &definition["items"], problems);
                }
            }
            Value::Object(fields) => self.judge_fields(at, fields, definition, problems),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    fn judge_fields(
        &self,
        at: &str,
        fields: &Map<String, Value>,
        definition: &Value,
        problems: &mut Vec<String>,
    ) {
        for (name, value) in fields {
            let at = format!("{at}.{name}");
            match (definition["properties"].get(name), &definition["additionalProperties"]) {
                (Some(field), _) | (None, field @ Value::Object(_)) => {
                    self.judge(&at, value, field, problems);
                }
                (None, _) => problems.push(format!("{at}: unknown field")),
            }
        }
        for required in definition["required"].as_array().into_iter().flatten() {
            let name = required.as_str().unwrap();
            if !fields.contains_key(name) {
                problems.push(format!("{at}.{name}: missing"));
            }
        }
    }
}

/// Returns every duplicate key and every null of a file as it is in the source tree, with the path of the null; of a
/// patch inside a `kustomization.yaml`, too. kustomize reports neither.
pub fn raw_problems(text: &str) -> Vec<String> {
    let documents: Vec<Value> = match serde_yaml::from_multiple(text) {
        Ok(documents) => documents,
        Err(error) => return vec![error.to_string()],
    };
    let mut problems = Vec::new();
    if documents.is_empty() {
        problems.push("no document".to_owned());
    }
    documents.iter().for_each(|document| find_nulls("", document, &mut problems));
    for patch in documents.iter().filter_map(|document| document["patches"].as_array()).flatten() {
        if let Some(text) = patch["patch"].as_str() {
            problems.extend(
                raw_problems(text).iter().map(|problem| format!("patch {}: {problem}", patch["target"])),
            );
        }
    }
    problems
}

fn find_nulls(at: &str, value: &Value, problems: &mut Vec<String>) {
    match value {
        Value::Null => problems.push(format!("{at}: null")),
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                find_nulls(&format!("{at}[{index}]"), item, problems);
            }
        }
        Value::Object(fields) => {
            for (name, value) in fields {
                find_nulls(&format!("{at}.{name}"), value, problems);
            }
        }
        Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// The definitions allow null beside every type; `judge` has refused it before.
fn has_type(value: &Value, definition: &Value) -> bool {
    let is = |name: &Value| match name.as_str() {
        Some("object") => value.is_object(),
        Some("array") => value.is_array(),
        Some("string") => value.is_string(),
        Some("boolean") => value.is_boolean(),
        Some("integer") => value.is_i64(),
        Some("number") => value.is_number(),
        _ => false,
    };
    let types = &definition["type"];
    types.as_array().map_or_else(|| is(types), |names| names.iter().any(is))
}
