//! The component for the Prometheus Operator: monitor, alert rules, and the listener that they need.

use std::fs;
use std::io::{Read as _, Write as _};
use std::process::{Command, Stdio};
use std::time::Duration;

use firewall_tests::lab::{Answer, TestHost, tool};
use serde_json::{Value, json};

use crate::kustomize::{EXAMPLE, NEW, Objects, kustomize, objects};
use crate::overlays::{OPERATOR, named};
use crate::units::deploy;

/// Prints the problem of each object in the list on standard input as a list; an empty text for a valid one.
const VALIDATOR: &str = "
import json, sys
from cloudcoil.models.prometheus_operator import v1

def problem(given):
    try:
        getattr(v1, given['kind']).model_validate(given, extra='forbid')
    except ValueError as error:
        return str(error)
    return ''

print(json.dumps([problem(given) for given in json.load(sys.stdin)]))
";

/// Pods as kube-state-metrics reports them: Prometheus scrapes the agent of node a, and that of node b never started.
const NODES: &str = r#"
rule_files: [nodes.yaml]
tests:
  - interval: 15s
    input_series:
      - {series: 'kube_pod_info{created_by_kind="DaemonSet",created_by_name="firewall-agent",pod="x",node="a"}', values: 1x60}
      - {series: 'kube_pod_info{created_by_kind="DaemonSet",created_by_name="firewall-agent",pod="y",node="b"}', values: 1x60}
      - {series: 'kube_pod_info{created_by_kind="DaemonSet",created_by_name="other",pod="z",node="c"}', values: 1x60}
      - {series: 'up{job="firewall-agent",instance="a"}', values: 1x20 0x40}
    promql_expr_test:
      - expr: 'sum by (alertname, node) (ALERTS{alertstate="firing"})'
        eval_time: 14m
        exp_samples: [{labels: '{alertname="FirewallNodeWithoutAgent", node="b"}', value: 1}]
"#;

/// Address of the metrics on the node.
const METRICS: &str = "192.0.2.10:9639";

fn example() -> Objects {
    objects(&kustomize(NEW, &deploy(EXAMPLE)))
}

#[test]
fn prometheus_rule_has_the_alerts_of_the_rule_file() {
    let rules = fs::read_to_string(deploy("prometheus/rules.yaml")).unwrap();
    let path = "kubernetes/components/prometheus-operator/prometheusrule.yaml";
    let resource = fs::read_to_string(deploy(path)).unwrap();
    let (_, below) = resource.split_once("\nspec:\n").unwrap();
    let indented = |text: &str| -> String {
        let line = |line: &str| if line.is_empty() { "\n".to_owned() } else { format!("  {line}\n") };
        text.lines().map(line).collect()
    };
    assert!(below == indented(&rules), "{path}: not that of rules.yaml; indent: sed 's/^./  &/'");
    let rules: Value = serde_yaml::from_str(&rules).unwrap();
    assert_eq!(example()["PrometheusRule/firewall-agent"]["spec"], rules, "as kustomize renders it");
    // Control.
    assert_ne!(below, indented(&fs::read_to_string(deploy("prometheus/rules.test.yaml")).unwrap()));
}

#[test]
fn rendered_rules_pass_promtool() {
    let dir = tempfile::tempdir().unwrap();
    let promtool = |arguments: &[&str]| {
        let answer = Answer::of(Command::new("promtool").args(arguments).current_dir(dir.path())).unwrap();
        (answer.code == Some(0), answer.out + &answer.err)
    };
    let passes = |arguments: &[&str]| {
        let (passed, output) = promtool(arguments);
        assert!(passed, "{arguments:?}: {output}");
    };
    let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
    let objects = example();
    for (object, name) in [("firewall-agent", "rules.yaml"), ("firewall-agent-nodes", "nodes.yaml")] {
        write(name, &objects[&format!("PrometheusRule/{object}")]["spec"].to_string());
        passes(&["check", "rules", "--lint=all", "--lint-fatal", name]);
    }
    fs::copy(deploy("prometheus/rules.test.yaml"), dir.path().join("rules.test.yaml")).unwrap();
    passes(&["test", "rules", "rules.test.yaml"]);
    write("nodes.test.yaml", NODES);
    passes(&["test", "rules", "nodes.test.yaml"]);
    // Controls: a rule that finds no such node, and one that is no rule.
    let nodes = objects["PrometheusRule/firewall-agent-nodes"]["spec"].to_string();
    write(
        "nodes.yaml",
        &nodes.replace(r#"created_by_name=\"firewall-agent\""#, r#"created_by_name=\"agent\""#),
    );
    assert!(!promtool(&["test", "rules", "nodes.test.yaml"]).0);
    write("nodes.yaml", &nodes.replace("\"expr\"", "\"expression\""));
    assert!(!promtool(&["check", "rules", "nodes.yaml"]).0);
}

#[test]
fn resources_match_the_definitions_of_the_operator() {
    let objects = example();
    let mut resources: Vec<Value> =
        objects.values().filter(|one| one["apiVersion"] == OPERATOR).cloned().collect();
    assert_eq!(resources.len(), 3);
    // Controls: an unknown field, a value of another type, a missing field.
    let monitor = &objects["PodMonitor/firewall-agent"];
    for (path, value, _) in &faults() {
        let mut faulty = monitor.clone();
        *faulty.pointer_mut(path).unwrap() = value.clone();
        resources.push(faulty);
    }
    let problems = problems(&resources.into());
    assert_eq!(problems[..3], [""; 3]);
    for ((path, _, complaint), problem) in faults().iter().zip(&problems[3..]) {
        assert!(problem.contains(complaint), "{path}: {problem}");
    }
}

/// Returns faults of a monitor, each as a path, its value, and the expected complaint.
fn faults() -> [(&'static str, Value, &'static str); 3] {
    [
        ("/spec/selector", json!({"matchLabel": {}}), "spec.selector.matchLabel"),
        ("/spec/podMetricsEndpoints/0/relabelings", json!([{"action": "rename"}]), "relabelings.0.action"),
        ("/spec", json!({"podMetricsEndpoints": []}), "spec.selector"),
    ]
}

#[test]
fn monitor_finds_the_pods_under_the_job_of_the_alerts() {
    let objects = example();
    let monitor = &objects["PodMonitor/firewall-agent"]["spec"];
    let template = &objects["DaemonSet/firewall-agent"]["spec"]["template"];
    let labels = &template["metadata"]["labels"];
    for (name, value) in monitor["selector"]["matchLabels"].as_object().unwrap() {
        assert_eq!(&labels[name], value, "{name}");
    }
    let job = labels[monitor["jobLabel"].as_str().unwrap()].as_str().unwrap();
    let rules = fs::read_to_string(deploy("prometheus/rules.yaml")).unwrap();
    assert!(rules.contains(&format!("up{{job=\"{job}\"}}")), "{job}");
    let ports = &named(&template["spec"]["containers"], "firewall-agent")["ports"];
    let port = named(ports, monitor["podMetricsEndpoints"][0]["port"].as_str().unwrap());
    assert!(listen(&objects).ends_with(&format!(":{}", port["containerPort"])), "{port}");
}

/// The listener of the component, behind the guard and the rule file of the example.
#[test]
fn guarded_metrics_are_open_to_the_sources_of_their_rule_file() {
    // Control: a port without guard is open to everyone.
    let unguarded = listening(&["5432"]);
    unguarded.eventually("a stranger gets in", || unguarded.connects("192.0.2.21", METRICS));
    drop(unguarded);

    let host = listening(&["5432", "9639"]);
    assert!(!host.connects("192.0.2.20", METRICS) && !host.connects("192.0.2.21", METRICS));
    let rules = fs::read_to_string(deploy(EXAMPLE).join("metrics.yaml")).unwrap();
    let cidr = "10.0.0.0/16";
    assert!(rules.contains(cidr));
    host.write("firewall-agent-metrics.yaml", rules.replace(cidr, "192.0.2.20/32"));
    host.eventually("Prometheus gets in", || host.connects("192.0.2.20", METRICS));
    assert!(!host.connects("192.0.2.21", METRICS), "a stranger");
}

/// Starts an agent with the listeners of the component, and waits until it serves metrics.
fn listening(guarded_ports: &[&str]) -> TestHost {
    let host = TestHost::builder()
        .servers(&["192.0.2.10/24"])
        .clients(&["192.0.2.20/24", "192.0.2.21/24"])
        .guarded_ports(guarded_ports)
        .build();
    let socket = host.home.config().with_file_name("http.sock");
    let listen = listen(&example())
        .replace("/run/firewall-agent/http.sock", socket.to_str().unwrap())
        .replace("$(NODE_ADDRESS)", "192.0.2.10");
    host.start_with(&[&listen]);
    let scraped = || {
        let mut stream = host.db.connect(METRICS, Duration::from_secs(5)).ok()?;
        stream.write_all(b"GET /metrics HTTP/1.0\r\nHost: a\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        Some(answer)
    };
    host.eventually("metrics", || scraped().is_some_and(|text| text.contains("firewall_ready ")));
    host
}

/// Returns the argument of the agent that sets its listeners.
fn listen(objects: &Objects) -> String {
    let pod = &objects["DaemonSet/firewall-agent"]["spec"]["template"]["spec"];
    let arguments = named(&pod["containers"], "firewall-agent")["args"].as_array().unwrap();
    let found = arguments.iter().filter_map(Value::as_str).find(|one| one.starts_with("--listen="));
    found.unwrap_or_else(|| panic!("no listener: {arguments:?}")).to_owned()
}

/// Returns the problem of each resource in the list; an empty text for a valid one.
fn problems(resources: &Value) -> Vec<String> {
    let python = tool("cloudcoil-models-prometheus-operator/bin/python").unwrap();
    let mut child = Command::new(python)
        .args(["-c", VALIDATOR])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(resources.to_string().as_bytes()).unwrap();
    let out = child.wait_with_output().unwrap();
    assert!(out.status.success(), "{out:?}");
    serde_json::from_slice(&out.stdout).unwrap()
}
