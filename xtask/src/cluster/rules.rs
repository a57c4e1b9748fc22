//! The step with rule files in a ConfigMap instead of on the host.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use firewall_tests::lab::{RuleFile, eventually};
use fs_err as fs;
use serde_json::{Value, json};

use super::kubectl::Kubectl;
use super::node::run;
use super::report::seconds;
use super::scenario::{MANIFESTS, RENDERER, Scenario};
use super::traffic::{STRANGER, gets_in, is_let_in};

pub const DAEMONSET: &str = "daemonset/firewall-agent";
const CONFIG_MAP: &str = "firewall-agent-rules";
const FILE: &str = "/tmp/orders.yaml";
/// Above the kubelet's period of one minute, with the delay of its cache.
const SYNCHRONISED: Duration = Duration::from_secs(200);
/// Precision of a change's times.
const POLL: Duration = Duration::from_millis(10);
const ROLLED_OUT: &str = "--timeout=180s";

/// The times of one change of the ConfigMap, from its apply.
struct Change {
    /// The kubelet has moved the link `..data`.
    swapped: Duration,
    in_force: Duration,
}

impl Scenario {
    /// Applies the shipped component, with a ConfigMap as the directory of the rule files; allows the stranger, and revokes that.
    pub fn takes_rules_of_a_config_map(&mut self) -> Result<()> {
        let first = self.next_rules(&[]);
        self.apply_config_map(&first)?;
        let kustomization = json!({
            "resources": ["../deploy/kubernetes"],
            "components": ["../deploy/kubernetes/components/rules-configmap"],
        });
        self.node.write("/config-map/kustomization.yaml", &kustomization.to_string())?;
        let kubectl = format!("{RENDERER}/kubectl");
        let rendered = run(self.node.command(&kubectl)?.args(["kustomize", "/config-map"]))?;
        self.node.write("/tmp/rendered.yaml", &rendered)?;
        self.kubectl().run(&["apply", "-f", "/tmp/rendered.yaml"])?;
        self.wait_for_rollout()?;
        self.wait_for_revision(&first)?;
        ensure!(is_let_in(&self.hosts.client), "the client is cut by a change to a ConfigMap");
        let opened = self.change(&[STRANGER], true)?;
        let closed = self.change(&[], false)?;
        for (what, change) in [("allowed", &opened), ("revoked", &closed)] {
            let after = change.in_force.saturating_sub(change.swapped).max(POLL).as_millis();
            let figure = format!(
                "{}: `..data` moved after {}, in force within {after} ms of that",
                seconds(change.in_force),
                seconds(change.swapped)
            );
            self.report.add(&format!("ConfigMap applied to in force, a source {what}"), figure);
        }
        // Back to the host's files, which continue with the next revision.
        let next = self.next_rules(&[]);
        self.push(&next)?;
        self.kubectl().run(&["apply", "-k", MANIFESTS])?;
        self.wait_for_rollout()?;
        self.wait_for_revision(&next)
    }

    /// Applies the next revision, and waits until the stranger's connections change.
    fn change(&mut self, sources: &[IpAddr], is_allowed: bool) -> Result<Change> {
        let sources: Vec<String> = sources.iter().map(IpAddr::to_string).collect();
        let pod = self.kubectl().pod()?.uid;
        let link = format!("/var/lib/kubelet/pods/{pod}/volumes/kubernetes.io~configmap/rules/..data");
        let link = self.node.path(&link);
        let before = fs::read_link(&link)?;
        let rules = self.next_rules(&sources);
        let applied = Instant::now();
        self.apply_config_map(&rules)?;
        eventually(SYNCHRONISED, "..data: moved", || {
            fs::read_link(&link).is_ok_and(|now| now != before).then_some(())
        })?;
        let swapped = applied.elapsed();
        let stranger = self.hosts.stranger.clone();
        let in_force = eventually(SYNCHRONISED, "ConfigMap: in force", || {
            let at = applied.elapsed();
            // A busy machine may delay one connection.
            (gets_in(&stranger) == is_allowed && is_let_in(&stranger) == is_allowed).then_some(at)
        })?;
        self.wait_for_revision(&rules)?;
        Ok(Change { swapped, in_force })
    }

    fn apply_config_map(&self, file: &RuleFile) -> Result<()> {
        self.node.write(FILE, &file.to_string())?;
        let from = format!("--from-file=orders.yaml={FILE}");
        let map = self.kubectl().json(&["create", "configmap", CONFIG_MAP, &from, "--dry-run=client"])?;
        self.node.write("/tmp/config-map.json", &map.to_string())?;
        self.kubectl().run(&["apply", "-f", "/tmp/config-map.json"]).map(drop)
    }

    pub fn wait_for_rollout(&self) -> Result<()> {
        self.kubectl().run(&["rollout", "status", DAEMONSET, ROLLED_OUT]).map(drop)
    }

    /// Waits until the agent in the pod reports that this revision is in force.
    fn wait_for_revision(&mut self, file: &RuleFile) -> Result<()> {
        let revision = self.revision();
        self.node.wait_for(&format!("{}: revision {revision} in force", file.database()), |node| {
            let kubectl = Kubectl(node);
            let pod = kubectl.pod().ok()?.name;
            let status =
                kubectl.run(&["exec", &pod, "--", "/firewall-agent", "status", "-o", "json"]).ok()?;
            let status: Value = serde_json::from_str(&status).ok()?;
            (status["databases"][0]["revision"] == revision).then_some(())
        })
    }
}
