//! Output of the figures.

use std::fs;
use std::io::{Write as _, stdout};
use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::Value;

/// Exit code of a benchmark whose figures are too noisy to judge by; they are written all the same.
pub const NOISY: u8 = 3;

/// Prints the report and writes it beside the raw figures.
pub fn write_report(directory: &Path, part: &str, report: &str, figures: &Value) -> Result<()> {
    // A closed terminal must not lose the figures.
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

/// Returns in words whether a target is met.
pub fn verdict(is_met: bool) -> &'static str {
    if is_met { "met" } else { "**missed**" }
}
