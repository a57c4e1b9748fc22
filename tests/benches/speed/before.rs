//! The figures of an earlier run, to compare with.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

pub struct Before {
    path: PathBuf,
    figures: Value,
    list: &'static str,
}

impl Before {
    /// Reads the raw figures that an earlier run of the same benchmark wrote; `list` is the list that it compares.
    ///
    /// # Errors
    /// When the file cannot be read, is not JSON, or has no such list.
    pub fn read(path: &Path, list: &'static str) -> Result<Self> {
        let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
        let figures: Value = serde_json::from_str(&text)
            .with_context(|| format!("{}: not the raw figures of a benchmark", path.display()))?;
        let is_of_it = figures[list].is_array();
        ensure!(is_of_it, "{}: has no list {list:?}: figures of another benchmark", path.display());
        Ok(Self { path: path.to_owned(), figures, list })
    }

    /// The entries of the list.
    pub fn list(&self) -> &[Value] {
        self.figures[self.list].as_array().map_or(&[], Vec::as_slice)
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
