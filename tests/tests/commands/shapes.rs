//! `docs/json.md` documents every field that a command prints as JSON, under the command's own heading.

use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;

use serde_json::Value;

use firewall_tests::lab::INTERFACE;

use crate::setup::{ORDERS, populated};

/// Collects the field names in the value, at any depth, except where keys are data.
fn fields(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(object) => {
            for (name, inner) in object {
                found.push(name.clone());
                if name != "repairs" {
                    fields(inner, found);
                }
            }
        }
        Value::Array(list) => list.iter().for_each(|inner| fields(inner, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[test]
fn nouns_print_the_documented_shapes() {
    let host = populated();
    let (stranger, server) = (Ipv4Addr::new(198, 51, 100, 9), Ipv4Addr::new(192, 0, 2, 10));
    let syn = host.frame(INTERFACE).ipv4(stranger, server).tcp(40_000, 30_092).build();
    host.wire(INTERFACE).send(&syn).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(200));
    // Produces a finding of `audit`.
    host.db.run("ip link add br0 type bridge").unwrap();
    host.db.run("ip link set br0 up").unwrap();
    let rules = host.home.rule_file("broken.yaml");
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/json.md")).unwrap();
    for noun in [
        &["status"][..],
        &["databases"],
        &["rules"],
        &["ranges"],
        &["explain", "203.0.113.7", ORDERS],
        &["denied"],
        &["denied", "--since", "1h"],
        &["events", "--top", "1000"],
        &["plan"],
        &["clock"],
        &["validate", rules.to_str().unwrap()],
        &["audit"],
    ] {
        let heading = format!("\n## {}\n", noun[0]);
        let section = text.split(&heading).nth(1).unwrap_or_else(|| panic!("{heading}: not there"));
        let section = section.split("\n## ").next().unwrap();
        let documented: Vec<&str> = section.split('`').skip(1).step_by(2).collect();
        let mut printed = Vec::new();
        fields(&host.json(noun), &mut printed);
        assert!(!printed.is_empty(), "{noun:?}");
        assert_eq!(
            printed.iter().any(|field| field == "advice"),
            noun[0] == "audit",
            "{noun:?}: {printed:?}"
        );
        for field in printed {
            assert!(documented.contains(&field.as_str()), "{noun:?}: {field:?} is not documented");
        }
    }
}
