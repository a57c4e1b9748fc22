//! The judgement of one mutant.

use serde::{Deserialize, Serialize};

use crate::mutants::judge::Judgement;
use crate::mutants::mutant::Mutant;

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Judged {
    pub mutant: Mutant,
    pub judgement: Judgement,
    /// Duration, with the build.
    pub seconds: u64,
}

impl Judged {
    /// Returns whether it is of this very mutant: one with another text or other tests is another mutant.
    pub fn is_of(&self, mutant: &Mutant) -> bool {
        self.mutant == *mutant
    }

    /// Returns whether a test found this very mutant.
    pub fn is_kill_of(&self, mutant: &Mutant) -> bool {
        self.is_of(mutant) && self.judgement.is_kill()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mutant_that_survived_or_changed_is_judged_again() {
        let mutant = Mutant { targets: vec!["model".to_owned()], ..Mutant::default() };
        let judged = |judgement| Judged { mutant: mutant.clone(), judgement, seconds: 1 };
        assert!(judged(Judgement::Hung).is_kill_of(&mutant));
        assert!(!judged(Judgement::Survived).is_kill_of(&mutant));
        let other = Mutant { targets: vec!["denied".to_owned()], ..mutant.clone() };
        assert!(!judged(Judgement::Hung).is_kill_of(&other));
    }
}
