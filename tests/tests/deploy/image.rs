//! The image, run as a container runtime would run it with the manifest.

use std::fs::{self, File};
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::Command;

use firewall_tests::lab::{CAPABILITY_MASK, Confinement, TestHost, artefact};
use nix::mount::{MsFlags, mount};
use serde_json::Value;

use crate::manifests::{config, daemonset};
use crate::setup::{
    Server as _, bind, copy_program, filter, has_few_rights, in_root, read_only, succeeds, unfiltered,
};
use crate::syscalls::allowed_by;
use crate::units::unit;
use crate::version_output::VersionOutput;

/// `runAsUser` of the manifest.
const USER: u32 = 65532;
const FILE: &str = "cap_bpf,cap_net_admin,cap_perfmon=p";

#[test]
fn image_filters_with_exactly_the_manifest_privileges() {
    let host = unfiltered();
    let root = host.lab.dir().join("root");
    let layer = unpack(&host.lab.dir().join("image"), &root);
    assert_eq!(layer["config"]["User"], format!("{USER}:{USER}"));
    assert_eq!(layer["config"]["Entrypoint"], serde_json::json!(["/firewall-agent"]));
    let program = root.join("firewall-agent");
    assert_eq!(fs::read(&program).unwrap(), fs::read(artefact("firewall-agent").unwrap()).unwrap());
    let capabilities = Command::new("getcap").arg(&program).output().unwrap();
    let capabilities = String::from_utf8(capabilities.stdout).unwrap();
    let mut names: Vec<&str> = capabilities.trim().rsplit_once(' ').unwrap().1.split([',', '=']).collect();
    let mut expected: Vec<&str> = FILE.split([',', '=']).collect();
    names.sort_unstable();
    expected.sort_unstable();
    assert_eq!(names, expected);

    let pins = PathBuf::from("/sys/fs/bpf/firewall-agent");
    let rules = mount_volumes(&host, &root, &pins);
    // Control: a copy of the program without its file capabilities, which copying drops.
    copy_program(&program, &root.join("copy"));
    read_only(&root);
    let calls = allowed_by(&unit());
    let confined = Confinement {
        root: root.clone(),
        id: USER,
        capabilities: CAPABILITY_MASK,
        ambient: false,
        filter: filter(&calls),
    };
    prepare(&host, &confined);
    let arguments = ["run", "--node-name", "db"];
    let run = |confined: &Confinement, program: &str| {
        let mut command = confined.command(&host.db, program);
        command.args(arguments).stderr(File::create(host.lab.dir().join("control")).unwrap());
        succeeds(command)
    };
    assert!(!run(&confined, "/copy") && host.is_open());
    // Control: `no_new_privs`, as systemd sets it, disables the program's file capabilities.
    let nothing_gained = Confinement { id: USER + 1, ambient: true, ..confined.clone() };
    assert!(!run(&nothing_gained, "/firewall-agent") && host.is_open());
    // Control: a filter without the agent's bpf(2) call.
    let without =
        Confinement { filter: filter(calls.iter().filter(|name| *name != "bpf")), ..confined.clone() };
    assert!(!run(&without, "/firewall-agent") && host.is_open());

    let log = host.lab.dir().join("log");
    let mut agent = confined.start(&host.db, "/firewall-agent", &arguments, &log).unwrap();
    host.is_filtered_by(&mut agent, &rules);
    has_few_rights(&agent, USER, false);

    // The kernel confirms the data that the program reports about itself.
    let output =
        confined.command(&host.db, "/firewall-agent").args(["status", "-o", "json"]).output().unwrap();
    let status: Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"));
    let version = VersionOutput::of(&program);
    assert_eq!(status["interfaces"][0]["program_tag"], version.tag.as_str(), "{version:?}");
    assert_eq!(status["agent"]["object"], version.object.as_str());
    assert!(status["agent"]["version"].as_str().unwrap().contains(&version.revision));
    // The end of a container opens nothing.
    agent.kill().unwrap();
    assert!(!host.is_open());
    assert!(!in_root(&root, &["/firewall-agent", "health"]).status.success());
}

/// Unpacks the archive, and its only layer into `root`; returns the image's configuration.
fn unpack(dir: &Path, root: &Path) -> Value {
    let tar = |from: &Path, into: &Path| {
        fs::create_dir_all(into).unwrap();
        let mut tar = Command::new("tar");
        tar.args(["--xattrs", "--xattrs-include=*", "-xf"]).arg(from).arg("-C").arg(into);
        assert!(tar.status().unwrap().success(), "{}", from.display());
    };
    let json = |path: &Path| -> Value { serde_json::from_slice(&fs::read(path).unwrap()).unwrap() };
    tar(&artefact("firewall-agent.oci.tar").unwrap(), dir);
    let blob = |digest: &Value| {
        dir.join("blobs/sha256").join(digest.as_str().unwrap().strip_prefix("sha256:").unwrap())
    };
    let manifest = json(&blob(&json(&dir.join("index.json"))["manifests"][0]["digest"]));
    assert_eq!(manifest["layers"].as_array().unwrap().len(), 1);
    tar(&blob(&manifest["layers"][0]["digest"]), root);
    json(&blob(&manifest["config"]["digest"]))
}

/// Runs the init container: root with CAP_CHOWN and CAP_FOWNER, twice, as after a restart of the pod.
fn prepare(host: &TestHost, agent: &Confinement) {
    let init = Confinement { id: 0, capabilities: 1 << 0 | 1 << 3, ambient: true, ..agent.clone() };
    let arguments = ["prepare", "--owner", "65532:65532"];
    for _ in 0..2 {
        let done = init.command(&host.db, "/firewall-agent").args(arguments).output().unwrap();
        assert!(done.status.success(), "{done:?}");
    }
    // Control: without CAP_CHOWN.
    let without = Confinement { capabilities: 1 << 3, ..init };
    let done = without.command(&host.db, "/firewall-agent").args(["prepare", "--owner", "1:1"]).output();
    let done = done.unwrap();
    assert_eq!(done.status.code(), Some(1), "{done:?}");
    assert!(String::from_utf8_lossy(&done.stderr).contains("needs root with CAP_CHOWN"), "{done:?}");
}

/// Mounts the file systems of a runtime and the volumes of the manifest; returns the directory of the rule files.
fn mount_volumes(host: &TestHost, root: &Path, pins: &Path) -> PathBuf {
    bind(root, root);
    for (kind, at) in [("proc", "proc"), ("sysfs", "sys")] {
        fs::create_dir(root.join(at)).unwrap();
        mount(Some(kind), &root.join(at), Some(kind), MsFlags::MS_RDONLY, None::<&str>).unwrap();
    }
    let volumes = host.lab.dir().join("volumes");
    for (name, owner) in [("config", 0), ("rules", 0), ("state", 0), ("bpf", 0), ("run", USER)] {
        let from = if name == "bpf" { pins.to_owned() } else { volumes.join(name) };
        fs::create_dir_all(&from).unwrap();
        chown(&from, Some(owner), Some(owner)).unwrap();
        let text = daemonset();
        let (_, agent) = text.split_once("      containers:\n").unwrap();
        let line = format!("- {{name: {name}, mountPath: ");
        let (_, rest) = agent.split_once(&line).unwrap();
        let point = rest.split([',', '}']).next().unwrap();
        let point = root.join(point.trim_start_matches('/'));
        bind(&from, &point);
        if rest.lines().next().unwrap().contains("readOnly: true") {
            read_only(&point);
        }
    }
    fs::write(volumes.join("config/config.yaml"), config()).unwrap();
    fs::create_dir(volumes.join("rules/rules.d")).unwrap();
    volumes.join("rules/rules.d")
}
