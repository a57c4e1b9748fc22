//! systemd's own verification of the units.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use firewall_tests::lab::{CAPABILITY_MASK, agent_binary};

/// Highest exposure for `systemd-analyze security`, in tenths: the rest is network and BPF, the agent's work.
const EXPOSURE: &str = "25";

pub fn unit() -> String {
    fs::read_to_string(deploy("systemd/firewall-agent.service")).unwrap()
}

/// The agent, and the unit that restores the last good state before the network starts.
const UNITS: [&str; 2] = ["firewall-agent.service", "firewall-agent-restore.service"];

/// Returns every value of a setting, in order.
pub fn values<'a>(unit: &'a str, setting: &str) -> Vec<&'a str> {
    let value = |line: &'a str| line.strip_prefix(setting)?.strip_prefix('=');
    unit.lines().filter_map(value).collect()
}

#[test]
fn units_are_valid_and_have_low_exposure() {
    let dir = tempfile::tempdir().unwrap();
    let verify_as = |name: &str, text: &str| {
        // The program is in its build directory, not installed.
        let built = agent_binary().unwrap();
        let text = text.replace("/usr/bin/firewall-agent", built.to_str().unwrap());
        let path = dir.path().join(name);
        fs::write(&path, text).unwrap();
        let analyze = |arguments: &[&str]| -> Output {
            Command::new("systemd-analyze").args(arguments).arg(&path).output().unwrap()
        };
        (analyze(&["verify"]), analyze(&["security", "--offline=true", &format!("--threshold={EXPOSURE}")]))
    };
    for name in UNITS {
        let text = fs::read_to_string(deploy("systemd").join(name)).unwrap();
        let (verified, secure) = verify_as(name, &text);
        assert!(verified.status.success() && verified.stderr.is_empty(), "{name}: {verified:?}");
        assert!(secure.status.success(), "{name}: {}", String::from_utf8_lossy(&secure.stdout));
    }
    let verify = |text: &str| verify_as(UNITS[0], text);
    // Controls: a misspelt setting, and a unit with every privilege.
    let (misspelt, _) = verify(&unit().replace("ProtectHostname=", "ProtectHostnames="));
    assert!(!misspelt.status.success() || !misspelt.stderr.is_empty(), "{misspelt:?}");
    let (_, exposed) = verify("[Service]\nExecStart=/usr/bin/firewall-agent run\n");
    assert!(!exposed.status.success());
}

#[test]
fn unit_grants_the_three_tested_capabilities() {
    for name in UNITS {
        let unit = fs::read_to_string(deploy("systemd").join(name)).unwrap();
        for setting in ["AmbientCapabilities", "CapabilityBoundingSet"] {
            let mut mask = 0;
            for capability in values(&unit, setting).concat().split(' ') {
                mask |= match capability {
                    "CAP_NET_ADMIN" => 1 << 12,
                    "CAP_PERFMON" => 1 << 38,
                    "CAP_BPF" => 1 << 39,
                    other => panic!("{name}: {setting}: {other}"),
                };
            }
            assert_eq!(mask, CAPABILITY_MASK, "{name}: {setting}");
        }
        assert_eq!(values(&unit, "NoNewPrivileges"), ["yes"], "{name}");
        assert_eq!(values(&unit, "User"), ["firewall-agent"], "{name}");
    }
}

#[test]
fn units_declare_readiness_and_failure_codes() {
    let restore = fs::read_to_string(deploy("systemd/firewall-agent-restore.service")).unwrap();
    let drop_in = fs::read_to_string(deploy("systemd/database.conf")).unwrap();
    let manual = include_str!("../../../docs/install.md");
    for (unit, setting, expected) in [
        (unit(), "Type", "notify"),
        (unit(), "NotifyAccess", "main"),
        (unit(), "WatchdogSec", "30"),
        (unit(), "ExecReload", "/bin/kill -HUP $MAINPID"),
        (unit(), "TimeoutStartSec", "infinity"),
        (unit(), "JobRunningTimeoutSec", "60"),
        (restore.clone(), "Type", "oneshot"),
        (restore.clone(), "RemainAfterExit", "yes"),
        (restore.clone(), "SuccessExitStatus", "6"),
        (restore, "RefuseManualStop", "yes"),
        (manual.to_owned(), "Requires", UNITS[1]),
        (manual.to_owned(), "After", UNITS[1]),
        (drop_in.clone(), "Requires", UNITS[1]),
        (drop_in, "After", UNITS[1]),
    ] {
        assert_eq!(values(&unit, setting), [expected], "{setting}");
    }
}

/// An installation without the units runs the documented commands in their place.
#[test]
fn documented_directories_are_those_of_the_units() {
    let manual = include_str!("../../../docs/install.md");
    let (_, section) = manual.split_once("\n## Users and privileges\n").unwrap();
    let (_, block) = section.split_once("```sh\n").unwrap();
    let documented: Vec<&str> = block.split_once("```").unwrap().0.lines().collect();
    let unit = unit();
    let steps = values(&unit, "ExecStartPre").into_iter();
    let steps = steps.map(|step| step.trim_start_matches("+/usr/bin/").to_owned());
    let directory = |setting: &str, parent: &str| {
        let [name, mode] = [setting.to_owned(), format!("{setting}Mode")]
            .map(|setting| values(&unit, &setting).first().map(|value| (*value).to_owned()).unwrap());
        format!("install -d -m {mode} -o {name} -g {name} {parent}/{name}")
    };
    let directories = [directory("StateDirectory", "/var/lib"), directory("RuntimeDirectory", "/run")];
    assert_eq!(documented, steps.chain(directories).collect::<Vec<_>>());
}

pub fn deploy(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy")).join(name)
}
