//! Accepted files and their parsed values.

use firewall_agent::config::Config;

use crate::fixtures::{Kind, fixtures, none, read};

#[test]
fn every_valid_fixture_is_read_as_recorded() {
    let mut differences = Vec::new();
    for fixture in
        [Kind::Databases, Kind::Ranges, Kind::Config].into_iter().flat_map(|kind| fixtures("valid", kind))
    {
        match read(fixture.kind, &fixture.bytes) {
            Ok(summary) => differences.extend(fixture.check(&summary)),
            Err(problems) => differences.push(format!("{}: refused: {problems:?}", fixture.path.display())),
        }
    }
    none(differences);
}

#[test]
fn configuration_requires_values_without_default_and_flags_win() {
    let missing = Config::resolve(Default::default(), Default::default(), "h").unwrap_err().to_string();
    assert!(missing.contains("interfaces: needs") && missing.contains("guarded_ports: missing"), "{missing}");

    let given = |bytes: &str| firewall_agent::config::read_config(bytes.as_bytes()).unwrap().value;
    let file = given("{interfaces: [eth0], guarded_ports: [5432], max_databases: 5, node_name: a}");
    let flags = given("{guarded_ports: [], max_databases: 6}");
    let config = Config::resolve(file.clone(), flags, "h").unwrap();
    assert!(config.guarded_ports.is_empty());
    assert_eq!((config.max_databases, config.max_endpoints, config.node_name.as_str()), (6, 1024, "a"));
    let config =
        Config::resolve(given("{interfaces: [e], guarded_ports: [1]}"), Default::default(), "h").unwrap();
    assert_eq!(config.limits().node_name.as_deref(), Some("h"));
    assert_eq!(config.limits().max_rules, 30);
}
