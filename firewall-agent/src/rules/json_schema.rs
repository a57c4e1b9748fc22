//! JSON Schemas (2020-12) of both files, generated from the descriptions that the parser uses.

use serde_json::{Map, Value, json};

use super::database::FILE as DATABASE;
use super::ident::MAX_CHARS as IDENT;
use super::parser::{Field, Kind, MAX_LABEL_CHARS as LABEL, Requirement, Shape};
use super::ranges::FILE as RANGES;
use crate::escape::is_forbidden;

const OCTET: &str = "(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])";
const MAPPED: &str = "^(::|0*:0*:0*:0*:0*:)[fF]{4}:";

/// Schema of a rule file.
#[must_use]
pub fn database_schema() -> Value {
    schema(
        &DATABASE,
        "Rule file of one database",
        "The agent also checks rules that a schema cannot express: the closing line `...`, duplicate ids and \
         endpoints, an endpoint without address beside one with, `host`, and whether this host accepts \
         `mode: monitor`. The agent refuses anchors, aliases, tags, a second document, and numbers that are \
         not in plain decimal digits.",
    )
}

/// Schema of the managed ranges.
#[must_use]
pub fn ranges_schema() -> Value {
    schema(
        &RANGES,
        "Managed ranges",
        "The agent also checks rules that a schema cannot express: the closing line `...`, and duplicate \
         ids.",
    )
}

fn schema(shape: &Shape, title: &str, description: &str) -> Value {
    let mut schema = map(shape);
    let ipv6 = ipv6();
    let v4 = format!("({OCTET}\\.){{3}}{OCTET}");
    schema["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    schema["title"] = json!(title);
    schema["description"] = json!(description);
    schema["$defs"] = json!({
        "ident": {"type": "string", "pattern": format!("^[A-Za-z0-9_-]{{1,{IDENT}}}$")},
        "label": {"type": "string", "maxLength": LABEL, "pattern": harmless(), "description": "For people"},
        "time": {
            "type": "string",
            "pattern": "^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]\
                        (\\.[0-9]{1,9})?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])$",
            "not": {"pattern": "^0001-01-01T00:00:00(\\.0+)?Z$"},
            "description": "RFC 3339 with its offset from UTC; not Go's zero time",
        },
        "cidr": {
            "type": "string",
            "pattern": format!("^({v4}/(3[0-2]|[12]?[0-9])|({ipv6})/(12[0-8]|1[01][0-9]|[1-9]?[0-9]))$"),
            "not": {"pattern": MAPPED},
            "description": "Host bits may be set: they are cleared, with a warning",
        },
        "address": {
            "type": "string",
            "pattern": format!("^({v4}|{ipv6})$"),
            "not": {"anyOf": [
                {"pattern": MAPPED},
                {"pattern": r"^(0\.0\.0\.0|255\.255\.255\.255|(22[4-9]|23[0-9])\..*)$"},
                {"pattern": "^[0:]+$"},
                {"pattern": "^[fF]{2}[0-9A-Fa-f]{2}:"},
            ]},
            "description": "Neither unspecified, nor broadcast, nor multicast, nor IPv4-mapped",
        },
    });
    schema
}

/// Pattern of text without forbidden characters.
fn harmless() -> String {
    let forbidden: Vec<char> = ('\0'..=char::MAX).filter(|c| is_forbidden(*c)).collect();
    let runs = forbidden.chunk_by(|a, b| u32::from(*a) + 1 == u32::from(*b));
    let ranges = runs.map(|run| match (run[0], run[run.len() - 1]) {
        (one, last) if one == last => format!("\\u{:04x}", u32::from(one)),
        (first, last) => format!("\\u{:04x}-\\u{:04x}", u32::from(first), u32::from(last)),
    });
    format!("^[^{}]*$", ranges.collect::<String>())
}

fn map(shape: &Shape) -> Value {
    let names = |is_listed: &dyn Fn(Requirement) -> bool| -> Vec<&str> {
        shape.fields.iter().filter(|field| is_listed(field.requirement)).map(|field| field.name).collect()
    };
    let properties: Map<String, Value> =
        shape.fields.iter().map(|field| (field.name.to_owned(), value(field))).collect();
    let mut map = json!({
        "type": "object",
        "additionalProperties": false,
        "required": names(&|one| one == Requirement::Required),
        "properties": properties,
    });
    let mut conditions: Vec<(&str, &str)> = Vec::new();
    for field in shape.fields {
        if let Requirement::RequiredIf(other, value) | Requirement::OnlyIf(other, value) = field.requirement
            && !conditions.contains(&(other, value))
        {
            conditions.push((other, value));
        }
    }
    let conditions: Vec<Value> = conditions
        .into_iter()
        .map(|(other, value)| {
            let applies = |one| {
                one == Requirement::RequiredIf(other, value) || one == Requirement::OnlyIf(other, value)
            };
            let properties = |of: &dyn Fn(&Field) -> Option<Value>| -> Map<String, Value> {
                let fields = shape.fields.iter().filter(|field| applies(field.requirement));
                fields.filter_map(|field| Some((field.name.to_owned(), of(field)?))).collect()
            };
            let least = properties(&|field| {
                let Kind::Maps { least: least @ 1.., .. } = field.value else { return None };
                Some(json!({"minItems": least}))
            });
            let surplus = properties(&|field| {
                matches!(field.requirement, Requirement::OnlyIf(..)).then(|| json!(false))
            });
            json!({
                "if": {"properties": {other: {"const": value}}},
                "then": {"required": names(&applies), "properties": least},
                "else": {"properties": surplus},
            })
        })
        .collect();
    if !conditions.is_empty() {
        map["allOf"] = json!(conditions);
    }
    map
}

fn value(field: &Field) -> Value {
    let named = |name: &str| json!({"$ref": format!("#/$defs/{name}")});
    let mut value = match &field.value {
        Kind::Number(range) if range.start() == range.end() => json!({"const": range.start()}),
        Kind::Number(range) => json!({"type": "integer", "minimum": range.start(), "maximum": range.end()}),
        Kind::Flag => json!({"type": "boolean", "default": false}),
        Kind::Ident => named("ident"),
        Kind::Label => named("label"),
        Kind::Host => json!({"type": "string", "minLength": 1, "maxLength": LABEL, "pattern": harmless()}),
        Kind::Time => named("time"),
        Kind::Cidr => named("cidr"),
        Kind::Address => named("address"),
        Kind::Choice(values) if field.requirement == Requirement::Optional => {
            json!({"enum": values, "default": values[0]})
        }
        Kind::Choice(values) => json!({"enum": values}),
        Kind::Cidrs => json!({"type": "array", "items": named("cidr")}),
        Kind::Maps { of, most: None, .. } => json!({"type": "array", "items": map(of)}),
        Kind::Maps { of, most: Some(most), .. } => {
            json!({"type": "array", "maxItems": most, "items": map(of)})
        }
    };
    if !field.note.is_empty() {
        value["description"] = json!(field.note);
    }
    value
}

/// Pattern of every spelling of an IPv6 address without dots, longest first.
fn ipv6() -> String {
    let group = "[0-9A-Fa-f]{1,4}";
    let mut patterns = vec![format!("({group}:){{7}}{group}"), format!("({group}:){{1,7}}:")];
    patterns.extend(
        (1..=5).rev().map(|before| format!("({group}:){{1,{}}}(:{group}){{1,{}}}", before + 1, 6 - before)),
    );
    patterns.push(format!("{group}:(:{group}){{1,6}}"));
    patterns.push(format!(":(:{group}){{1,7}}|::"));
    patterns.join("|")
}
