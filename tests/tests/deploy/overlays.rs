//! Overlays and components: each value changes its own fields and no others, and every result is valid.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use firewall_tests::documents::commands;
use firewall_tests::lab::agent_binary;
use serde_json::Value;

use crate::kustomize::{BASE, EXAMPLE, NEW, OLD, Objects, Overlay, base, changes, kustomize, objects};
use crate::strict::{Definitions, raw_problems};
use crate::units::deploy;

pub const COMPONENTS: [&str; 3] = ["prometheus-operator", "rules-configmap", "seccomp-profile"];
/// Group of the kinds that the Kubernetes API does not define.
pub const OPERATOR: &str = "monitoring.coreos.com/v1";
const POD: &str = "DaemonSet/firewall-agent.spec.template.spec";

/// A value of an overlay: its lines, and the changes against the base. `POD` is the path of the fields of the pod.
struct Changed {
    lines: &'static str,
    changed: &'static [&'static str],
}

/// Every value of the documents.
const VALUES: &[Changed] = &[
    Changed {
        lines: "images: [{name: firewall-agent, newName: registry.example.com/agent, newTag: 1.2.3}]",
        changed: &[
            "- POD.containers.firewall-agent.image: firewall-agent:0.1.0",
            "- POD.initContainers.prepare.image: firewall-agent:0.1.0",
            "+ POD.containers.firewall-agent.image: registry.example.com/agent:1.2.3",
            "+ POD.initContainers.prepare.image: registry.example.com/agent:1.2.3",
        ],
    },
    Changed {
        lines: "images: [{name: firewall-agent, digest: 'sha256:11'}]",
        changed: &[
            "- POD.containers.firewall-agent.image: firewall-agent:0.1.0",
            "- POD.initContainers.prepare.image: firewall-agent:0.1.0",
            "+ POD.containers.firewall-agent.image: firewall-agent@sha256:11",
            "+ POD.initContainers.prepare.image: firewall-agent@sha256:11",
        ],
    },
    Changed {
        lines: "namespace: databases",
        changed: &[
            "- ConfigMap/firewall-agent.metadata.namespace: firewall-agent",
            "- DaemonSet/firewall-agent.metadata.namespace: firewall-agent",
            "- Namespace/firewall-agent.apiVersion: v1",
            "- Namespace/firewall-agent.kind: Namespace",
            "- Namespace/firewall-agent.metadata.labels.pod-security.kubernetes.io/enforce: privileged",
            "- Namespace/firewall-agent.metadata.name: firewall-agent",
            "+ ConfigMap/firewall-agent.metadata.namespace: databases",
            "+ DaemonSet/firewall-agent.metadata.namespace: databases",
            "+ Namespace/databases.apiVersion: v1",
            "+ Namespace/databases.kind: Namespace",
            "+ Namespace/databases.metadata.labels.pod-security.kubernetes.io/enforce: privileged",
            "+ Namespace/databases.metadata.name: databases",
        ],
    },
    Changed {
        lines: "PATCH spec: {template: {spec: {containers: [{name: firewall-agent, \
                resources: {limits: {memory: 512Mi}, requests: {cpu: 100m}}}]}}}",
        changed: &[
            "- POD.containers.firewall-agent.resources.limits.memory: 256Mi",
            "- POD.containers.firewall-agent.resources.requests.cpu: 50m",
            "+ POD.containers.firewall-agent.resources.limits.memory: 512Mi",
            "+ POD.containers.firewall-agent.resources.requests.cpu: 100m",
        ],
    },
    Changed {
        lines: "PATCH spec: {template: {spec: {nodeSelector: {pool: databases}}}}",
        changed: &["+ POD.nodeSelector.pool: databases"],
    },
    Changed {
        lines: "PATCH spec: {template: {spec: {tolerations: [{key: databases, operator: Exists}]}}}",
        changed: &["+ POD.tolerations.0.key: databases"],
    },
    Changed {
        lines: "PATCH spec: {template: {spec: {imagePullSecrets: [{name: registry}]}}}",
        changed: &["+ POD.imagePullSecrets.registry.name: registry"],
    },
    Changed {
        lines: "PATCH spec: {template: {spec: {containers: [{name: firewall-agent, \
                env: [{name: FIREWALL_AGENT_LOG_FORMAT, value: json}]}]}}}",
        changed: &[
            "+ POD.containers.firewall-agent.env.FIREWALL_AGENT_LOG_FORMAT.name: FIREWALL_AGENT_LOG_FORMAT",
            "+ POD.containers.firewall-agent.env.FIREWALL_AGENT_LOG_FORMAT.value: json",
        ],
    },
    Changed {
        lines: "PATCH spec: {updateStrategy: {rollingUpdate: {maxUnavailable: 1}}}",
        changed: &[
            "- DaemonSet/firewall-agent.spec.updateStrategy.rollingUpdate.maxUnavailable: 5%",
            "+ DaemonSet/firewall-agent.spec.updateStrategy.rollingUpdate.maxUnavailable: 1",
        ],
    },
    Changed {
        lines: "components: [../kubernetes/components/rules-configmap]",
        changed: &[
            "- POD.containers.firewall-agent.volumeMounts.rules.mountPath: /etc/firewall-agent-rules",
            "- POD.volumes.rules.hostPath.path: /etc/firewall-agent",
            "- POD.volumes.rules.hostPath.type: DirectoryOrCreate",
            "+ POD.containers.firewall-agent.args.3: \
             --managed-ranges=/etc/firewall-agent-ranges/managed-ranges.yaml",
            "+ POD.containers.firewall-agent.volumeMounts.managed-ranges.mountPath: /etc/firewall-agent-ranges",
            "+ POD.containers.firewall-agent.volumeMounts.managed-ranges.name: managed-ranges",
            "+ POD.containers.firewall-agent.volumeMounts.managed-ranges.readOnly: true",
            "+ POD.containers.firewall-agent.volumeMounts.rules.mountPath: /etc/firewall-agent-rules/rules.d",
            "+ POD.volumes.managed-ranges.configMap.name: firewall-agent-managed-ranges",
            "+ POD.volumes.managed-ranges.configMap.optional: true",
            "+ POD.volumes.managed-ranges.name: managed-ranges",
            "+ POD.volumes.rules.configMap.name: firewall-agent-rules",
            "+ POD.volumes.rules.configMap.optional: true",
        ],
    },
    Changed {
        lines: "components: [../kubernetes/components/seccomp-profile]",
        changed: &[
            "- POD.containers.firewall-agent.securityContext.seccompProfile.type: RuntimeDefault",
            "+ POD.containers.firewall-agent.securityContext.seccompProfile.localhostProfile: \
             firewall-agent.json",
            "+ POD.containers.firewall-agent.securityContext.seccompProfile.type: Localhost",
        ],
    },
];

/// Nulls that are meant, by file and path: in a merge patch a null removes the field of the base.
const NULLS: [(&str, &str); 1] =
    [("kubernetes/components/rules-configmap/volumes.yaml", ".spec.template.spec.volumes[0].hostPath: null")];

/// Faults of files below `deploy/`, each as a text, its replacement, and the expected problem.
const FAULTS: [(&str, &str, &str, &str); 7] = [
    (
        "kubernetes/components/rules-configmap/volumes.yaml",
        "{name: managed-ranges, mountPath",
        "{name: managed-ranges, mountPath: /other, mountPath",
        "duplicate",
    ),
    (
        "kubernetes/components/rules-configmap/arguments.yaml",
        "- op: add",
        "- op: add\n  op: remove",
        "duplicate",
    ),
    (
        "kubernetes/components/prometheus-operator/listener.yaml",
        "          ports:\n",
        "          ports:\n            -\n",
        ".ports[0]: null",
    ),
    (
        "kubernetes/components/seccomp-profile/firewall-agent.json",
        "\"defaultAction\": ",
        "\"defaultAction\": \"SCMP_ACT_ALLOW\",\n  \"defaultAction\": ",
        "duplicate",
    ),
    ("kubernetes-example/config.yaml", "xdp_mode: native", "xdp_mode:", ".xdp_mode: null"),
    ("kubernetes-example/daemonset.yaml", "limits: {memory: ", "limits: {memory: 1Gi, memory: ", "duplicate"),
    ("kubernetes-example/kustomization.yaml", "      kind: ConfigMap\n", "      kind:\n", "\"}: .kind: null"),
];

#[test]
fn files_have_no_duplicate_key_and_no_null() {
    let mut found = Vec::new();
    for path in [BASE, EXAMPLE].iter().flat_map(|dir| files(&deploy(dir))) {
        let name = path.strip_prefix(deploy("")).unwrap().to_str().unwrap().to_owned();
        let problems = raw_problems(&fs::read_to_string(&path).unwrap());
        found.extend(problems.into_iter().map(|problem| (name.clone(), problem)));
    }
    assert_eq!(found, NULLS.map(|(name, null)| (name.to_owned(), null.to_owned())));
    for (name, good, bad, complaint) in FAULTS {
        let text = fs::read_to_string(deploy(name)).unwrap();
        assert!(text.contains(good), "{name}: {good}");
        let problems = raw_problems(&text.replace(good, bad));
        assert!(problems.iter().any(|problem| problem.contains(complaint)), "{name}: {bad}: {problems:?}");
    }
    // Control: kustomize renders a duplicate key as one valid field.
    let (name, good, bad, _) = FAULTS[5];
    let rendered = objects(&kustomize(NEW, &Overlay::new("").with_changed(name, good, bad).path(EXAMPLE)));
    check(&Definitions::load(), &rendered);
}

#[test]
fn old_and_new_kustomize_render_the_same_base() {
    let [old, new] = [OLD, NEW].map(|kubectl| objects(&kustomize(kubectl, &deploy(BASE))));
    assert_eq!(changes(&old, &new), [""; 0]);
    // Control: the two differ, the old one knows no components.
    let example = kustomize(OLD, &deploy(EXAMPLE));
    let complaint = String::from_utf8_lossy(&example.stderr);
    assert!(!example.status.success() && complaint.contains("components"), "{complaint}");
}

#[test]
fn each_value_changes_its_fields_only() {
    let (base, definitions) = (base(), Definitions::load());
    for Changed { lines, changed } in VALUES {
        let lines = lines.strip_prefix("PATCH ").map_or_else(
            || (*lines).to_owned(),
            |patch| {
                format!(
                    "patches: [{{target: {{kind: DaemonSet}}, patch: '{{apiVersion: apps/v1, kind: DaemonSet, \
                     metadata: {{name: firewall-agent}}, {patch}}}'}}]"
                )
            },
        );
        let now = Overlay::new(&lines).objects();
        let expected: Vec<String> = changed.iter().map(|line| line.replace("POD", POD)).collect();
        assert_eq!(changes(&base, &now), expected, "{lines}");
        check(&definitions, &now);
    }
    // Controls: an overlay without a value, and one whose value names another image.
    for lines in ["", "images: [{name: firewall, newTag: 1.2.3}]"] {
        assert_eq!(changes(&base, &Overlay::new(lines).objects()), [""; 0], "{lines}");
    }
}

#[test]
fn components_combine_in_any_order() {
    let definitions = Definitions::load();
    let [first, second, third] = COMPONENTS;
    let orders = [[first, second, third], [third, first, second], [second, third, first]];
    let rendered = orders.map(|order| {
        let lines: String = order.iter().map(|one| format!("  - ../{BASE}/components/{one}\n")).collect();
        let mut all = Overlay::new(&format!("components:\n{lines}")).objects();
        check(&definitions, &all);
        // The components append their arguments.
        let arguments = argument_list(&mut all);
        arguments.sort_by_key(ToString::to_string);
        assert_eq!(arguments.len(), 5, "{arguments:?}");
        all
    });
    assert_eq!(rendered[0], rendered[1]);
    assert_eq!(rendered[0], rendered[2]);
    let mut found: Vec<_> = fs::read_dir(deploy(BASE).join("components"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    found.sort();
    assert_eq!(found, COMPONENTS, "every component");
}

#[test]
fn example_is_valid_and_its_configuration_fits_its_mounts() {
    let example = objects(&kustomize(NEW, &deploy(EXAMPLE)));
    check(&Definitions::load(), &example);
    let (name, config) = example_config(&example);
    let pod = &example["DaemonSet/firewall-agent"]["spec"]["template"]["spec"];
    let volume = named(&pod["volumes"], "config");
    assert_eq!(volume["configMap"]["name"], name);
    assert!(is_accepted(&config));
    assert!(!is_accepted(&config.replace("guarded_ports", "guarded")), "the control");
    let agent = named(&pod["containers"], "firewall-agent");
    let mounts = agent["volumeMounts"].as_array().unwrap();
    for key in ["rules_dir", "managed_ranges", "bpffs_dir"] {
        let path = config.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(": ")).unwrap();
        let is_mounted = mounts.iter().any(|one| path.starts_with(one["mountPath"].as_str().unwrap()));
        assert!(is_mounted, "{key}: {path}");
    }
    // The rule file of the metrics opens a port that the configuration guards.
    let metrics = deploy(EXAMPLE).join("metrics.yaml");
    let checked = Command::new(agent_binary().unwrap()).arg("validate").arg(&metrics).output().unwrap();
    assert!(checked.status.success(), "{checked:?}");
    let port = agent["ports"][0]["containerPort"].as_u64().unwrap().to_string();
    assert!(fs::read_to_string(&metrics).unwrap().contains(&format!("port: {port}}}")), "{port}");
    let guarded = config.lines().find(|line| line.starts_with("guarded_ports")).unwrap();
    assert!(guarded.contains(&port), "{guarded}");
}

#[test]
fn changed_configuration_replaces_the_pods() {
    let before = objects(&kustomize(NEW, &deploy(EXAMPLE)));
    let (old_name, old) = example_config(&before);
    for (from, to) in
        [("interfaces: [eth0]", "interfaces: [ens*, bond0]"), ("ports: [5432, ", "ports: [5432, 6432, ")]
    {
        let changed = Overlay::new("").with_changed(&format!("{EXAMPLE}/config.yaml"), from, to);
        let mut after = objects(&kustomize(NEW, &changed.path(EXAMPLE)));
        let (name, config) = example_config(&after);
        assert_eq!(config, old.replace(from, to), "nothing else changes");
        assert!(is_accepted(&config), "{config}");
        // The pods refer to the configuration by its new name, which is the only other change.
        assert_ne!(name, old_name, "{to}");
        let path = format!("{POD}.volumes.config.configMap.name");
        let mut map = after.remove(&format!("ConfigMap/{name}")).unwrap();
        map["metadata"]["name"] = old_name.as_str().into();
        map["data"]["config.yaml"] = old.as_str().into();
        after.insert(format!("ConfigMap/{old_name}"), map);
        assert_eq!(changes(&before, &after), [format!("- {path}: {old_name}"), format!("+ {path}: {name}")]);
    }
    // Control: the agent does not accept every list of interfaces.
    assert!(!is_accepted(&old.replace("[eth0]", "[]")));
}

/// Node pools with other interfaces have one namespace each.
#[test]
fn namespace_moves_every_object_of_the_example() {
    let pool = Overlay::new("").with_changed(
        &format!("{EXAMPLE}/kustomization.yaml"),
        "\nnamespace: firewall-agent\n",
        "\nnamespace: pool-b\n",
    );
    let objects = objects(&kustomize(NEW, &pool.path(EXAMPLE)));
    assert_eq!(objects.len(), 6, "{:?}", objects.keys());
    for (name, object) in &objects {
        let expected = if object["kind"] == "Namespace" { Value::Null } else { "pool-b".into() };
        assert_eq!(object["metadata"]["namespace"], expected, "{name}");
    }
    assert!(objects.contains_key("Namespace/pool-b"));
}

#[test]
fn directories_of_documented_commands_render() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let documented = commands(&root, &["kubectl"]).unwrap();
    let directory = |words: &[String]| {
        let at = words.iter().position(|word| word == "-k" || word == "kustomize")?;
        Some(words[at + 1].clone())
    };
    let directories: Vec<String> = documented.iter().filter_map(|one| directory(&one.words)).collect();
    assert!(directories.len() >= 4, "{documented:?}");
    for directory in directories {
        objects(&kustomize(NEW, &root.join(directory)));
    }
    // Control.
    assert!(!kustomize(NEW, &root.join("docs")).status.success());
}

/// Requires that every object of the Kubernetes API is valid, and that every name it refers to exists.
fn check(definitions: &Definitions, objects: &Objects) {
    for (name, object) in objects.iter().filter(|(_, object)| object["apiVersion"] != OPERATOR) {
        assert_eq!(definitions.problems(&object.to_string()), [""; 0], "{name}");
    }
    let pod = &objects["DaemonSet/firewall-agent"]["spec"]["template"]["spec"];
    for list in ["containers", "initContainers"] {
        for container in pod[list].as_array().unwrap() {
            for mount in container["volumeMounts"].as_array().unwrap() {
                named(&pod["volumes"], mount["name"].as_str().unwrap());
            }
        }
    }
}

/// Returns the name of the only ConfigMap, and the agent's configuration in it.
fn example_config(objects: &Objects) -> (String, String) {
    let mut maps = objects.iter().filter_map(|(name, map)| Some((name.strip_prefix("ConfigMap/")?, map)));
    let (name, map) = maps.next().unwrap();
    assert!(maps.next().is_none(), "{:?}", objects.keys());
    (name.to_owned(), map["data"]["config.yaml"].as_str().unwrap().to_owned())
}

/// Returns every file of a directory and the directories below it.
fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// Returns the item of a list that has this name.
pub fn named<'a>(list: &'a Value, name: &str) -> &'a Value {
    let found = list.as_array().unwrap().iter().find(|item| item["name"] == name);
    found.unwrap_or_else(|| panic!("{name}: not in {list}"))
}

fn argument_list(objects: &mut Objects) -> &mut Vec<Value> {
    let daemonset = objects.get_mut("DaemonSet/firewall-agent").unwrap();
    daemonset["spec"]["template"]["spec"]["containers"][0]["args"].as_array_mut().unwrap()
}

/// Returns whether the agent accepts the configuration.
fn is_accepted(config: &str) -> bool {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config.yaml");
    fs::write(&path, config).unwrap();
    let mut agent = Command::new(agent_binary().unwrap());
    let out = agent.arg("validate").arg(dir.path().join("none.yaml")).arg("--config").arg(path).output();
    // The rule file does not exist; the agent reports a wrong configuration first.
    String::from_utf8_lossy(&out.unwrap().stdout).contains("1 rejected")
}
