//! The Debian package, by cargo-deb; the agent's `Cargo.toml` lists its contents.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use fs_err as fs;
use xshell::cmd;

use super::Artefacts;
use super::program::Profile;
use crate::cargo_tool::CargoTool;
use crate::debian::ensure_packages;

/// Unoptimised, it is built in half a minute. Default features off: the machine's own xz compresses packages.
const CARGO_DEB: CargoTool<'_> = CargoTool {
    name: "cargo-deb",
    version: "3.8.0",
    arguments: &["--debug", "--no-default-features"],
    environment: &[("CARGO_PROFILE_DEV_DEBUG", "0")],
};

impl Artefacts<'_> {
    /// Packages the built program, which must run on this machine: it writes its own manual pages.
    pub(super) fn package(&self, list: &Path) -> Result<PathBuf> {
        let here = std::env::consts::ARCH;
        ensure!(
            self.arch == here,
            "package: cannot build for {} here: the program writes its manual pages on that architecture \
             only",
            self.arch
        );
        let (sh, tree) = (&self.workspace.shell, &self.sources.shell);
        ensure_packages(sh, &[("xz-utils", &["xz"])])?;
        let cargo_deb = CARGO_DEB.ensure(self.workspace)?;
        self.generate(list)?;
        let package = self.dir.join("firewall-agent.deb");
        sh.remove_path(&package)?;
        let (target, profile) = (self.target(), self.profile.name());
        let fast = (self.profile == Profile::Test).then_some("--fast");
        let deb = cmd!(
            tree,
            "{cargo_deb} --package firewall-agent --no-build --no-strip --quiet --target {target}
             --profile {profile} --output {package} {fast...}"
        );
        // Every file in the package gets the time of the commit.
        deb.env("SOURCE_DATE_EPOCH", self.committed("%ct")?).run()?;
        Ok(package)
    }

    /// Writes the files that are generated for each package.
    fn generate(&self, list: &Path) -> Result<()> {
        let sh = &self.sources.shell;
        let dir = self.sources.root.join("target/deb");
        sh.remove_path(&dir)?;
        sh.create_dir(&dir)?;
        let program = self.dir.join("firewall-agent");
        cmd!(sh, "{program} man {dir}/man").ignore_stdout().run()?;
        for shell in ["bash", "fish", "zsh"] {
            let script = cmd!(sh, "{program} completions {shell}").read()?;
            fs::write(dir.join(format!("firewall-agent.{shell}")), script + "\n")?;
        }
        fs::copy(list, dir.join("firewall-agent.cdx.json"))?;
        let changelog = format!(
            "firewall-agent ({}-1) unstable; urgency=medium\n\n  * See CHANGELOG.md in the sources for \
             user-visible changes.\n\n -- Maintainers of the database firewall agent \
             <maintainers@firewall-agent.example>  {}\n",
            env!("CARGO_PKG_VERSION"),
            self.committed("%aD")?
        );
        Ok(fs::write(dir.join("changelog"), changelog)?)
    }

    /// Returns the time of the last commit, in one of git's formats.
    fn committed(&self, format: &str) -> Result<String> {
        Ok(cmd!(self.workspace.shell, "git log -1 --format={format}").read()?)
    }
}
