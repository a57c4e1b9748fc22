//! The monitoring files of `deploy/`: alert rules and a dashboard.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use firewall_agent::status::Condition;
use firewall_tests::lab::Answer;

use crate::setup::{Http as _, OFFICE_RULE, listening};

/// Exists from the first repair on.
const REPAIRS: &str = "firewall_drift_repairs_total";

pub fn deployed(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy").join(name)
}

pub fn dashboard() -> Value {
    serde_json::from_str(&fs::read_to_string(deployed("grafana/dashboard.json")).unwrap()).unwrap()
}

/// Returns the queries of every panel and annotation.
pub fn queries(dashboard: &Value) -> Vec<String> {
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let targets = panels.flat_map(|panel| panel["targets"].as_array().unwrap());
    let notes = dashboard["annotations"]["list"].as_array().unwrap();
    targets.chain(notes).map(|target| target["expr"].as_str().unwrap().to_owned()).collect()
}

fn promtool(dir: &Path, arguments: &[&str]) -> (bool, String) {
    let answer = Answer::of(Command::new("promtool").args(arguments).current_dir(dir)).unwrap();
    (answer.code == Some(0), answer.out + &answer.err)
}

/// Returns the metrics that a text names.
fn named(text: &str) -> BTreeSet<&str> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .filter(|word| word.starts_with("firewall_"))
        .collect()
}

#[test]
fn alert_rules_pass_their_tests_which_cover_every_alert() {
    let dir = deployed("prometheus");
    let (fine, output) = promtool(&dir, &["check", "rules", "--lint=all", "--lint-fatal", "rules.yaml"]);
    assert!(fine, "{output}");
    let (passed, output) = promtool(&dir, &["test", "rules", "rules.test.yaml"]);
    assert!(passed, "{output}");
    // Controls: the tests miss each removed alert, and require each alert to be silent on a quiet host.
    let rules = fs::read_to_string(dir.join("rules.yaml")).unwrap();
    let tests = fs::read_to_string(dir.join("rules.test.yaml")).unwrap();
    let names: Vec<&str> = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(names.len() >= 12, "{names:?}");
    let copy = tempfile::tempdir().unwrap();
    fs::write(copy.path().join("rules.test.yaml"), &tests).unwrap();
    for name in names {
        let changed = rules.replace(&format!("- alert: {name}\n"), "- alert: FirewallOther\n");
        fs::write(copy.path().join("rules.yaml"), changed).unwrap();
        let (passed, _) = promtool(copy.path(), &["test", "rules", "rules.test.yaml"]);
        assert!(!passed, "{name} is gone, and no test misses it");
        assert!(tests.contains(&format!("alertname: {name}, exp_alerts: []")), "{name} may fire for nothing");
    }
}

#[test]
fn guide_has_an_action_for_exactly_the_alerts() {
    let on_nodes = "kubernetes/components/prometheus-operator/prometheusrule-nodes.yaml";
    let rules = ["prometheus/rules.yaml", on_nodes].map(|file| fs::read_to_string(deployed(file)).unwrap());
    let lines = rules.iter().flat_map(|rules| rules.lines());
    let alerts: BTreeSet<&str> = lines.filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    let guide = fs::read_to_string(deployed("../docs/on-call.md")).unwrap();
    let sections = guide.lines().filter_map(|line| line.strip_prefix("### "));
    assert_eq!(sections.filter(|heading| heading.starts_with("Firewall")).collect::<BTreeSet<_>>(), alerts);
}

#[test]
fn guide_has_a_row_for_each_condition() {
    let guide = fs::read_to_string(deployed("../docs/on-call.md")).unwrap();
    let section = guide.split("## Conditions\n").nth(1).unwrap().split("\n## ").next().unwrap();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    let rows: Vec<(&str, bool)> = rows.map(|(name, rest)| (name, rest.starts_with(" †"))).collect();
    let all = Condition::ALL.map(|condition| (condition.name(), condition.blocks_readiness()));
    assert_eq!(rows, all);
}

#[test]
fn every_metric_of_dashboard_and_rules_is_exported() {
    let host = listening();
    host.apply("orders", 1, &[OFFICE_RULE]);
    let scrape = host.scrape();
    let rules = fs::read_to_string(deployed("prometheus/rules.yaml")).unwrap();
    let queries = queries(&dashboard()).join("\n");
    let manual = fs::read_to_string(deployed("../docs/monitoring.md")).unwrap();
    let names = scrape.names();
    for (text, least) in [(&rules, 10), (&queries, 20)] {
        let named = named(text);
        assert!(named.len() >= least, "{named:?}");
        for name in named {
            let has_series = scrape.series.keys().any(|series| series.split('{').next() == Some(name));
            assert!(has_series || name == REPAIRS, "{name} has no series in\n{}", scrape.text);
        }
    }
    // The README documents every metric of the scrape, and no other.
    let base = |name: &str| {
        ["_bucket", "_sum", "_count"]
            .iter()
            .fold(name.to_owned(), |name, end| name.trim_end_matches(end).to_owned())
    };
    for name in names.iter().map(|name| base(name)) {
        let short = name.strip_prefix("firewall_database").unwrap_or(&name);
        assert!(manual.contains(short), "{name} is not in docs/monitoring.md");
    }
    for name in named(&manual).into_iter().filter(|name| *name != "firewall_" && *name != REPAIRS) {
        assert!(names.contains(name), "{name} is in docs/monitoring.md only");
    }
}

#[test]
fn dashboard_panels_have_titles_descriptions_and_do_not_overlap() {
    let dashboard = dashboard();
    let panels = dashboard["panels"].as_array().unwrap();
    let mut cells = BTreeSet::new();
    for panel in panels {
        for field in ["title", "description", "type"] {
            assert!(panel[field].as_str().is_some_and(|text| !text.is_empty()), "{field}: {panel:#}");
        }
        let at = |name: &str| panel["gridPos"][name].as_u64().unwrap();
        for (x, y) in (0..at("w")).flat_map(|x| (0..at("h")).map(move |y| (x, y))) {
            assert!(cells.insert((at("x") + x, at("y") + y)), "it covers another: {}", panel["title"]);
        }
        assert!(at("x") + at("w") <= 24, "too wide: {}", panel["title"]);
    }
    let ids: BTreeSet<u64> = panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
    assert_eq!(ids.len(), panels.len());
}
