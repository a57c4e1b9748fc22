//! kubectl on the node, as an administrator.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use firewall_tests::lab::Answer;
use serde_json::Value;

use super::node::{Node, run};
use super::services::NODE;

const CONFIG: &str = "/etc/kubernetes/admin.conf";
pub const NAMESPACE: &str = "firewall-agent";

#[derive(Debug, Clone, Copy)]
pub struct Kubectl<'a>(pub &'a Node);

/// A pod of the DaemonSet.
#[derive(Debug, PartialEq, Eq)]
pub struct Pod {
    pub name: String,
    /// Identifies the pod, and its directory on the node.
    pub uid: String,
    pub image: String,
    /// The digest of the running image.
    pub image_id: String,
    /// Identifies the running container.
    pub container: String,
    /// The startup probe has succeeded.
    pub is_started: bool,
    pub is_ready: bool,
}

impl Kubectl<'_> {
    pub fn command(self, arguments: &[&str]) -> Result<Command> {
        let mut command = self.0.command("kubectl")?;
        command.env("KUBECONFIG", CONFIG).args(["--namespace", NAMESPACE]).args(arguments);
        Ok(command)
    }

    /// Runs a command that must succeed; returns its standard output.
    pub fn run(self, arguments: &[&str]) -> Result<String> {
        run(&mut self.command(arguments)?)
    }

    /// Runs a command that must fail; returns its standard error.
    pub fn refused(self, arguments: &[&str]) -> Result<String> {
        let Answer { code, out, err } = Answer::of(&mut self.command(arguments)?)?;
        ensure!(code != Some(0), "kubectl {}: not refused: {out}", arguments.join(" "));
        Ok(err)
    }

    pub fn json(self, arguments: &[&str]) -> Result<Value> {
        let out = self.run(&[arguments, &["-o", "json"]].concat())?;
        serde_json::from_str(&out).with_context(|| format!("kubectl {}: {out:?}", arguments.join(" ")))
    }

    /// Returns the pods of the DaemonSet without those that are being deleted.
    pub fn pods(self) -> Result<Vec<Pod>> {
        let pods = self.json(&["get", "pods"])?;
        let items = pods["items"].as_array().context("pods: no list")?;
        Ok(items.iter().filter(|pod| pod["metadata"]["deletionTimestamp"].is_null()).map(Pod::of).collect())
    }

    /// Returns the only pod of the DaemonSet.
    pub fn pod(self) -> Result<Pod> {
        let mut pods = self.pods()?;
        ensure!(pods.len() == 1, "{} pods, not one: {pods:?}", pods.len());
        pods.pop().context("no pod")
    }

    /// Returns the state of the node that it has reported since a time as of [`Kubectl::now`].
    pub fn is_node_ready(self, since: &str) -> Result<bool> {
        let node = self.json(&["get", "node", NODE])?;
        let conditions = node["status"]["conditions"].as_array().context("node: no conditions")?;
        Ok(conditions.iter().any(|condition| {
            let reported = condition["lastHeartbeatTime"].as_str().unwrap_or_default();
            condition["type"] == "Ready" && condition["status"] == "True" && reported >= since
        }))
    }

    /// Returns the time as the API server writes it.
    pub fn now(self) -> Result<String> {
        Ok(run(self.0.command("date")?.args(["-u", "+%Y-%m-%dT%H:%M:%SZ"]))?.trim().to_owned())
    }
}

impl Pod {
    fn of(pod: &Value) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let container = &pod["status"]["containerStatuses"][0];
        Self {
            name: text(&pod["metadata"]["name"]),
            uid: text(&pod["metadata"]["uid"]),
            image: text(&pod["spec"]["containers"][0]["image"]),
            image_id: text(&container["imageID"]),
            container: text(&container["containerID"]),
            is_started: container["started"] == true,
            is_ready: container["ready"] == true,
        }
    }
}
