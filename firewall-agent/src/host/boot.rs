//! Identity of the current boot.

use std::fs;

use anyhow::{Context as _, Result};

const PATH: &str = "/proc/sys/kernel/random/boot_id";

/// A text that no other boot of any host has.
///
/// # Errors
/// When /proc cannot be read.
pub fn boot_id() -> Result<String> {
    let id = fs::read_to_string(PATH).with_context(|| format!("cannot read {PATH}"))?;
    Ok(id.trim().to_owned())
}
