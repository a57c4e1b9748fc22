//! Keys and signatures of minisign, the program that operators use.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use fs_err as fs;

use super::answer::output_of;

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
        let text = fs::read_to_string(dir.join(format!("{name}.pub")))?;
        let public = text.lines().last().context("public key: empty")?.to_owned();
        Ok(Self { dir: dir.to_owned(), name: name.to_owned(), public })
    }

    /// Returns the signature of a text.
    pub fn sign(&self, text: &str) -> Result<String> {
        fs::write(self.dir.join("message"), text)?;
        minisign(&self.dir, &["-S", "-W", "-s", &format!("{}.sec", self.name), "-m", "message"])?;
        Ok(fs::read_to_string(self.dir.join("message.minisig"))?)
    }
}

fn minisign(dir: &Path, arguments: &[&str]) -> Result<String> {
    output_of(Command::new("minisign").args(arguments).current_dir(dir))
}
