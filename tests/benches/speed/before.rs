//! The figures of an earlier run, to compare with.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde_json::Value;

pub struct Before {
    path: PathBuf,
    figures: Value,
}

impl Before {
    /// Reads the raw figures that an earlier run of the same benchmark wrote.
    ///
    /// # Errors
    /// When the file cannot be read, or is not JSON.
    pub fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
        let figures = serde_json::from_str(&text)
            .with_context(|| format!("{}: not the raw figures of a benchmark", path.display()))?;
        Ok(Self { path: path.to_owned(), figures })
    }

    /// The entries of a list of the figures.
    pub fn list(&self, name: &str) -> &[Value] {
        self.figures[name].as_array().map_or(&[], Vec::as_slice)
    }

    /// Where the figures come from, for a heading.
    pub fn source(&self) -> String {
        let name = self.path.file_name().unwrap_or_default().display();
        match self.figures["machine"]["date"].as_str() {
            Some(day) => format!("`{name}` of {day}"),
            None => format!("`{name}`"),
        }
    }
}
