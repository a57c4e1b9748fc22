//! Steps of an installation: manifests, privileges, readiness, and the commands of an operator.

use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use firewall_tests::lab::{CAPABILITY_MASK, eventually, process_status};
use fs_err as fs;
use procfs_core::process::Status;

use super::kubectl::Kubectl;
use super::report::seconds;
use super::scenario::{MANIFESTS, Scenario};
use super::traffic::{gets_in, is_let_in};

/// Bound of the readiness after the first rule file.
const POD_READY: Duration = Duration::from_secs(5);
/// Two periods of the readiness probe, and more.
const TWO_PROBES: Duration = Duration::from_secs(11);
/// User and group of the pod.
const USER: u32 = 65532;
/// Limit of `kubectl wait`, above every bound.
const LIMIT: &str = "--timeout=60s";

/// Faults, each as a text of the DaemonSet and its replacement: a list entry without a value, and an unknown field.
const NULL: (&str, &str) =
    ("            # Not below /sys: a runtime", "            - # Not below /sys: a runtime");
const UNKNOWN: (&str, &str) = ("runAsNonRoot: true", "runAsRoot: false");

impl Scenario {
    /// The control of everything that follows.
    pub fn is_open_without_agent(&mut self) -> Result<()> {
        for host in [&self.hosts.client, &self.hosts.stranger] {
            ensure!(is_let_in(host), "{}: not let in without the DaemonSet", host.name());
        }
        self.report.add("control, without the DaemonSet: a stranger reaches the port", "yes");
        Ok(())
    }

    /// The API server accepts the manifests as shipped, and refuses them with a fault.
    pub fn apply_manifests(&mut self) -> Result<()> {
        self.kubectl().run(&["apply", "--validate=true", "-k", MANIFESTS])?;
        let shipped = format!("{MANIFESTS}/daemonset.yaml");
        let text = fs::read_to_string(self.node.path(&shipped))?;
        // With `--server-side` the API server decodes the text strictly; otherwise it drops unknown fields.
        let decoded = ["apply", "--dry-run=server", "--validate=false", "--server-side", "--force-conflicts"];
        let checked = ["apply", "--dry-run=server", "--validate=true"];
        for arguments in [&decoded[..], &checked] {
            self.kubectl().run(&[arguments, &["-f", &shipped]].concat())?;
            for (good, bad) in [NULL, UNKNOWN] {
                ensure!(text.contains(good), "{shipped}: lacks {good:?}");
                self.node.write("/tmp/faulty.yaml", &text.replace(good, bad))?;
                let arguments = [arguments, &["-f", "/tmp/faulty.yaml"]].concat();
                let refusal = self.kubectl().refused(&arguments)?;
                ensure!(!refusal.contains("connection"), "kubectl: not refused by the API server: {refusal}");
            }
        }
        self.report.add(
            "`kubectl apply -k deploy/kubernetes` as shipped; controls with a null entry, with an unknown field",
            "applied; refused by the API server",
        );
        Ok(())
    }

    pub fn is_not_ready_without_rules(&mut self) -> Result<()> {
        self.node.wait_for("pod: started", |node| Kubectl(node).pod().ok()?.is_started.then_some(()))?;
        let since = Instant::now();
        while since.elapsed() < TWO_PROBES {
            let pod = self.kubectl().pod()?;
            ensure!(!pod.is_ready, "{}: ready without a rule file", pod.name);
            sleep(Duration::from_millis(500));
        }
        for host in [&self.hosts.client, &self.hosts.stranger] {
            ensure!(!is_let_in(host), "{}: let in at a guarded port without a rule file", host.name());
        }
        let figure = format!("not Ready for {}, the port is closed", seconds(TWO_PROBES));
        self.report.add("the pod runs, without a rule file", figure);
        Ok(())
    }

    pub fn has_few_rights(&mut self) -> Result<()> {
        let status = agent_status()?;
        let ids = [status.ruid, status.euid, status.suid, status.fuid, status.rgid, status.egid];
        ensure!(ids == [USER; 6], "pod: users and groups {ids:?}, not {USER}");
        let sets = [status.capprm, status.capeff, status.capbnd.unwrap_or_default()];
        ensure!(sets == [CAPABILITY_MASK; 3], "pod: capabilities {sets:x?}, not {CAPABILITY_MASK:x}");
        ensure!(status.seccomp == Some(2), "pod: no filter of system calls: {:?}", status.seccomp);
        let figure = format!(
            "uid {}, effective {:x}, permitted {:x}, bounding {:x} (BPF, NET_ADMIN, PERFMON), seccomp {}",
            status.euid, sets[1], sets[0], sets[2], 2
        );
        self.report.add("rights of the running agent, by `/proc/PID/status`", figure);
        Ok(())
    }

    /// The first rule file on the host.
    pub fn becomes_ready_by_rules(&mut self) -> Result<()> {
        let pod = self.kubectl().pod()?.name;
        let mut wait = self.kubectl().command(&["wait", "--for=condition=Ready", "pod", &pod, LIMIT])?;
        let mut wait = wait.spawn().context("kubectl: not started")?;
        sleep(Duration::from_secs(1));
        let rules = self.next_rules(&[]);
        let pushed = self.push(&rules)?;
        let client = self.hosts.client.clone();
        eventually(POD_READY, "the client is let in", || gets_in(&client).then_some(()))?;
        let in_force = pushed.elapsed();
        ensure!(wait.wait()?.success(), "{pod}: not Ready after a rule file");
        let ready = pushed.elapsed();
        ensure!(!is_let_in(&self.hosts.stranger), "the stranger is let in");
        let figure = format!("{} ms", in_force.as_millis());
        self.report.add("rule file on the host to the first allowed connection", figure);
        self.report.add_bounded("rule file on the host to pod Ready", ready, POD_READY);
        Ok(())
    }

    /// The documented commands.
    pub fn answers_operators(&mut self) -> Result<()> {
        let pod = self.kubectl().pod()?.name;
        let log = self.kubectl().run(&["logs", &pod])?;
        ensure!(log.contains("eth0"), "kubectl logs: does not name the interface: {log}");
        let status = self.kubectl().run(&["exec", &pod, "--", "/firewall-agent", "status"])?;
        ensure!(status.contains("orders"), "status: does not name the database: {status}");
        let figure = format!("{} and {} lines", log.lines().count(), status.lines().count());
        self.report.add("`kubectl logs` and `kubectl exec … status`", figure);
        Ok(())
    }
}

/// Returns the kernel's view of the daemon; no other agent runs in this PID namespace.
fn agent_status() -> Result<Status> {
    let is_daemon = |dir: &Path| {
        let words = fs::read_to_string(dir.join("cmdline")).unwrap_or_default();
        words.starts_with("/firewall-agent\0run\0")
    };
    for entry in fs::read_dir("/proc")? {
        let path = entry?.path();
        if is_daemon(&path) {
            let name = path.file_name().and_then(|name| name.to_str());
            return process_status(name.context("process: no name")?.parse()?);
        }
    }
    bail!("pod: no process of the agent")
}
