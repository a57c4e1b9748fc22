//! The bill of materials of the artefacts.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use firewall_tests::lab::{artefact, tool};
use serde_json::{Value, json};

const TARGET: &str = "-unknown-linux-musl/";
const VALIDATE: &str = "
import sys
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
found = JsonStrictValidator(SchemaVersion.V1_6).validate_str(open(sys.argv[1]).read())
sys.exit(found and str(found))
";

type Named = BTreeSet<(String, String)>;

fn bill() -> Value {
    serde_json::from_slice(&fs::read(artefact("firewall-agent.cdx.json").unwrap()).unwrap()).unwrap()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value}")).to_owned()
}

/// Returns the crates of one part of the program.
fn crates(bill: &Value, part: &str) -> Named {
    let is_crate = |one: &&Value| one["purl"].as_str().is_some_and(|purl| purl.starts_with("pkg:cargo/"));
    let part = json!({"name": "firewall:part", "value": part});
    let is_in = |one: &&Value| one["properties"].as_array().is_some_and(|list| list.contains(&part));
    let components = bill["components"].as_array().unwrap().iter().filter(is_crate).filter(is_in);
    components.map(|one| (text(&one["name"]), text(&one["version"]))).collect()
}

/// Returns the crates that cargo compiled for the target, from its messages.
fn compiled() -> Named {
    let messages = fs::read_to_string(artefact("compiled.json").unwrap()).unwrap();
    let messages = messages.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let for_target = |message: &Value| {
        let files = message["filenames"].as_array();
        files.is_some_and(|files| files.iter().any(|file| text(file).contains(TARGET)))
    };
    let built = messages.filter(|message| message["reason"] == "compiler-artifact" && for_target(message));
    built
        .map(|message| {
            // `registry+https://…#name@1.0.0`, `path+file:///…/name#0.1.0`
            let id = text(&message["package_id"]);
            let (location, named) = id.rsplit_once('#').unwrap();
            let (name, version) =
                named.split_once('@').unwrap_or((location.rsplit('/').next().unwrap(), named));
            (name.to_owned(), version.to_owned())
        })
        .collect()
}

#[test]
fn sbom_passes_a_cyclonedx_validator() {
    let path = artefact("firewall-agent.cdx.json").unwrap();
    let python = tool("cyclonedx-python-lib/bin/python").unwrap();
    let validate = |path: &Path| Command::new(&python).args(["-c", VALIDATE]).arg(path).output().unwrap();
    let validated = validate(&path);
    assert!(validated.status.success(), "{validated:?}");
    // Control: an invalid document is refused.
    let dir = tempfile::tempdir().unwrap();
    let wrong = dir.path().join("wrong.cdx.json");
    fs::write(&wrong, fs::read_to_string(&path).unwrap().replace("\"SHA-256\"", "\"SHA256\"")).unwrap();
    assert!(!validate(&wrong).status.success());
}

#[test]
fn sbom_lists_every_linked_crate_with_version_licence_and_checksum() {
    let bill = bill();
    let (listed, compiled) = (crates(&bill, "agent"), compiled());
    assert!(compiled.len() > 100, "{compiled:?}");
    let missing = |listed: &Named| compiled.difference(listed).cloned().collect::<Vec<_>>();
    assert_eq!(missing(&listed), []);
    assert_eq!(listed.difference(&compiled).collect::<Vec<_>>(), Vec::<&(String, String)>::new());
    // Control: a missing crate is detected.
    let fewer: Named = listed.iter().filter(|(name, _)| name != "tokio").cloned().collect();
    assert_eq!(missing(&fewer).len(), 1);

    let xdp = crates(&bill, "xdp");
    let has = |name: &str| xdp.iter().any(|(one, _)| one == name);
    assert!(has("firewall-ebpf") && has("aya-ebpf") && has("firewall-common") && !has("tokio"), "{xdp:?}");

    let lock = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.lock")).unwrap();
    for one in bill["components"].as_array().unwrap() {
        let name = text(&one["name"]);
        assert!(!text(&one["licenses"][0]["expression"]).is_empty(), "{name}");
        if one["purl"].as_str().unwrap().starts_with("pkg:cargo/") && !name.starts_with("firewall-") {
            let (version, checksum) = (text(&one["version"]), text(&one["hashes"][0]["content"]));
            let entry = format!("name = \"{name}\"\nversion = \"{version}\"\nsource = ");
            let (_, rest) = lock.split_once(&entry).unwrap_or_else(|| panic!("{name}: not in Cargo.lock"));
            assert!(rest.lines().nth(1).unwrap().contains(&checksum), "{name}");
        }
    }
}

#[test]
fn sbom_describes_this_program_and_is_consistent() {
    let bill = bill();
    let program = artefact("firewall-agent").unwrap();
    let sum = Command::new("sha256sum").arg(&program).output().unwrap();
    let sum = String::from_utf8(sum.stdout).unwrap();
    let component = &bill["metadata"]["component"];
    assert!(sum.starts_with(component["hashes"][0]["content"].as_str().unwrap()));
    let facts: BTreeMap<_, _> = component["properties"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (text(&one["name"]), text(&one["value"])))
        .collect();
    assert_eq!(facts["firewall:object_sha256"], crate::version_output::VersionOutput::of(&program).object);
    let references: BTreeSet<_> =
        bill["components"].as_array().unwrap().iter().map(|one| text(&one["bom-ref"])).collect();
    let mut reached = BTreeSet::from(["firewall:firewall-agent".to_owned()]);
    let needs: BTreeMap<String, Vec<String>> = bill["dependencies"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (text(&one["ref"]), one["dependsOn"].as_array().unwrap().iter().map(text).collect()))
        .collect();
    let mut open: Vec<String> = reached.iter().cloned().collect();
    while let Some(one) = open.pop() {
        for need in needs.get(&one).into_iter().flatten() {
            if reached.insert(need.clone()) {
                open.push(need.clone());
            }
        }
    }
    assert_eq!(reached, references);
}
