//! Where figures go.

use std::fs;
use std::io::{Write as _, stdout};
use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::Value;

/// Shows the report, and keeps it beside the raw figures.
pub fn keep(directory: &Path, part: &str, report: &str, figures: &Value) -> Result<()> {
    // A closed terminal is no reason to lose the figures.
    let _ = write!(stdout(), "{report}");
    fs::create_dir_all(directory).with_context(|| directory.display().to_string())?;
    for (extension, text) in [("md", report.to_owned()), ("json", format!("{figures:#}\n"))] {
        let path = directory.join(part).with_extension(extension);
        fs::write(&path, text).with_context(|| path.display().to_string())?;
    }
    Ok(())
}

pub fn say(what: &str) {
    let _ = writeln!(stdout(), "{what}");
}

/// Whether a bar is met, in words.
pub fn verdict(is_met: bool) -> &'static str {
    if is_met { "met" } else { "**missed**" }
}
