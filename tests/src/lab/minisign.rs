//! Keys and signatures of minisign, the program that operators use.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

/// A key pair in a directory.
#[derive(Clone, Debug)]
pub struct Key {
    dir: PathBuf,
    name: String,
    /// The public key, as in a configuration.
    pub public: String,
}

impl Key {
    /// Creates a key pair of this name, without a password.
    pub fn create(dir: &Path, name: &str) -> Result<Self> {
        minisign(dir, &["-G", "-W", "-p", &format!("{name}.pub"), "-s", &format!("{name}.sec")])?;
        let text = fs::read_to_string(dir.join(format!("{name}.pub"))).context("public key")?;
        let public = text.lines().last().context("public key: empty")?.to_owned();
        Ok(Self { dir: dir.to_owned(), name: name.to_owned(), public })
    }

    /// Returns the signature of a text.
    pub fn sign(&self, text: &str) -> Result<String> {
        fs::write(self.dir.join("message"), text).context("message")?;
        minisign(&self.dir, &["-S", "-W", "-s", &format!("{}.sec", self.name), "-m", "message"])?;
        fs::read_to_string(self.dir.join("message.minisig")).context("signature")
    }
}

fn minisign(dir: &Path, arguments: &[&str]) -> Result<()> {
    let out = Command::new("minisign").args(arguments).current_dir(dir).output();
    let out = out.context("minisign: not started")?;
    ensure!(out.status.success(), "minisign {arguments:?}: {out:?}");
    Ok(())
}
