//! Directories of the workspace: root, target directory, and the tools installed into it.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use xshell::{Shell, cmd};

#[derive(Debug, Clone)]
pub struct Workspace {
    pub root: PathBuf,
    pub target: PathBuf,
    /// Runs commands in the root; cargo builds into the target directory.
    pub shell: Shell,
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
        Self::at(root, target)
    }

    /// Returns the workspace in these directories.
    pub fn at(root: PathBuf, target: PathBuf) -> Result<Self> {
        let shell = Shell::new()?;
        shell.change_dir(&root);
        shell.set_var("CARGO_TARGET_DIR", &target);
        Ok(Self { root, target, shell })
    }

    /// Returns the root directory of `cargo install`; the programs are in its `bin`.
    pub fn tools(&self) -> PathBuf {
        self.target.join("tools")
    }

    /// Builds the agent's release, as the lab does; returns its path.
    pub fn release_agent(&self) -> Result<PathBuf> {
        cmd!(self.shell, "cargo build --release --workspace --bin firewall-agent").run()?;
        Ok(self.target.join("release/firewall-agent"))
    }

    /// Returns the files under version control and new ones that no ignore rule covers, relative to the root, sorted.
    pub fn files(&self) -> Result<Vec<PathBuf>> {
        let names = cmd!(self.shell, "git ls-files -z --cached --others --exclude-standard").read()?;
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
