//! The static program.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;
use fs_err::{self as fs, File};

use super::Artefacts;
use crate::run::{output, run};
use crate::workspace::Workspace;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Profile {
    Release,
    /// Compiled without optimisation, for tests: a faster build of the same code.
    Test,
}

impl Profile {
    pub fn name(self) -> &'static str {
        match self {
            Self::Release => "artefact",
            Self::Test => "artefact-test",
        }
    }
}

impl Artefacts<'_> {
    /// Builds the agent for musl, with the revision of the sources in its `--version`. Writes cargo's messages to
    /// `compiled.json` beside the artefacts.
    pub(super) fn program(&self) -> Result<PathBuf> {
        let target = self.target();
        run(Command::new("rustup").current_dir(&self.sources.root).args(["target", "add", &target]))?;
        let mut build = self.sources.cargo();
        build.args(["build", "--locked", "--package", "firewall-agent", "--target", &target]);
        build.args(["--profile", self.profile.name(), "--message-format", "json-render-diagnostics"]);
        // The linker that comes with rustc supports every architecture.
        build.args(["--config", &format!("target.{target}.linker = \"rust-lld\"")]);
        build.env("FIREWALL_REVISION", &self.revision);
        let compiled = self.dir.join("compiled.json");
        build.stdout(File::create(&compiled)?.into_file());
        run(&mut build)?;
        let built = self.built().join("firewall-agent");
        let program = self.dir.join("firewall-agent");
        fs::copy(&built, &program)?;
        Ok(program)
    }

    /// Returns cargo's output directory.
    pub(super) fn built(&self) -> PathBuf {
        self.sources.target.join(self.target()).join(self.profile.name())
    }
}

pub(super) fn revision(workspace: &Workspace) -> Result<String> {
    let mut git = Command::new("git");
    git.current_dir(&workspace.root).args(["describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]);
    Ok(output(&mut git)?.trim().to_owned())
}
