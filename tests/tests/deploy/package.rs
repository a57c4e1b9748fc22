//! The Debian package: installed by dpkg, run under the settings of its unit, upgraded, removed.

use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use firewall_tests::lab::{CAPABILITY_MASK, Confinement, TestHost, artefact, eventually};
use nix::mount::{MsFlags, mount};

use crate::setup::{Server as _, bind, filter, has_few_rights, in_root, read_only, succeeds, unfiltered};
use crate::syscalls::allowed_by;
use crate::units::values;

const UNIT: &str = "usr/lib/systemd/system/firewall-agent.service";
/// Stub for systemctl and deb-systemd-invoke that records its arguments.
const STUB: &str = "#!/bin/sh\necho \"$(basename \"$0\") $*\" >>/run/calls\n";

#[test]
fn package_installs_upgrades_and_is_removed_without_opening_the_host() {
    let host = unfiltered();
    let root = system(&host);
    let installed = done(in_root(&root, &["dpkg", "-i", "/firewall-agent.deb"]));
    assert!(installed.contains("nothing is filtered yet"), "{installed}");
    let unit = fs::read_to_string(root.join(UNIT)).unwrap();
    assert_eq!(unit, crate::units::unit());
    is_inert(&root);
    let program = &values(&unit, "ExecStart")[0].split(' ').next().unwrap()[1..];
    assert_eq!(fs::read(root.join(program)).unwrap(), fs::read(artefact("firewall-agent").unwrap()).unwrap());

    let (id, rules) = prepare(&root, &unit);
    let seal = |confined: &Path| {
        for writable in ["var/lib/firewall-agent", "run/firewall-agent", "sys/fs/bpf/firewall-agent"] {
            bind(&root.join(writable), &confined.join(writable));
        }
    };
    // Read-only as `ProtectSystem=strict` and `ReadWritePaths` make it; dpkg continues in the writable one.
    let sealed = host.lab.dir().join("sealed");
    bind(&root, &sealed);
    for at in ["proc", "dev", "sys", "sys/fs/bpf", "run"] {
        bind(&root.join(at), &sealed.join(at));
    }
    seal(&sealed);
    for at in ["run", "sys/fs/bpf", "sys", ""] {
        read_only(&sealed.join(at));
    }
    let calls = allowed_by(&unit);
    let confined = Confinement {
        root: sealed,
        id,
        capabilities: CAPABILITY_MASK,
        ambient: true,
        filter: filter(&calls),
    };
    let line: Vec<&str> = values(&unit, "ExecStart")[0].split(' ').collect();
    // Control: the same without ambient capabilities.
    let without = Confinement { ambient: false, ..confined.clone() };
    let mut command = without.command(&host.db, line[0]);
    command.args(&line[1..]).stderr(File::create(host.lab.dir().join("control")).unwrap());
    assert!(!succeeds(command) && host.is_open());

    let log = host.lab.dir().join("log");
    let mut agent = confined.start(&host.db, line[0], &line[1..], &log).unwrap();
    host.is_filtered_by(&mut agent, &rules);
    has_few_rights(&agent, id, true);

    // An upgrade restarts the agent and detaches nothing.
    done(in_root(&root, &["dpkg", "-i", "/firewall-agent.deb"]));
    let calls = fs::read_to_string(root.join("run/calls")).unwrap();
    assert!(calls.contains("deb-systemd-invoke restart firewall-agent.service"), "{calls}");
    assert!(!calls.contains("stop") && !host.is_open(), "{calls}");
    agent.kill().unwrap();

    // A removal detaches nothing and prints what remains; a purge deletes the stored state.
    let removed = done(in_root(&root, &["dpkg", "-r", "firewall-agent"]));
    assert!(removed.contains("stays in force") && removed.contains("detach --yes"), "{removed}");
    assert!(removed.contains("eth0") && !root.join(program).exists() && !host.is_open(), "{removed}");
    assert!(root.join("var/lib/firewall-agent/status.json").exists());
    done(in_root(&root, &["dpkg", "-P", "firewall-agent"]));
    let left = fs::read_dir(root.join("var/lib/firewall-agent")).map_or(0, Iterator::count);
    assert!(left == 0 && !host.is_open());
    assert!(rules.join("orders.yaml").exists());
    // As the removal's message instructs; the kernel releases a link with a delay.
    for link in fs::read_dir(root.join("sys/fs/bpf/firewall-agent/links")).unwrap() {
        fs::remove_file(link.unwrap().path()).unwrap();
    }
    let opened = || host.is_open().then_some(());
    eventually(Duration::from_secs(10), "the host is open without the links", opened).unwrap();
}

/// Returns the root of an overlay with the machine's mounts and the package.
fn system(host: &TestHost) -> PathBuf {
    let root = host.lab.overlay().unwrap();
    bind(Path::new("/proc"), &root.join("proc"));
    bind(Path::new("/dev"), &root.join("dev"));
    bind(Path::new("/sys"), &root.join("sys"));
    bind(Path::new("/sys/fs/bpf"), &root.join("sys/fs/bpf"));
    mount(Some("tmpfs"), &root.join("run"), Some("tmpfs"), MsFlags::empty(), None::<&str>).unwrap();
    // Simulates a running systemd, with stubs of its programs.
    fs::create_dir_all(root.join("run/systemd/system")).unwrap();
    for name in ["systemctl", "deb-systemd-invoke"] {
        let path = root.join("usr/local/sbin").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, STUB).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    fs::copy(artefact("firewall-agent.deb").unwrap(), root.join("firewall-agent.deb")).unwrap();
    root
}

/// Performs the steps of the operator and of systemd: the example configuration, the unit's directories, its steps as
/// root. Returns the user, and the directory of the rule files.
fn prepare(root: &Path, unit: &str) -> (u32, PathBuf) {
    let example = root.join("usr/share/doc/firewall-agent/examples/config.yaml");
    fs::copy(example, root.join("etc/firewall-agent/config.yaml")).unwrap();
    let users = fs::read_to_string(root.join("etc/passwd")).unwrap();
    let user = users.lines().find(|line| line.starts_with("firewall-agent:")).unwrap();
    let id: u32 = user.split(':').nth(2).unwrap().parse().unwrap();
    assert_ne!(id, 0);
    assert_eq!(user.split(':').nth(3), user.split(':').nth(2));
    for (setting, below) in [("StateDirectory", "var/lib"), ("RuntimeDirectory", "run")] {
        let dir = root.join(below).join(values(unit, setting)[0]);
        fs::create_dir_all(&dir).unwrap();
        chown(&dir, Some(id), Some(id)).unwrap();
    }
    for step in values(unit, "ExecStartPre") {
        let step: Vec<&str> = step.strip_prefix('+').unwrap().split(' ').collect();
        done(in_root(root, &step));
    }
    (id, root.join("etc/firewall-agent/rules.d"))
}

/// Requires that the package ships the drop-in for databases and that no unit uses it.
fn is_inert(root: &Path) {
    let shipped = root.join("usr/share/doc/firewall-agent/examples/database.conf");
    assert_eq!(fs::read(shipped).unwrap(), fs::read(crate::units::deploy("systemd/database.conf")).unwrap(),);
    let list = fs::read_to_string(root.join("var/lib/dpkg/info/firewall-agent.list")).unwrap();
    let enabled = list.lines().find(|path| path.starts_with("/etc") || path.contains(".service."));
    assert_eq!(enabled, None);
}

/// Returns the output of a command that must succeed.
fn done(out: Output) -> String {
    assert!(out.status.success(), "{out:?}");
    String::from_utf8_lossy(&[out.stdout, out.stderr].concat()).into_owned()
}
