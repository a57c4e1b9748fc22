//! The prepared parts of a cluster, passed to the process that plays it.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use fs_err as fs;
use serde::{Deserialize, Serialize};

use super::packages::Unpacked;

#[derive(Debug, Serialize, Deserialize)]
pub struct Plan {
    /// Packages of the node.
    pub packages: Vec<Unpacked>,
    /// The directory `deploy` of the source tree.
    pub deploy: PathBuf,
    /// Directory of a kubectl that renders the components.
    pub kubectl: PathBuf,
    /// The static program, for the host.
    pub program: PathBuf,
    /// Archives of the images: sandbox, agent, another build of the agent.
    pub pause: PathBuf,
    pub agent: PathBuf,
    pub another: PathBuf,
    /// Directory of the logs.
    pub logs: PathBuf,
    /// The report is written here.
    pub report: PathBuf,
    /// Process that runs the command, in the PID namespace of this machine.
    pub run: u32,
}

impl Plan {
    pub fn save(&self, path: &Path) -> Result<()> {
        Ok(fs::write(path, serde_json::to_vec_pretty(self)?)?)
    }

    pub fn load(path: &Path) -> Result<Self> {
        serde_json::from_slice(&fs::read(path)?).with_context(|| format!("{}: no plan", path.display()))
    }
}
