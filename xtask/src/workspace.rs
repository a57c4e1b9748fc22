//! Directories of the workspace: root, target directory, and the tools installed into it.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::run::{output, run};

#[derive(Debug)]
pub struct Workspace {
    pub root: PathBuf,
    pub target: PathBuf,
}

impl Workspace {
    /// Returns the workspace that this xtask was built in; its target directory is `CARGO_TARGET_DIR`, else `target`.
    pub fn find() -> Result<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"))
            .parent()
            .context("xtask: its manifest has no parent directory")?
            .to_path_buf();
        let target = match env::var_os("CARGO_TARGET_DIR") {
            Some(dir) => env::current_dir()?.join(dir),
            None => root.join("target"),
        };
        Ok(Self { root, target })
    }

    /// Returns the root directory of `cargo install`; the programs are in its `bin`.
    pub fn tools(&self) -> PathBuf {
        self.target.join("tools")
    }

    /// Returns the cargo that runs this xtask, to be run in the root of the workspace.
    pub fn cargo(&self) -> Command {
        let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.current_dir(&self.root).env("CARGO_TARGET_DIR", &self.target);
        cargo
    }

    /// Builds the agent's release; returns its path.
    pub fn release_agent(&self) -> Result<PathBuf> {
        run(self.cargo().args(["build", "--release", "-p", "firewall-agent"]))?;
        Ok(self.target.join("release/firewall-agent"))
    }

    /// Returns the files under version control and new ones that no ignore rule covers, relative to the root, sorted.
    pub fn files(&self) -> Result<Vec<PathBuf>> {
        let mut git = Command::new("git");
        git.current_dir(&self.root).args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]);
        let names = output(&mut git)?;
        let mut files: Vec<PathBuf> = names
            .split('\0')
            .filter(|name| !name.is_empty())
            .map(PathBuf::from)
            .filter(|file| self.root.join(file).is_file())
            .collect();
        files.sort();
        files.dedup();
        Ok(files)
    }
}
