//! The manifests against the schemas of the Kubernetes API, and the configuration in them against the agent.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use firewall_tests::lab::{agent_binary, tool};

use crate::units::deploy;

const MANIFESTS: [&str; 3] = ["namespace.yaml", "config.yaml", "daemonset.yaml"];

#[test]
fn every_manifest_is_one_of_the_api() {
    for name in MANIFESTS {
        let validated = validate(&deploy("kubernetes").join(name));
        assert!(validated.status.success(), "{name}: {validated:?}");
    }
    let text = daemonset();
    // The controls: a misspelt field, a value of another type.
    for (field, wrong) in
        [("runAsNonRoot: true", "runAsRoot: false"), ("hostNetwork: true", "hostNetwork: host")]
    {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("daemonset.yaml");
        assert!(text.contains(field));
        fs::write(&path, text.replace(field, wrong)).unwrap();
        assert!(!validate(&path).status.success(), "{wrong}: taken");
    }
    let listed = fs::read_to_string(deploy("kubernetes/kustomization.yaml")).unwrap();
    let resources = listed.lines().filter_map(|line| line.strip_prefix("  - "));
    assert_eq!(resources.collect::<Vec<_>>(), MANIFESTS);
}

#[test]
fn the_configuration_in_the_manifest_is_one_of_the_agents() {
    let config = config();
    let dir = tempfile::tempdir().unwrap();
    let validate = |config: &str| {
        let path = dir.path().join("config.yaml");
        fs::write(&path, config).unwrap();
        let mut agent = Command::new(agent_binary().unwrap());
        agent.arg("validate").arg(dir.path().join("none.yaml")).arg("--config").arg(path).output().unwrap()
    };
    // The file that is to be judged is not there; a configuration that is wrong is said first.
    let good = validate(&config);
    assert!(String::from_utf8_lossy(&good.stdout).contains("1 refused"), "{good:?}");
    assert!(validate(&config.replace("guarded_ports", "guarded")).stdout.is_empty());
}

#[test]
fn the_container_has_the_agents_rights_and_no_more() {
    let text = daemonset();
    let (_, agent) = text.split_once("      containers:\n").unwrap();
    for line in [
        "add: [BPF, NET_ADMIN, PERFMON]",
        "drop: [ALL]",
        "runAsNonRoot: true",
        "readOnlyRootFilesystem: true",
    ] {
        assert!(agent.contains(line), "{line}");
    }
    assert!(!text.contains("privileged: true"));
}

/// The agent's configuration in the manifest.
pub fn config() -> String {
    let manifest = fs::read_to_string(deploy("kubernetes/config.yaml")).unwrap();
    let (_, inside) = manifest.split_once("config.yaml: |\n").unwrap();
    inside.lines().map(|line| format!("{}\n", line.trim_start())).collect()
}

pub fn daemonset() -> String {
    fs::read_to_string(deploy("kubernetes/daemonset.yaml")).unwrap()
}

fn validate(path: &Path) -> Output {
    Command::new(tool("kubernetes-validate/bin/kubernetes-validate").unwrap())
        .arg("--strict")
        .arg(path)
        .output()
        .unwrap()
}
