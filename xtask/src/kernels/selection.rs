//! The part of the matrix of kernels, suites and cards that the command line names.

use super::architecture::Architecture;
use super::card::{CARDS, Card};
use super::debian_kernel::{DebianKernel, Expected, KERNELS};
use super::plan::TESTS;

/// The kernels to boot, and the tests to run in each.
#[derive(Debug)]
pub struct Selection {
    pub kernels: Vec<&'static DebianKernel>,
    /// Names of test suites.
    pub suites: Vec<&'static str>,
    pub cards: Vec<&'static Card>,
}

impl Selection {
    /// Returns the kernels of these names, all of this machine's architecture if none is named; and the suites and cards of these names, all of both
    /// if neither is named.
    pub fn new(names: &[String]) -> Self {
        let has = |name: &str| names.iter().any(|one| one == name);
        let mut kernels: Vec<_> = KERNELS.iter().filter(|kernel| has(kernel.name)).collect();
        let suites: Vec<_> = TESTS.iter().copied().filter(|suite| has(suite)).collect();
        let cards: Vec<_> = CARDS.iter().filter(|card| has(card.name)).collect();
        if kernels.is_empty() {
            // A kernel that refuses the agent runs no test.
            let runs = |one: &&DebianKernel| match (suites.is_empty(), cards.is_empty()) {
                (true, true) => true,
                (true, false) => one.has_cards(),
                (false, _) => one.expected == Expected::Supported,
            };
            let here = KERNELS.iter().filter(|one| one.architecture == Architecture::Amd64);
            kernels = here.filter(runs).collect();
        }
        if !suites.is_empty() || !cards.is_empty() {
            return Self { kernels, suites, cards };
        }
        Self { kernels, suites: TESTS.to_vec(), cards: CARDS.iter().collect() }
    }
}

/// Returns the names for the command line.
pub fn names() -> Vec<&'static str> {
    let kernels = KERNELS.iter().map(|kernel| kernel.name);
    kernels.chain(TESTS.iter().copied()).chain(CARDS.iter().map(|card| card.name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selected(names: &[&str]) -> (Vec<&'static str>, Vec<&'static str>, Vec<&'static str>) {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let Selection { kernels, suites, cards } = Selection::new(&names);
        let kernels = kernels.iter().map(|kernel| kernel.name).collect();
        (kernels, suites, cards.iter().map(|card| card.name).collect())
    }

    #[test]
    fn names_select_kernels_suites_and_cards() {
        let all = selected(&[]);
        assert_eq!((all.0.len(), all.1.len(), all.2.len()), (KERNELS.len() - 1, TESTS.len(), CARDS.len()));
        assert_eq!(selected(&["trixie-arm64"]).0, ["trixie-arm64"]);
        assert_eq!(selected(&["trixie"]), (vec!["trixie"], all.1, all.2));
        assert_eq!(selected(&["trixie", "igb"]), (vec!["trixie"], vec![], vec!["igb"]));
        let (kernels, suites, cards) = selected(&["verdicts"]);
        assert_eq!((suites, cards), (vec!["verdicts"], vec![]));
        assert!(kernels.contains(&"sid") && !kernels.contains(&"bullseye"), "{kernels:?}");
    }
}
