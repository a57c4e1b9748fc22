//! Results that runs on the same sources have in common, for `--resume` and the table.

use std::path::PathBuf;

use anyhow::Result;
use fs_err as fs;
use serde::{Deserialize, Serialize};

use crate::mutants::judge::Judgement;
use crate::mutants::mutant::Mutant;

/// The judgement of one mutant, and its duration in seconds.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Judged {
    pub mutant: Mutant,
    pub judgement: Judgement,
    pub seconds: u64,
}

/// The file of results, rewritten after each mutant.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Results {
    /// The trees of the sources without a fault, see [`crate::trees::trees`].
    state: String,
    judged: Vec<Judged>,
    #[serde(skip)]
    path: PathBuf,
}

impl Results {
    /// Starts without results.
    pub fn new(path: PathBuf, state: String) -> Self {
        Self { state, judged: Vec::new(), path }
    }

    /// Takes over the results of an interrupted run on the same sources.
    pub fn resumed(mut self) -> Result<Self> {
        if self.path.exists() {
            let earlier: Self = serde_json::from_str(&fs::read_to_string(&self.path)?)?;
            if earlier.state == self.state {
                self.judged = earlier.judged;
            }
        }
        Ok(self)
    }

    /// Returns the result of this very mutant.
    pub fn of(&self, mutant: &Mutant) -> Option<&Judged> {
        self.judged.iter().find(|judged| judged.mutant == *mutant)
    }

    /// Returns the result if a test found the mutant; one that no test found is judged again.
    pub fn kill_of(&self, mutant: &Mutant) -> Option<&Judged> {
        self.of(mutant).filter(|judged| judged.judgement.is_kill())
    }

    /// Stores a result.
    pub fn add(&mut self, judged: Judged) -> Result<()> {
        self.judged.retain(|earlier| earlier.mutant != judged.mutant);
        self.judged.push(judged);
        Ok(fs::write(&self.path, serde_json::to_vec(self)?)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(name: &str, judgement: Judgement) -> Judged {
        let mutant = Mutant { name: name.to_owned(), targets: vec!["model".to_owned()], ..Mutant::default() };
        Judged { mutant, judgement, seconds: 1 }
    }

    #[test]
    fn only_kills_on_the_same_sources_are_taken_over() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("results.json");
        let (found, lost) = (judged("a", Judgement::Hung), judged("b", Judgement::Survived));
        let run = |state: &str| Results::new(path.clone(), state.to_owned()).resumed().unwrap();
        let mut results = run("1");
        results.add(found.clone()).unwrap();
        results.add(lost.clone()).unwrap();
        let resumed = run("1");
        assert!(resumed.kill_of(&found.mutant).is_some());
        assert!(resumed.kill_of(&lost.mutant).is_none());
        let other = Mutant { targets: vec!["denied".to_owned()], ..found.mutant.clone() };
        assert!(resumed.kill_of(&other).is_none(), "the mutant changed");
        let elsewhere = run("2");
        assert!(elsewhere.kill_of(&found.mutant).is_none(), "the sources changed");
    }
}
