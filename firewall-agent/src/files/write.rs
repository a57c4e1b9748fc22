//! Writing a file so that a reader sees the old one or the new one, whole.

use std::fs;
use std::io::{self, Write as _};
use std::path::Path;

use anyhow::{Context as _, Result};
use tempfile::NamedTempFile;

/// Replaces a file's content, synced before it takes its place.
///
/// # Errors
/// When the directory cannot be written; the old file is then still there.
pub fn replace(path: &Path, content: &[u8]) -> Result<()> {
    let dir = path.parent().with_context(|| format!("{}: has no directory", path.display()))?;
    let write = || -> Result<()> {
        let mut file = NamedTempFile::with_prefix_in(".firewall-agent-", dir)?;
        file.write_all(content)?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        Ok(())
    };
    write().with_context(|| format!("{}: cannot be written", path.display()))
}

/// Removes a file, if it is there.
///
/// # Errors
/// When the directory cannot be written.
pub fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("{}: cannot be removed", path.display()))
        }
        _ => Ok(()),
    }
}
