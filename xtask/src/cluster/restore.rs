//! The host's part beside the DaemonSet, as documented: the program, and the steps of the shipped restore unit.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use fs_err as fs;

use super::node::{Node, run};
use super::services::NODE;

const UNIT: &str = "/deploy/systemd/firewall-agent-restore.service";
const PROGRAM: &str = "/usr/bin/firewall-agent";
const USER: &str = "firewall-agent";
/// `AmbientCapabilities` and `CapabilityBoundingSet` of the unit, in setpriv's syntax.
const CAPABILITIES: &str = "-all,+bpf,+net_admin,+perfmon";
/// The pod's interfaces and guarded ports; the directories are the defaults.
const CONFIG: &str = "interfaces: [eth0]\nguarded_ports: [5432, 30000-32767]\nnode_name: ";

/// Installs the program, its configuration and its user, with the number of the pod's user.
pub fn install(node: &Node) -> Result<()> {
    node.write("/etc/firewall-agent/config.yaml", &format!("{CONFIG}{NODE}\n"))?;
    node.write("/etc/sysusers.d/firewall-agent.conf", "u firewall-agent 65532\n")?;
    run(&mut node.command("systemd-sysusers")?).map(drop)
}

/// Runs the commands of the unit; returns the time that they took.
pub fn run_unit(node: &Node) -> Result<Duration> {
    let began = Instant::now();
    let unit = fs::read_to_string(node.path(UNIT))?;
    for line in unit.lines() {
        if let Some(step) = line.strip_prefix("ExecStartPre=+") {
            run(&mut words(node.command("env")?, step))?;
        }
    }
    let restore = unit.lines().find_map(|line| line.strip_prefix("ExecStart="));
    let restore = restore.with_context(|| format!("{UNIT}: no ExecStart"))?;
    ensure!(restore.starts_with(PROGRAM), "{UNIT}: starts {restore:?}");
    let mut command = node.command("setpriv")?;
    command.args(["--reuid", USER, "--regid", USER, "--clear-groups", "--no-new-privs"]);
    for set in ["--inh-caps", "--ambient-caps", "--bounding-set"] {
        command.args([set, CAPABILITIES]);
    }
    run(&mut words(command, restore))?;
    Ok(began.elapsed())
}

fn words(mut command: Command, line: &str) -> Command {
    command.args(line.split_whitespace());
    command
}
