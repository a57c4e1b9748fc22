//! The manifests as kustomize renders them, strictly decoded, and their configuration as the agent validates it.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use firewall_tests::lab::{agent_binary, tool};

use crate::strict::Definitions;
use crate::units::deploy;

const FILES: [&str; 4] = ["kustomization.yaml", "namespace.yaml", "config.yaml", "daemonset.yaml"];
const KINDS: [&str; 3] = ["Namespace", "ConfigMap", "DaemonSet"];

/// Faults, each as a text of the DaemonSet, its replacement, and the expected problem.
const FAULTS: [(&str, &str, &str); 7] = [
    // A dash without a value is a null item.
    (
        "            # Not below /sys: a runtime cannot make",
        "            - # Not below /sys: a runtime cannot make",
        ".volumeMounts[3]: null",
    ),
    ("runAsNonRoot: true", "runAsRoot: false", ".securityContext.runAsRoot: unknown field"),
    ("fieldPath: spec.nodeName", "fieldpath: spec.nodeName", ".fieldRef.fieldpath: unknown field"),
    ("hostNetwork: true", "hostNetwork: host", ".hostNetwork: \"host\": not"),
    ("dnsPolicy: Default", "dnsPolicy:", ".dnsPolicy: null"),
    ("- {name: bpf, mountPath: /bpf}", "- {name: bpf}", ".volumeMounts[2].mountPath: missing"),
    ("apiVersion: apps/v1", "apiVersion: apps/v2", "no such kind"),
];
/// As `FAULTS`; kustomize silently uses the last of the two.
const DUPLICATES: [(&str, &str); 2] = [
    ("hostNetwork: true", "hostNetwork: false\n      hostNetwork: true"),
    ("{name: bpf, mountPath: /bpf}", "{name: bpf, mountPath: /sys, mountPath: /bpf}"),
];

#[test]
fn kustomize_renders_valid_resources() {
    let definitions = Definitions::load();
    for name in &FILES[1..] {
        let text = fs::read_to_string(deploy("kubernetes").join(name)).unwrap();
        assert_eq!(definitions.problems(&text), [""; 0], "{name}");
    }
    let rendered = rendered(&deploy("kubernetes"));
    assert_eq!(rendered.len(), KINDS.len(), "{rendered:?}");
    for (text, kind) in rendered.iter().zip(KINDS) {
        assert!(text.contains(&format!("kind: {kind}\n")), "{kind}: {text}");
        assert_eq!(definitions.problems(text), [""; 0], "{kind}");
    }
}

#[test]
fn faulty_manifest_is_refused() {
    let definitions = Definitions::load();
    let daemonset = daemonset();
    for (good, bad, complaint) in FAULTS {
        assert!(daemonset.contains(good), "{good}");
        let faulty = daemonset.replace(good, bad);
        let dir = tempfile::tempdir().unwrap();
        for name in FILES {
            fs::copy(deploy("kubernetes").join(name), dir.path().join(name)).unwrap();
        }
        fs::write(dir.path().join("daemonset.yaml"), &faulty).unwrap();
        let rendered = rendered(dir.path());
        for text in [&faulty, rendered.last().unwrap()] {
            let problems = definitions.problems(text);
            assert!(problems.iter().any(|problem| problem.contains(complaint)), "{bad}: {problems:?}");
        }
    }
    for (good, bad) in DUPLICATES {
        assert!(daemonset.contains(good), "{good}");
        let problems = definitions.problems(&daemonset.replace(good, bad));
        assert!(problems.iter().any(|problem| problem.contains("duplicate")), "{bad}: {problems:?}");
    }
}

#[test]
fn manifest_configuration_is_valid() {
    let config = config();
    let dir = tempfile::tempdir().unwrap();
    let validate = |config: &str| {
        let path = dir.path().join("config.yaml");
        fs::write(&path, config).unwrap();
        let mut agent = Command::new(agent_binary().unwrap());
        agent.arg("validate").arg(dir.path().join("none.yaml")).arg("--config").arg(path).output().unwrap()
    };
    // The rule file does not exist; the agent reports a wrong configuration first.
    let good = validate(&config);
    assert!(String::from_utf8_lossy(&good.stdout).contains("1 rejected"), "{good:?}");
    assert!(validate(&config.replace("guarded_ports", "guarded")).stdout.is_empty());
}

#[test]
fn container_has_exactly_the_agent_capabilities() {
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

/// Returns the agent's configuration in the manifest.
pub fn config() -> String {
    let manifest = fs::read_to_string(deploy("kubernetes/config.yaml")).unwrap();
    let (_, inside) = manifest.split_once("config.yaml: |\n").unwrap();
    inside.lines().map(|line| format!("{}\n", line.trim_start())).collect()
}

pub fn daemonset() -> String {
    fs::read_to_string(deploy("kubernetes/daemonset.yaml")).unwrap()
}

/// Returns the manifests of a directory as `kubectl apply -k` sends them, in its order.
fn rendered(dir: &Path) -> Vec<String> {
    let mut kubectl = Command::new(tool("kubectl/usr/bin/kubectl").unwrap());
    let out: Output = kubectl.arg("kustomize").arg(dir).output().unwrap();
    assert!(out.status.success(), "{out:?}");
    String::from_utf8(out.stdout).unwrap().split("\n---\n").map(str::to_owned).collect()
}
