//! Inventory of the pinned objects, as the kernel describes them.

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde::Serialize;

use super::syscall::open_pin;

/// One pin. Field names are an interface.
#[derive(Debug, Serialize)]
pub struct PinnedObject {
    /// Relative to the directory of the pins.
    pub pin: String,
    /// The lines of the object's `/proc/self/fdinfo`: `map_type`, `max_entries`, `prog_tag` and `link_id`, for example.
    pub object: BTreeMap<String, String>,
    /// The reason for which the object is not described.
    pub error: Option<String>,
}

/// Describes every pin below a directory, in the order of their paths.
///
/// # Errors
/// A directory cannot be read.
pub fn inventory(bpffs_dir: &Path) -> Result<Vec<PinnedObject>> {
    let mut paths = Vec::new();
    collect(bpffs_dir, &mut paths)?;
    paths.sort();
    let described = paths.iter().map(|path| {
        let pin = path.strip_prefix(bpffs_dir).unwrap_or(path).display().to_string();
        match describe(path) {
            Ok(object) => PinnedObject { pin, object, error: None },
            Err(error) => PinnedObject { pin, object: BTreeMap::new(), error: Some(format!("{error:#}")) },
        }
    });
    Ok(described.collect())
}

fn collect(directory: &Path, paths: &mut Vec<PathBuf>) -> Result<()> {
    let entries = fs::read_dir(directory).with_context(|| format!("cannot read {}", directory.display()))?;
    for entry in entries {
        let entry = entry.with_context(|| format!("cannot read {}", directory.display()))?;
        if entry.file_type()?.is_dir() {
            collect(&entry.path(), paths)?;
        } else {
            paths.push(entry.path());
        }
    }
    Ok(())
}

fn describe(pin: &Path) -> Result<BTreeMap<String, String>> {
    let object = open_pin(pin).context("cannot open the pin")?;
    let text = fs::read_to_string(format!("/proc/self/fdinfo/{}", object.as_raw_fd()))?;
    let lines = text.lines().filter_map(|line| line.split_once(':'));
    // Of every descriptor, not of the object.
    let lines = lines.filter(|(name, _)| !["pos", "flags", "mnt_id", "ino"].contains(name));
    Ok(lines.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect())
}
