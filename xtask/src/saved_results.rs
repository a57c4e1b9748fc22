//! Results of a long run, stored so that `--resume` can go on with an interrupted one.

use std::path::PathBuf;

use anyhow::Result;
use fs_err as fs;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// A file of results, rewritten after each of them.
#[derive(Debug, Serialize, Deserialize)]
pub struct SavedResults<T> {
    /// The sources that the results belong to, see [`crate::trees::trees`].
    state: String,
    results: Vec<T>,
    #[serde(skip)]
    path: PathBuf,
}

impl<T: Serialize + DeserializeOwned> SavedResults<T> {
    /// Starts without results.
    pub fn new(path: PathBuf, state: String) -> Self {
        Self { state, results: Vec::new(), path }
    }

    /// Takes over the results of an earlier run on the same sources.
    pub fn resumed(mut self) -> Result<Self> {
        if self.path.exists() {
            let earlier: Self = serde_json::from_str(&fs::read_to_string(&self.path)?)?;
            if earlier.state == self.state {
                self.results = earlier.results;
            }
        }
        Ok(self)
    }

    /// Returns the first result that `is_it`.
    pub fn find(&self, is_it: impl Fn(&T) -> bool) -> Option<&T> {
        self.results.iter().find(|result| is_it(result))
    }

    /// Returns all results, in the order in which they came.
    pub fn all(&self) -> &[T] {
        &self.results
    }

    /// Forgets the other results, at the next [`Self::add`] in the file, too.
    pub fn retain(&mut self, is_retained: impl FnMut(&T) -> bool) {
        self.results.retain(is_retained);
    }

    /// Stores a result in place of those that it `replaces`.
    pub fn add(&mut self, result: T, replaces: impl Fn(&T) -> bool) -> Result<()> {
        self.results.retain(|earlier| !replaces(earlier));
        self.results.push(result);
        Ok(fs::write(&self.path, serde_json::to_string_pretty(self)? + "\n")?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_taken_over_on_the_same_sources_only() {
        let dir = tempfile::tempdir().unwrap();
        let saved = |state: &str| SavedResults::new(dir.path().join("results.json"), state.to_owned());
        let mut first: SavedResults<(String, u8)> = saved("1");
        for (name, result) in [("a", 1), ("b", 2), ("a", 3)] {
            first.add((name.to_owned(), result), |(other, _)| other == name).unwrap();
        }
        let found = |saved: &SavedResults<(String, u8)>, name: &str| {
            saved.find(|(other, _)| other == name).map(|(_, result)| *result)
        };
        let resumed = saved("1").resumed().unwrap();
        assert_eq!((found(&resumed, "a"), found(&resumed, "b")), (Some(3), Some(2)));
        assert_eq!(found(&saved("2").resumed().unwrap(), "a"), None);
    }
}
