//! The Debian package, by cargo-deb; the agent's `Cargo.toml` lists its contents.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Result, ensure};
use fs_err::{self as fs, File};

use super::program::Profile;
use super::{Artefacts, image};
use crate::cargo_tool::CargoTool;
use crate::debian::ensure_packages;
use crate::run::{output, run};

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
        ensure_packages(&[("xz-utils", &["xz"])])?;
        let cargo_deb = CARGO_DEB.ensure(self.workspace)?;
        self.generate(list)?;
        let package = self.dir.join("firewall-agent.deb");
        image::remove(&package)?;
        let mut deb = Command::new(cargo_deb);
        deb.current_dir(&self.sources.root).env("CARGO_TARGET_DIR", &self.sources.target);
        deb.args([
            "--package",
            "firewall-agent",
            "--no-build",
            "--no-strip",
            "--quiet",
            "--target",
            &self.target(),
        ]);
        deb.args(["--profile", self.profile.name(), "--output"]).arg(&package);
        if self.profile == Profile::Test {
            deb.arg("--fast");
        }
        // Every file in the package gets the time of the commit.
        run(deb.env("SOURCE_DATE_EPOCH", self.committed("%ct")?))?;
        Ok(package)
    }

    /// Writes the files that are generated for each package.
    fn generate(&self, list: &Path) -> Result<()> {
        let dir = self.sources.root.join("target/deb");
        image::remove(&dir)?;
        fs::create_dir_all(&dir)?;
        let program = self.dir.join("firewall-agent");
        run(Command::new(&program).arg("man").arg(dir.join("man")).stdout(Stdio::null()))?;
        for shell in ["bash", "fish", "zsh"] {
            let path = dir.join(format!("firewall-agent.{shell}"));
            let file = File::create(&path)?;
            run(Command::new(&program).args(["completions", shell]).stdout(file.into_file()))?;
        }
        let listed = dir.join("firewall-agent.cdx.json");
        fs::copy(list, &listed)?;
        let changelog = format!(
            "firewall-agent ({}-1) unstable; urgency=medium\n\n  * See CHANGELOG.md in the sources for \
             user-visible changes.\n\n -- Maintainers of the database firewall agent \
             <maintainers@firewall-agent.example>  {}\n",
            env!("CARGO_PKG_VERSION"),
            self.committed("%aD")?
        );
        let path = dir.join("changelog");
        Ok(fs::write(&path, changelog)?)
    }

    /// Returns the time of the last commit, in one of git's formats.
    fn committed(&self, format: &str) -> Result<String> {
        let mut git = Command::new("git");
        git.current_dir(&self.workspace.root).args(["log", "-1", &format!("--format={format}")]);
        Ok(output(&mut git)?.trim().to_owned())
    }
}
