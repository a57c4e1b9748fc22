//! Programs that `cargo install` builds into the tools, each in a pinned version.

use std::path::PathBuf;

use anyhow::{Result, ensure};
use fs_err as fs;
use xshell::cmd;

use crate::run::{say, succeeds};
use crate::workspace::Workspace;

/// A package whose program has its name.
#[derive(Debug, Clone, Copy)]
pub struct CargoTool<'a> {
    pub name: &'a str,
    pub version: &'a str,
    /// Further arguments of `cargo install`.
    pub arguments: &'a [&'a str],
    /// Further variables of its environment.
    pub environment: &'a [(&'a str, &'a str)],
}

impl CargoTool<'_> {
    fn features(&self) -> impl Iterator<Item = &str> {
        self.arguments.windows(2).filter(|pair| pair[0] == "--features").map(|pair| pair[1])
    }

    /// Returns whether cargo's record contains the program, and it runs: the libraries it was built with still exist.
    pub fn is_installed(&self, workspace: &Workspace) -> bool {
        let record = fs::read_to_string(workspace.tools().join(".crates2.json")).unwrap_or_default();
        let program = self.program(workspace);
        is_recorded(&record, self) && succeeds(cmd!(workspace.shell, "{program} --version"))
    }

    fn program(&self, workspace: &Workspace) -> PathBuf {
        workspace.tools().join("bin").join(self.name)
    }

    /// Builds the program unless it is installed; returns its path.
    pub fn ensure(&self, workspace: &Workspace) -> Result<PathBuf> {
        let Self { name, version, arguments, environment } = *self;
        let tools = workspace.tools();
        if self.is_installed(workspace) {
            return Ok(self.program(workspace));
        }
        say(format_args!("{name} {version}: not in {}, building it", tools.display()));
        let scratch = tools.join(format!("build-{name}"));
        cmd!(workspace.shell, "cargo install {name} --version {version} --locked --force --root {tools}")
            .args(arguments)
            .env("CARGO_TARGET_DIR", &scratch)
            .envs(environment.iter().copied())
            .run()?;
        fs::remove_dir_all(&scratch)?;
        ensure!(self.is_installed(workspace), "{name}: built, but does not run");
        Ok(self.program(workspace))
    }
}

/// Returns whether cargo's record contains this version with these features.
fn is_recorded(record: &str, tool: &CargoTool<'_>) -> bool {
    let Ok(record) = serde_json::from_str::<serde_json::Value>(record) else { return false };
    let start = format!("{} {} (", tool.name, tool.version);
    let installs = record["installs"].as_object().into_iter().flatten();
    let mut installed = installs.filter(|(id, _)| id.starts_with(&start));
    installed.any(|(_, entry)| {
        let features = entry["features"].as_array().into_iter().flatten().filter_map(|one| one.as_str());
        tool.features().eq(features)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tool<'a>(name: &'a str, version: &'a str, arguments: &'a [&'a str]) -> CargoTool<'a> {
        CargoTool { name, version, arguments, environment: &[] }
    }

    #[test]
    fn tool_of_another_version_or_features_is_rejected() {
        let record = r#"{"installs":{"bpf-linker 0.13.0 (registry)":{"features":["llvm-22"]},"a 1.0.0 (registry)":{"features":[]}}}"#;
        for (version, feature, expected) in
            [("0.13.0", "llvm-22", true), ("0.13.0", "llvm-21", false), ("0.12.0", "llvm-22", false)]
        {
            let arguments = ["--no-default-features", "--features", feature];
            assert_eq!(is_recorded(record, &tool("bpf-linker", version, &arguments)), expected);
        }
        assert!(is_recorded(record, &tool("a", "1.0.0", &["--debug"])));
        assert!(!is_recorded("", &tool("a", "1.0.0", &[])));
    }
}
