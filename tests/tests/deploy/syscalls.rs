//! The unit's seccomp filter allows every system call that the agent makes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use firewall_agent::files::read::read_rule_file;
use firewall_tests::lab::{RuleFile, TestHost, User, database_of, eventually};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch, apply_filter};
use serde_json::Value;

use crate::units::{deploy, unit, values};

#[test]
fn unit_syscall_filter_permits_the_agent() {
    let host = TestHost::builder().guarded_ports(&["5432"]).rules(rules(1)).build();
    let (db, home) = (&host.db, &host.home);

    let trace = home.config().with_file_name("trace");
    let mut strace = User::Unprivileged.command(db, "strace");
    strace.args(["-f", "-qq", "-o"]).arg(&trace);
    // strace is killed with this thread, and the agent with strace.
    strace.args(["setpriv", "--pdeathsig", "KILL", "--"]);
    strace.arg(home.config().with_file_name("firewall-agent")).arg("run").arg("--config").arg(home.config());
    let mut child = strace.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let in_force = |revision| {
        let what = format!("revision {revision} in force");
        let is = || home.status().ok().filter(|status| database_of(status, "orders")["revision"] == revision);
        eventually(Duration::from_secs(30), &what, is).unwrap()
    };
    in_force(1);
    host.push(&rules(2));
    let status = in_force(2);
    assert_eq!(home.ask(&["rebase", "orders"]).unwrap().code, Some(0));
    let agent = status["agent"]["pid"].as_i64().unwrap();
    kill(Pid::from_raw(agent.try_into().unwrap()), Signal::SIGTERM).unwrap();
    assert!(child.wait().unwrap().success());

    let made = calls(&fs::read_to_string(&trace).unwrap());
    assert!(
        ["bpf", "adjtimex", "openat2"].iter().all(|call| made.contains(*call)) && made.len() > 30,
        "{made:?}"
    );
    let allowed = allowed_by(&unit());
    for (filter, allowed) in [("unit", &allowed), ("profile", &profile())] {
        let refused: BTreeSet<_> = made.difference(allowed).collect();
        assert!(refused.is_empty(), "{filter}: {refused:?}");
    }
    // The profile of the pod is the stricter one.
    assert!(profile().is_subset(&allowed), "{:?}", profile().difference(&allowed));
    // Control: without its additions the filter would stop the agent.
    let service = "SystemCallFilter=@system-service\n";
    assert!(["bpf", "adjtimex"].iter().all(|call| !allowed_by(service).contains(*call)));
    assert!(!allowed_by(&format!("{}ProtectClock=yes\n", unit())).contains("adjtimex"));
    assert!(!allowed_by(&format!("{}RestrictSUIDSGID=yes\n", unit())).contains("openat2"));
}

/// The agent opens rule files with openat2(2), which old filters refuse; it then names the call.
#[test]
fn missing_openat2_is_reported_and_has_no_fallback() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("orders.yaml");
    fs::write(&path, rules(1).to_string()).unwrap();
    assert_eq!(read_rule_file(&path).unwrap(), rules(1).to_string().into_bytes(), "the control");
    for (errno, name) in [(libc::EPERM, "EPERM"), (libc::ENOSYS, "ENOSYS")] {
        let refused = thread::scope(|scope| {
            // A filter belongs to one thread and ends with it.
            let read = scope.spawn(|| {
                let calls = BTreeMap::from([(libc::SYS_openat2, Vec::new())]);
                let refuse = SeccompAction::Errno(errno.cast_unsigned());
                let arch = TargetArch::try_from(std::env::consts::ARCH).unwrap();
                let filter = SeccompFilter::new(calls, SeccompAction::Allow, refuse, arch).unwrap();
                apply_filter(&BpfProgram::try_from(filter).unwrap()).unwrap();
                read_rule_file(&path).unwrap_err().to_string()
            });
            read.join().unwrap()
        });
        assert!(refused.contains(name) && refused.contains("openat2"), "{refused}");
    }
}

/// Returns the names of the calls in strace's output.
fn calls(trace: &str) -> BTreeSet<String> {
    let name = |line: &str| {
        let rest = line.trim_start_matches(|c: char| c.is_ascii_digit()).trim_start();
        let (name, _) = rest.split_once('(')?;
        let is_name =
            name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
        (is_name && !name.is_empty()).then(|| name.to_owned())
    };
    trace.lines().filter_map(name).collect()
}

/// Returns the calls that the seccomp profile of the pod allows.
fn profile() -> BTreeSet<String> {
    let path = deploy("kubernetes/components/seccomp-profile/firewall-agent.json");
    let profile: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    assert_eq!(profile["defaultAction"], "SCMP_ACT_ERRNO");
    let [allowed] = &profile["syscalls"].as_array().unwrap()[..] else { panic!("{profile}") };
    assert_eq!(allowed["action"], "SCMP_ACT_ALLOW");
    allowed["names"].as_array().unwrap().iter().map(|name| name.as_str().unwrap().to_owned()).collect()
}

/// Returns the calls that the unit's filter allows, with the sets of this machine's systemd.
pub fn allowed_by(unit: &str) -> BTreeSet<String> {
    let mut allowed = BTreeSet::from(["rt_sigreturn", "exit", "exit_group", "execve"].map(str::to_owned));
    for line in values(unit, "SystemCallFilter") {
        let (removes, names) = line.strip_prefix('~').map_or((false, line), |names| (true, names));
        for name in names.split(' ').flat_map(expand) {
            if removes {
                allowed.remove(&name);
            } else {
                allowed.insert(name);
            }
        }
    }
    allowed.extend(expand("@default"));
    // A separate filter; of two filters the stricter one applies.
    if values(unit, "ProtectClock") == ["yes"] {
        expand("@clock").iter().for_each(|name| _ = allowed.remove(name));
    }
    // It refuses the call with any arguments.
    if values(unit, "RestrictSUIDSGID") == ["yes"] {
        allowed.remove("openat2");
    }
    allowed
}

fn expand(name: &str) -> Vec<String> {
    if !name.starts_with('@') {
        return vec![name.to_owned()];
    }
    let out = Command::new("systemd-analyze").args(["syscall-filter", name]).output().unwrap();
    assert!(out.status.success(), "{name}: {out:?}");
    let text = String::from_utf8(out.stdout).unwrap();
    let members =
        text.lines().skip(1).map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    members.flat_map(expand).collect()
}

fn rules(revision: u64) -> RuleFile {
    RuleFile::new("orders", revision).endpoint("192.0.2.10:5432")
}
