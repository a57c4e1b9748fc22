//! The pod of the shipped DaemonSet under podman: a second runtime, with another default seccomp profile than containerd.

use std::cell::RefCell;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use firewall_tests::lab::{CAPABILITY_MASK, RangesFile, RuleFile, TestHost, artefact, eventually};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use nix::sys::statfs::statfs;
use procfs_core::FromRead as _;
use procfs_core::process::Status;
use serde_json::{Value, json};

use crate::kustomize::{BASE, Objects, Overlay, base};
use crate::overlays::COMPONENTS;
use crate::setup::{Server as _, unfiltered};
use crate::units::deploy;

const POD: &str = "firewall-agent";
/// podman names a container after its pod and its name there.
const CONTAINER: &str = "firewall-agent-firewall-agent";
const USER: u32 = 65532;
/// The machine's own directories in which the pod's volumes and podman's files are.
const WRITTEN: [&str; 2] = ["/etc", "/var/lib"];
/// Where a machine with version 1 of the control groups also mounts version 2. crun refuses such a machine.
const HYBRID: &str = "/sys/fs/cgroup/unified";

/// podman with its containers in a PID namespace, on the database host.
struct Podman<'a> {
    host: &'a TestHost,
    /// unshare(1); its child is the first process of the namespace.
    unshare: Child,
    init: String,
    /// Ids of the pods, by which their control groups are named.
    pods: RefCell<Vec<String>>,
}

impl<'a> Podman<'a> {
    fn new(host: &'a TestHost) -> Self {
        for (index, dir) in WRITTEN.into_iter().enumerate() {
            overlay(host, index, dir);
        }
        replace_null(host);
        host.lab.uncover_cgroups().unwrap();
        let unified =
            statfs(HYBRID).is_ok_and(|found| found.filesystem_type().0 == libc::CGROUP2_SUPER_MAGIC);
        if unified {
            umount2(HYBRID, MntFlags::MNT_DETACH).unwrap();
        }
        // Podman waits for conmon processes, of which the first process of the namespace must reap the remains.
        let mut unshare = host.db.command("unshare");
        unshare.args(["--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "catatonit", "-P"]);
        let unshare = unshare.spawn().unwrap();
        let children = format!("/proc/{0}/task/{0}/children", unshare.id());
        let init = eventually(Duration::from_secs(20), "the first process", || {
            let pid = fs::read_to_string(&children).ok()?.trim().to_owned();
            let name = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
            (name.trim() == "catatonit").then_some(pid)
        });
        Self { host, unshare, init: init.unwrap(), pods: RefCell::default() }
    }

    fn inside(&self, program: &str) -> Command {
        let mut nsenter = self.host.db.command("nsenter");
        nsenter.args(["--target", &self.init, "--mount", "--pid", "--", program]);
        nsenter
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let storage = self.host.lab.dir().join("containers");
        let mut podman = self.inside("podman");
        for option in ["--root", "--runroot", "--tmpdir"] {
            podman.arg(option).arg(storage.join(&option[2..]));
        }
        podman.args(["--storage-driver", "vfs", "--cgroup-manager", "cgroupfs", "--events-backend", "none"]);
        podman.args(arguments).stdin(Stdio::null()).output().unwrap()
    }

    fn read(&self, arguments: &[&str]) -> String {
        let out = self.run(arguments);
        assert!(out.status.success(), "{arguments:?}: {out:?}");
        String::from_utf8(out.stdout).unwrap()
    }

    /// Runs the pod of the rendered objects.
    fn play(&self, objects: &Objects) {
        let path = self.host.lab.dir().join("pod.yaml");
        fs::write(&path, pod(objects, self.host.lab.cgroup())).unwrap();
        let profiles = deploy("kubernetes/components/seccomp-profile");
        let profiles = format!("--seccomp-profile-root={}", profiles.display());
        let played = self.read(&["play", "kube", "--network=host", &profiles, path.to_str().unwrap()]);
        let id = played.strip_prefix("Pod:\n").unwrap().lines().next().unwrap();
        self.pods.borrow_mut().push(id.to_owned());
    }

    fn remove(&self) {
        self.read(&["pod", "rm", "--force", "--time=5", POD]);
    }

    fn agent(&self, arguments: &[&str]) -> Output {
        self.run(&[&["exec", CONTAINER, "/firewall-agent"], arguments].concat())
    }

    /// Returns the status of the agent's process.
    fn process(&self) -> Status {
        let pid = self.read(&["inspect", "--format={{.State.Pid}}", CONTAINER]);
        let status = self.inside("cat").arg(format!("/proc/{}/status", pid.trim())).output().unwrap();
        Status::from_read(&status.stdout[..]).unwrap()
    }
}

impl Drop for Podman<'_> {
    fn drop(&mut self) {
        // Its child dies with it, and with the child every process of the namespace.
        let _ = self.unshare.kill();
        let _ = self.unshare.wait();
        let gone = || (!Path::new(&format!("/proc/{}", self.init)).exists()).then_some(());
        let _ = eventually(Duration::from_secs(20), "the namespace ends", gone);
        // podman leaves the control groups of its pods, in one hierarchy or in several.
        let hierarchies = fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten();
        for hierarchy in hierarchies.map(|entry| entry.path()).chain(["/sys/fs/cgroup".into()]) {
            for pod in self.pods.borrow().iter() {
                let group = hierarchy.join("libpod_parent").join(pod);
                for inner in fs::read_dir(&group).into_iter().flatten().flatten() {
                    let _ = fs::remove_dir(inner.path());
                }
                let _ = fs::remove_dir(group);
            }
        }
    }
}

#[test]
fn pod_filters_under_podman() {
    let host = unfiltered();
    let podman = Podman::new(&host);
    podman.read(&["load", "--input", artefact("firewall-agent.oci.tar").unwrap().to_str().unwrap()]);

    // Control: podman's default profile refuses bpf(2), even with CAP_BPF.
    podman.play(&base());
    podman.read(&["wait", CONTAINER]);
    let log = String::from_utf8(podman.run(&["logs", CONTAINER]).stderr).unwrap();
    assert!(log.contains("Operation not permitted") && log.contains("seccomp"), "{log}");
    assert!(host.is_open());
    podman.remove();

    let component = Overlay::new("components: [../kubernetes/components/seccomp-profile]");
    podman.play(&component.objects());
    host.eventually("the guarded port is closed", || !host.is_open());
    let process = podman.process();
    assert_eq!((process.ruid, process.rgid), (USER, USER));
    assert_eq!([Some(process.capeff), process.capbnd], [Some(CAPABILITY_MASK); 2]);
    assert_eq!(process.seccomp, Some(2));
    let ready = podman.agent(&["health", "--ready"]);
    assert_eq!(ready.status.code(), Some(4), "no rule file: {ready:?}");

    let rules = PathBuf::from("/etc/firewall-agent/rules.d");
    fs::create_dir(&rules).unwrap();
    let push = |revision, source: &str| {
        let file = RuleFile::new("orders", revision).endpoint("192.0.2.10:5432").allow(source);
        fs::write(rules.join(".new"), file.to_string()).unwrap();
        fs::rename(rules.join(".new"), rules.join("orders.yaml")).unwrap();
    };
    push(1, "192.0.2.20/32");
    host.eventually("the rule lets the client in", || host.is_open());
    host.eventually("ready", || podman.agent(&["health", "--ready"]).status.success());
    let status = podman.agent(&["status", "-o", "json"]);
    let status: Value = serde_json::from_slice(&status.stdout).unwrap();
    assert_eq!(status["interfaces"][0]["mode"], "native", "{status}");
    push(2, "192.0.2.21/32");
    host.eventually("the client is out again", || !host.is_open());
    // The end of the pod opens nothing.
    podman.remove();
    assert!(!host.is_open());

    // All components: rules from ConfigMaps, metrics on the node's address.
    let lines: String = COMPONENTS.iter().map(|one| format!("  - ../{BASE}/components/{one}\n")).collect();
    let mut objects = Overlay::new(&format!("components:\n{lines}")).objects();
    let file = RuleFile::new("orders", 3)
        .endpoint("192.0.2.10:5432")
        .rule("id: fr-1, type: managed_range, range_id: office");
    let ranges = RangesFile::new(1).range("office", &["192.0.2.20/32"]);
    for (name, key, text) in [
        ("firewall-agent-rules", "orders.yaml", file.to_string()),
        ("firewall-agent-managed-ranges", "managed-ranges.yaml", ranges.to_string()),
    ] {
        let map =
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {key: text}});
        objects.insert(format!("ConfigMap/{name}"), map);
    }
    podman.play(&objects);
    host.eventually("a managed range lets the client in", || host.is_open());
    let metrics = || host.outside.connect("192.0.2.10:9639", Duration::from_secs(1)).is_ok();
    host.eventually("metrics", metrics);
}

/// Lays an overlay over a directory of the machine: changes stay in the lab.
fn overlay(host: &TestHost, index: usize, dir: &str) {
    let [upper, work] = ["upper", "work"].map(|name| host.lab.dir().join(format!("{name}-{index}")));
    fs::create_dir(&upper).unwrap();
    fs::create_dir(&work).unwrap();
    let options = format!("lowerdir={dir},upperdir={},workdir={}", upper.display(), work.display());
    mount(Some("overlay"), dir, Some("overlay"), MsFlags::empty(), Some(options.as_str())).unwrap();
}

/// Lays another device node over `/dev/null`: crun gives a container's standard streams, also this one, to its user.
fn replace_null(host: &TestHost) {
    let null = host.lab.dir().join("null");
    let mode = Mode::from_bits_truncate(0o666);
    mknod(&null, SFlag::S_IFCHR, mode, makedev(1, 3)).unwrap();
    mount(Some(&null), "/dev/null", None::<&str>, MsFlags::MS_BIND, None::<&str>).unwrap();
}

/// Returns the ConfigMaps and the pod of the DaemonSet, changed where podman 4.3 lacks a feature of the kubelet.
fn pod(objects: &Objects, cgroup: &Path) -> String {
    let template = &objects["DaemonSet/firewall-agent"]["spec"]["template"];
    let mut spec = template["spec"].clone();
    // It restarts init containers that have succeeded.
    spec["restartPolicy"] = json!("Never");
    // The control group of the lab in place of the root.
    for volume in spec["volumes"].as_array_mut().unwrap() {
        if volume["hostPath"]["path"] == "/sys/fs/cgroup" {
            volume["hostPath"]["path"] = json!(cgroup);
        }
    }
    // It knows neither `spec.nodeName` nor `status.hostIP`, expands no variables, and takes no ports on the host's network.
    let agent = &mut spec["containers"][0];
    let fields = agent.as_object_mut().unwrap();
    fields.retain(|field, _| field != "env" && field != "ports");
    for argument in agent["args"].as_array_mut().unwrap() {
        let text = argument.as_str().unwrap();
        *argument = text.replace("$(NODE_NAME)", "db").replace("$(NODE_ADDRESS)", "192.0.2.10").into();
    }
    // It reads the profile from an annotation.
    let mut annotations = json!({});
    if let Some(profile) = agent["securityContext"]["seccompProfile"]["localhostProfile"].as_str() {
        let name = "container.seccomp.security.alpha.kubernetes.io/firewall-agent";
        annotations[name] = json!(format!("localhost/{profile}"));
    }
    let pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": POD, "annotations": annotations, "labels": template["metadata"]["labels"]},
        "spec": spec,
    });
    let maps = objects.values().filter(|one| one["kind"] == "ConfigMap").map(Value::to_string);
    maps.chain([pod.to_string()]).collect::<Vec<_>>().join("\n---\n")
}
