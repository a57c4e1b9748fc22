//! Steps in which the agent is replaced or gone: an update, a deleted DaemonSet, a reboot of the node.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::json;

use super::kubectl::Kubectl;
use super::report::seconds;
use super::restore;
use super::rules::DAEMONSET;
use super::scenario::{IMAGE, MANIFESTS, NEXT, Scenario};
use super::services;
use super::traffic::{Tally, is_let_in};

/// Traffic after the end of a change.
const AFTERWARDS: Duration = Duration::from_secs(5);
/// Traffic without an agent.
const DELETED: Duration = Duration::from_secs(10);

impl Scenario {
    /// Another image, by `images` of a kustomization as documented, and by an argument another program in the kernel.
    pub fn updates_under_traffic(&mut self) -> Result<()> {
        let before = self.kubectl().pod()?;
        let program = self.program()?;
        let target = json!({"group": "apps", "version": "v1", "kind": "DaemonSet", "name": "firewall-agent"});
        let kustomization = json!({
            "bases": ["../deploy/kubernetes"],
            "images": [{"name": IMAGE, "newTag": NEXT}],
            "patchesJson6902": [{"target": target, "path": "arguments.yaml"}],
        });
        self.node.write("/next/kustomization.yaml", &kustomization.to_string())?;
        let at = "/spec/template/spec/containers/0/args/-";
        let patch = json!([{"op": "add", "path": at, "value": "--packet-log=true"}]);
        self.node.write("/next/arguments.yaml", &patch.to_string())?;
        let traffic = self.traffic();
        let began = Instant::now();
        self.kubectl().run(&["apply", "-k", "/next"])?;
        self.wait_for_rollout()?;
        let after = self.wait_for_pod("the new pod is ready", |pod| pod.image.ends_with(NEXT))?;
        let took = began.elapsed();
        sleep(AFTERWARDS);
        let tally = traffic.stop(&self.database)?;
        ensure!(
            after.uid != before.uid && after.image_id != before.image_id,
            "pod: {after:?} for {before:?}"
        );
        let replaced = self.program()?;
        ensure!(program != replaced, "eth0: still the program {program}");
        let figure = format!("{}, {program} → {replaced}; {}", seconds(took), unbroken(&tally, began)?);
        self.report.add("rolling update to another image and another program, under traffic", figure);
        Ok(())
    }

    /// Tag of the program on the node's interface, by the agent in the pod.
    fn program(&self) -> Result<String> {
        let pod = self.kubectl().pod()?.name;
        let status = self.kubectl().json(&["exec", &pod, "--", "/firewall-agent", "status"])?;
        let tag = status["interfaces"][0]["program_tag"].as_str().filter(|tag| !tag.is_empty());
        Ok(tag.with_context(|| format!("status: no program of an interface: {status}"))?.to_owned())
    }

    /// Filtering stays.
    pub fn filters_without_daemonset(&mut self) -> Result<()> {
        let traffic = self.traffic();
        let began = Instant::now();
        self.kubectl().run(&["delete", DAEMONSET])?;
        self.node.wait_for("pod: gone", |node| {
            let pods = Kubectl(node).run(&["get", "pods", "-o", "name"]).ok()?;
            pods.is_empty().then_some(())
        })?;
        sleep(DELETED);
        let tally = traffic.stop(&self.database)?;
        self.report.add("DaemonSet deleted, under traffic", unbroken(&tally, began)?);
        Ok(())
    }

    /// With the restore unit's steps on the host, before its network is up.
    pub fn reboots_with_restore(&mut self) -> Result<()> {
        self.kubectl().run(&["apply", "-k", MANIFESTS])?;
        self.wait_for_rollout()?;
        restore::install(&self.node)?;
        let mut took = Duration::ZERO;
        let (tally, up, ready) = self.reboot(|scenario| {
            took = restore::run_unit(&scenario.node)?;
            Ok(())
        })?;
        let figure = format!(
            "restore takes {}, the pod is Ready {} after the network; {}",
            seconds(took),
            seconds(ready),
            unbroken(&tally, up)?
        );
        self.report.add("reboot with `firewall-agent-restore` on the host", figure);
        Ok(())
    }

    /// The control: the DaemonSet alone.
    pub fn reboots_without_restore(&mut self) -> Result<()> {
        let (tally, _, ready) = self.reboot(|_| Ok(()))?;
        ensure!(!tally.leaked.is_empty(), "reboot: the stranger stays out without `restore`");
        ensure!(!is_let_in(&self.hosts.stranger), "reboot: the stranger is let in for good");
        let figure = format!(
            "a stranger gets in for **{}** ({} connections), until the pod has attached; it is Ready {} after the network",
            seconds(tally.leaked_for()),
            tally.leaked.len(),
            seconds(ready)
        );
        self.report.add("control, reboot with the DaemonSet alone", figure);
        Ok(())
    }

    /// Takes the power from the node and boots it, under traffic; runs `early` before the network is up. Returns also
    /// the time at which the network was up, and the time from then on until the pod was ready.
    fn reboot(&mut self, early: impl FnOnce(&Self) -> Result<()>) -> Result<(Tally, Instant, Duration)> {
        let before = self.wait_for_pod("the pod is ready", |_| true)?.container;
        let traffic = self.traffic();
        self.hosts.take_down()?;
        self.node.lose_power()?;
        self.node.boot()?;
        early(self)?;
        let up = Instant::now();
        self.hosts.bring_up()?;
        services::start_containerd(&mut self.node)?;
        services::start_kubernetes(&mut self.node)?;
        self.wait_for_pod("the pod is ready again", |pod| pod.container != before)?;
        let ready = up.elapsed();
        sleep(AFTERWARDS);
        Ok((traffic.stop(&self.database)?, up, ready))
    }
}

/// Requires that no connection of the stranger arrived and none of the client lost a packet since a time; returns the
/// figures.
fn unbroken(tally: &Tally, since: Instant) -> Result<String> {
    let (allowed, lost) = tally.allowed(since);
    let (denied, leaked) = (tally.denied, tally.leaked.len());
    ensure!(allowed > 0 && denied > 0, "traffic: {allowed} allowed, {denied} denied attempts");
    ensure!(leaked == 0, "{leaked} of {denied} connections of the stranger got in");
    ensure!(lost == 0, "{lost} of {allowed} connections of the client were lost");
    Ok(format!("0 of {denied} denied got in, 0 of {allowed} allowed were lost"))
}
