//! The judgement of one mutant.

use serde::{Deserialize, Serialize};

use crate::mutants::judge::Judgement;
use crate::mutants::mutant::Mutant;

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Judged {
    pub mutant: Mutant,
    pub judgement: Judgement,
    /// Duration in seconds, with the build.
    pub seconds: u64,
    /// Git objects of [`Mutant::sources`]; `None` of uncommitted sources.
    pub sources: Option<String>,
    /// The commit, abbreviated.
    pub commit: String,
}

impl Judged {
    /// Returns whether it is of this very mutant, one with the same text and tests, in the same sources.
    pub fn holds_for(&self, mutant: &Mutant, sources: Option<&str>) -> bool {
        self.mutant == *mutant && sources.is_some() && self.sources.as_deref() == sources
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_holds_for_the_same_mutant_in_the_same_committed_sources() {
        let mutant = Mutant { targets: vec!["model".to_owned()], ..Mutant::default() };
        let judged = |sources: Option<&str>| Judged {
            mutant: mutant.clone(),
            judgement: Judgement::Hung,
            seconds: 1,
            sources: sources.map(str::to_owned),
            commit: String::new(),
        };
        assert!(judged(Some("a")).holds_for(&mutant, Some("a")));
        assert!(!judged(Some("a")).holds_for(&mutant, Some("b")));
        assert!(!judged(None).holds_for(&mutant, None));
        let other = Mutant { targets: vec!["denied".to_owned()], ..mutant.clone() };
        assert!(!judged(Some("a")).holds_for(&other, Some("a")));
    }
}
