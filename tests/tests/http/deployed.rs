//! The monitoring files of `deploy/`: alert rules and a dashboard.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use firewall_agent::status::Condition;
use firewall_tests::lab::Answer;

use crate::setup::{Http as _, OFFICE_RULE, listening};

const NODE_RULES: &str = "kubernetes/components/prometheus-operator/prometheusrule-nodes.yaml";
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

/// Where the links of the alerts lead until a provider replaces it.
const RUNBOOKS: &str = "https://runbooks.example.com/";
const ON_CALL: &str = "docs/on-call.md";

fn on_call() -> String {
    fs::read_to_string(deployed("..").join(ON_CALL)).unwrap()
}

/// Returns each alert of every rule file, with its annotations.
fn alerts() -> Vec<(String, Value)> {
    let files = ["prometheus/rules.yaml", NODE_RULES].map(|file| fs::read_to_string(deployed(file)).unwrap());
    let mut alerts = Vec::new();
    for file in files {
        let rules: Value = serde_yaml::from_str(&file).unwrap();
        let groups = rules.pointer("/spec/groups").unwrap_or(&rules["groups"]).as_array().unwrap();
        for rule in groups.iter().flat_map(|group| group["rules"].as_array().unwrap()) {
            alerts.push((rule["alert"].as_str().unwrap().to_owned(), rule["annotations"].clone()));
        }
    }
    alerts
}

/// Returns the alerts whose link leads to no heading of the guide.
fn without_runbook(alerts: &[(String, Value)], guide: &str) -> Vec<String> {
    let headings = guide.lines().filter_map(|line| line.strip_prefix("### "));
    let links: BTreeSet<String> =
        headings.map(|heading| format!("{RUNBOOKS}{ON_CALL}#{}", heading.to_lowercase())).collect();
    let leads_nowhere = |(name, annotations): &&(String, Value)| {
        let link = annotations["runbook_url"].as_str().unwrap_or_default();
        !link.ends_with(&format!("#{}", name.to_lowercase())) || !links.contains(link)
    };
    alerts.iter().filter(leads_nowhere).map(|(name, _)| name.clone()).collect()
}

#[test]
fn each_alert_links_to_its_section_of_the_runbook() {
    let (mut alerts, guide) = (alerts(), on_call());
    assert_eq!(without_runbook(&alerts, &guide), [""; 0]);
    // Controls: a missing heading, a link to another alert, no link.
    let (first, last) = (alerts[0].0.clone(), alerts.len() - 1);
    let renamed = guide.replace(&format!("### {first}\n"), "### Another\n");
    assert_eq!(without_runbook(&alerts, &renamed), std::slice::from_ref(&first));
    alerts[0].1["runbook_url"] = alerts[last].1["runbook_url"].clone();
    alerts[last].1["runbook_url"] = Value::Null;
    assert_eq!(without_runbook(&alerts, &guide), [first, alerts[last].0.clone()]);
}

#[test]
fn runbook_has_a_section_for_exactly_the_alerts() {
    let guide = on_call();
    let section = guide.split("## Runbook of alerts\n").nth(1).unwrap().split("\n## ").next().unwrap();
    let headings: Vec<&str> = section.lines().filter_map(|line| line.strip_prefix("### ")).collect();
    assert_eq!(headings.len(), alerts().len(), "{headings:?}");
    let headings: BTreeSet<&str> = headings.into_iter().collect();
    let alerts = alerts();
    assert_eq!(headings, alerts.iter().map(|(name, _)| name.as_str()).collect());
}

/// The label `database` is an id, bounded by `max_databases`. An alert on a metric of databases names it.
#[test]
fn alerts_on_metrics_of_databases_name_the_database() {
    let rules: Value =
        serde_yaml::from_str(&fs::read_to_string(deployed("prometheus/rules.yaml")).unwrap()).unwrap();
    let rules = rules["groups"][0]["rules"].as_array().unwrap();
    let of_databases = |rule: &&Value| {
        let expression = rule["expr"].as_str().unwrap();
        ["firewall_database_", "firewall_rejected_files", "firewall_socket_denied"]
            .iter()
            .any(|metric| expression.contains(metric))
    };
    let of_databases: Vec<&Value> = rules.iter().filter(of_databases).collect();
    assert_eq!(of_databases.len(), 6);
    for rule in of_databases {
        let summary = rule["annotations"]["summary"].as_str().unwrap();
        assert!(summary.contains("$labels.database"), "{}: {summary}", rule["alert"]);
    }
}

#[test]
fn documented_command_replaces_the_address_of_the_runbook() {
    let manual = fs::read_to_string(deployed("../docs/monitoring.md")).unwrap();
    let command =
        manual.lines().find(|line| line.starts_with("sed ") && line.contains("rules.yaml")).unwrap();
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("deploy/prometheus")).unwrap();
    let rules = fs::read_to_string(deployed("prometheus/rules.yaml")).unwrap();
    fs::write(dir.path().join("deploy/prometheus/rules.yaml"), &rules).unwrap();
    let expression = command.split('\'').nth(1).unwrap();
    let rendered = format!("kubectl kustomize deploy/kubernetes-example | sed '{expression}' | ");
    assert!(manual.lines().any(|line| line.starts_with(&rendered)), "the same on Kubernetes: {rendered}");
    let done = Command::new("sh").args(["-ec", command]).current_dir(dir.path()).status().unwrap();
    assert!(done.success(), "{command}");
    let (passed, output) = promtool(dir.path(), &["check", "rules", "rules.yaml"]);
    assert!(passed, "{output}");
    let replaced = fs::read_to_string(dir.path().join("rules.yaml")).unwrap();
    assert!(rules.contains(RUNBOOKS) && !replaced.contains(RUNBOOKS), "{replaced}");
    let links = |text: &str| text.matches(&format!("/{ON_CALL}#")).count();
    assert_eq!(links(&replaced), links(&rules));
}

#[test]
fn guide_has_a_row_for_each_condition() {
    let guide = on_call();
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
