//! The static program.

use std::path::PathBuf;

use anyhow::Result;
use fs_err as fs;
use xshell::cmd;

use super::Artefacts;
use crate::run::say;
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
        let sh = &self.sources.shell;
        let (target, profile) = (self.target(), self.profile.name());
        cmd!(sh, "rustup target add {target}").run()?;
        // The linker that comes with rustc supports every architecture.
        let linker = format!("target.{target}.linker = \"rust-lld\"");
        let build = cmd!(
            sh,
            "cargo build --locked --package firewall-agent --target {target} --profile {profile}
             --config {linker} --message-format json-render-diagnostics"
        );
        let build = build.env("FIREWALL_REVISION", &self.revision);
        say(format_args!("$ {build}"));
        fs::write(self.dir.join("compiled.json"), build.read()?)?;
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
    Ok(cmd!(workspace.shell, "git describe --always --dirty --abbrev=12 --exclude=*").read()?)
}
