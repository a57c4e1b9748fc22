//! The cluster from its first boot to its last: hosts, node and server, and the order of the steps.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use firewall_tests::lab::{Lab, RuleFile};
use fs_err as fs;

use super::cgroups::Cgroups;
use super::hosts::Hosts;
use super::kubectl::{Kubectl, Pod};
use super::node::{Node, run};
use super::plan::Plan;
use super::report::Report;
use super::services::{self, PAUSE};
use super::traffic::{CLIENT, DATABASE, Database, Traffic};

/// Directory of the shipped manifests on the node, and other paths there.
pub const MANIFESTS: &str = "/deploy/kubernetes";
/// Directory of the kubectl that renders the components.
pub const RENDERER: &str = "/renderer";
const RULES: &str = "/etc/firewall-agent/rules.d";
pub const IMAGE: &str = "firewall-agent";
/// Tag of the shipped manifests, and of the other build.
const SHIPPED: &str = env!("CARGO_PKG_VERSION");
pub const NEXT: &str = "next";
const NODE_READY: Duration = Duration::from_secs(30);

/// The fields drop in order: the node ends before the lab leaves its namespaces.
#[derive(Debug)]
pub struct Scenario {
    pub node: Node,
    pub hosts: Hosts,
    pub database: Database,
    pub report: Report,
    /// The revision of the last rule file.
    revision: u64,
    _lab: Lab,
}

/// Plays the scenario; returns its report.
pub fn play(plan: &Plan) -> Result<Report> {
    let mut scenario = Scenario::boot(plan)?;
    scenario.is_open_without_agent()?;
    scenario.apply_manifests()?;
    scenario.is_not_ready_without_rules()?;
    scenario.has_few_rights()?;
    scenario.becomes_ready_by_rules()?;
    scenario.answers_operators()?;
    scenario.takes_rules_of_a_config_map()?;
    scenario.updates_under_traffic()?;
    scenario.filters_without_daemonset()?;
    scenario.reboots_with_restore()?;
    scenario.reboots_without_restore()?;
    scenario.node.lose_power()?;
    Ok(scenario.report)
}

impl Scenario {
    /// Boots the node for the first time; loads its images.
    fn boot(plan: &Plan) -> Result<Self> {
        let lab = Lab::new()?;
        // The node has a cgroup namespace.
        lab.uncover_cgroups()?;
        let hosts = Hosts::build(&lab)?;
        let cgroups = Cgroups::of(plan.run)?;
        let mut node = Node::new(&lab, &hosts.node, &plan.packages, cgroups, &plan.logs)?;
        node.mount(&plan.deploy, "/deploy")?;
        node.mount(&plan.kubectl, RENDERER)?;
        fs::copy(&plan.program, node.path("/usr/bin/firewall-agent"))?;
        services::configure(&node)?;
        let database = Database::start(&hosts.node)?;
        let began = Instant::now();
        node.boot()?;
        services::start_containerd(&mut node)?;
        services::start_kubernetes(&mut node)?;
        let ready = began.elapsed();
        let agent = |tag| format!("docker.io/library/{IMAGE}:{tag}");
        for (archive, name) in
            [(&plan.pause, PAUSE), (&plan.agent, &agent(SHIPPED)), (&plan.another, &agent(NEXT))]
        {
            load(&node, archive, name)?;
        }
        let mut report = Report::new(platform(&node, plan)?);
        report.add_bounded("start of the node to node Ready", ready, NODE_READY);
        Ok(Self { node, hosts, database, report, revision: 0, _lab: lab })
    }

    pub fn revision(&self) -> u64 {
        self.revision
    }

    pub fn kubectl(&self) -> Kubectl<'_> {
        Kubectl(&self.node)
    }

    /// Returns a rule file of the next revision that allows the client, and these sources.
    pub fn next_rules(&mut self, others: &[String]) -> RuleFile {
        self.revision += 1;
        let file = RuleFile::new("orders", self.revision).endpoint(&DATABASE.to_string());
        let sources = [CLIENT.to_string()];
        let sources = sources.iter().chain(others);
        sources.fold(file, |file, source| file.allow(&format!("{source}/32")))
    }

    /// Publishes a rule file on the host, as a control plane does.
    pub fn push(&self, file: &RuleFile) -> Result<Instant> {
        let dir = self.node.path(RULES);
        fs::create_dir_all(&dir)?;
        fs::write(dir.join(".new"), file.to_string())?;
        fs::rename(dir.join(".new"), dir.join(format!("{}.yaml", file.database())))?;
        Ok(Instant::now())
    }

    /// Waits for a ready pod that `is_it` accepts.
    pub fn wait_for_pod(&mut self, what: &str, is_it: impl Fn(&Pod) -> bool) -> Result<Pod> {
        self.node.wait_for(what, |node| {
            let pod = Kubectl(node).pod().ok()?;
            (pod.is_ready && is_it(&pod)).then_some(pod)
        })
    }

    pub fn traffic(&self) -> Traffic {
        Traffic::start(&self.hosts.client, &self.hosts.stranger)
    }
}

/// Loads an image from an archive and names it.
fn load(node: &Node, archive: &Path, name: &str) -> Result<()> {
    let mut import = node.command("ctr")?;
    import.args(["--namespace", "k8s.io", "images", "import", "--index-name", name, "-"]);
    let archive = fs::File::open(archive)?.into_file();
    run(import.stdin(archive)).with_context(|| format!("{name}: not loaded")).map(drop)
}

/// Returns date and versions.
fn platform(node: &Node, plan: &Plan) -> Result<String> {
    let kernel = run(node.command("uname")?.arg("-r"))?;
    let date = run(node.command("date")?.args(["-u", "+%Y-%m-%d"]))?;
    let version = run(std::process::Command::new(&plan.program).arg("--version"))?;
    let version = version.lines().next().unwrap_or_default();
    let parts = [format!("date: {}", date.trim()), format!("Linux {}", kernel.trim()), version.to_owned()];
    let packages = plan.packages.iter().map(|one| format!("{} {}", one.name, one.version));
    Ok(parts.into_iter().chain(packages).map(|part| format!("* {part}\n")).collect())
}
