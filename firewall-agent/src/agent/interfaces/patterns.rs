//! Configured names and globs. Each interface is matched once, when it first appears, and after a change of its
//! alternative names.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result};
use glob::Pattern;

use crate::host::stacked::downwards;

/// The configured patterns, and the interfaces present at the last pass.
#[derive(Debug)]
pub(super) struct Patterns {
    patterns: Vec<Pattern>,
    matches: BTreeMap<String, Match>,
    /// The interfaces to filter, each after the one that judges its packets first.
    wanted: Vec<String>,
}

/// Interface that is present.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Present<'a> {
    pub name: &'a str,
    pub alternatives: &'a [String],
    pub loopback: bool,
    /// Name of the interface on which a program judges every packet of this one.
    pub judged_on: Option<&'a str>,
    /// True if a link of this agent filters it, configured or not.
    pub filtered: bool,
}

/// The patterns that match one interface.
#[derive(Debug, Default)]
struct Match {
    /// Alternative names at the time of the match.
    alternatives: Vec<String>,
    /// Indices of the patterns.
    by: Vec<usize>,
    /// One of them is a name of the interface, not a glob.
    is_named: bool,
}

impl Patterns {
    /// # Errors
    /// A text is not a glob; the error quotes it.
    pub fn new(texts: &[String]) -> Result<Self> {
        let patterns = texts
            .iter()
            .map(|text| {
                Pattern::new(text).with_context(|| format!("interfaces: {text:?}: not a name or glob"))
            })
            .collect::<Result<_>>()?;
        Ok(Self { patterns, matches: BTreeMap::new(), wanted: Vec::new() })
    }

    /// Records the present interfaces, each name once.
    pub fn update<'a>(&mut self, present: impl Iterator<Item = Present<'a>>) {
        let present: BTreeMap<&str, Present<'_>> = present.map(|one| (one.name, one)).collect();
        self.matches.retain(|name, _| present.contains_key(name.as_str()));
        for one in present.values() {
            if self.matches.get(one.name).is_none_or(|known| known.alternatives != one.alternatives) {
                self.matches.insert(one.name.to_owned(), self.match_names(one));
            }
        }
        let mut wanted: Vec<(usize, &str)> = present
            .values()
            .filter(|one| self.is_wanted(one, &present))
            .map(|one| (lowers(one, &present).count(), one.name))
            .collect();
        wanted.sort_unstable();
        self.wanted = wanted.into_iter().map(|(_, name)| name.to_owned()).collect();
    }

    /// The configured interfaces that are present, each after the one that judges its packets first: the kernel refuses
    /// a program below an interface that has one. A glob selects neither the loopback nor an interface whose packets are
    /// judged on a filtered one.
    pub fn wanted(&self) -> impl Iterator<Item = &str> {
        self.wanted.iter().map(String::as_str)
    }

    /// An error for each pattern without an interface.
    pub fn missing(&self) -> BTreeMap<String, String> {
        let found: BTreeSet<usize> = self.matches.values().flat_map(|one| &one.by).copied().collect();
        let missing = self.patterns.iter().enumerate().filter(|(at, _)| !found.contains(at));
        missing.map(|(_, pattern)| (pattern.to_string(), format!("interface {pattern}: not found"))).collect()
    }

    fn match_names(&self, one: &Present<'_>) -> Match {
        let names = || std::iter::once(one.name).chain(one.alternatives.iter().map(String::as_str));
        let is_name = |pattern: &Pattern| names().any(|name| name == pattern.as_str());
        let matching = self.patterns.iter().enumerate().filter(|(_, pattern)| {
            is_name(pattern) || !one.loopback && names().any(|name| pattern.matches(name))
        });
        let by: Vec<usize> = matching.map(|(at, _)| at).collect();
        let is_named = by.iter().filter_map(|at| self.patterns.get(*at)).any(is_name);
        Match { alternatives: one.alternatives.to_vec(), by, is_named }
    }

    fn is_wanted(&self, one: &Present<'_>, present: &BTreeMap<&str, Present<'_>>) -> bool {
        let Some(found) = self.matches.get(one.name) else { return false };
        let is_selected = |lower: &Present<'_>| {
            lower.filtered || self.matches.get(lower.name).is_some_and(|found| !found.by.is_empty())
        };
        found.is_named || !found.by.is_empty() && !lowers(one, present).any(|lower| is_selected(&lower))
    }
}

/// The interfaces on which programs judge the packets of this one, the next first.
fn lowers<'a>(one: &Present<'a>, present: &BTreeMap<&str, Present<'a>>) -> impl Iterator<Item = Present<'a>> {
    let next = |one: &Present<'a>| present.get(one.judged_on?).copied();
    downwards(next(one), move |one| next(one))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patterns(texts: &[&str]) -> Patterns {
        Patterns::new(&texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>()).unwrap()
    }

    fn present(name: &str) -> Present<'_> {
        Present { name, loopback: name == "lo", ..Present::default() }
    }

    /// A VLAN, macvlan, ipvlan or member of a bond.
    fn above<'a>(name: &'a str, lower: &'a str) -> Present<'a> {
        Present { judged_on: Some(lower), ..present(name) }
    }

    fn wanted(texts: &[&str], interfaces: &[Present<'_>]) -> Vec<String> {
        let mut patterns = patterns(texts);
        patterns.update(interfaces.iter().copied());
        patterns.wanted().map(str::to_owned).collect()
    }

    #[test]
    fn patterns_follow_interfaces_that_appear_and_disappear() {
        let mut patterns = patterns(&["eth0", "veth*", "bond?"]);
        let missing = |patterns: &Patterns| patterns.missing().into_keys().collect::<Vec<_>>();
        assert_eq!(missing(&patterns), ["bond?", "eth0", "veth*"]);
        patterns.update(["eth0", "veth1", "lo"].map(present).into_iter());
        assert_eq!(missing(&patterns), ["bond?"]);
        assert_eq!(patterns.wanted().collect::<Vec<_>>(), ["eth0", "veth1"]);
        patterns.update(["bond1", "eth0"].map(present).into_iter());
        assert_eq!(missing(&patterns), ["veth*"]);
        assert_eq!(patterns.wanted().collect::<Vec<_>>(), ["bond1", "eth0"], "veth1 is gone");
    }

    #[test]
    fn glob_leaves_out_the_loopback() {
        let interfaces = ["lo", "eth0"].map(present);
        for (texts, expected) in [
            (&["*"][..], &["eth0"][..]),
            (&["l*"], &[]),
            (&["l?", "eth0"], &["eth0"]),
            (&["lo"], &["lo"]),
            (&["*", "lo"], &["eth0", "lo"]),
        ] {
            assert_eq!(wanted(texts, &interfaces), expected, "{texts:?}");
        }
        let mut all = patterns(&["*"]);
        all.update([present("lo")].into_iter());
        assert_eq!(all.missing().into_keys().collect::<Vec<_>>(), ["*"], "the loopback does not count");
    }

    #[test]
    fn glob_leaves_out_interfaces_whose_packets_are_judged_on_a_filtered_one() {
        let interfaces =
            [above("a0", "eth0"), above("eth0.7", "eth0"), above("eth0.7.8", "eth0.7"), present("eth0")];
        for (texts, expected) in [
            (&["*"][..], &["eth0"][..]),
            (&["eth0*"], &["eth0"]),
            (&["eth0", "eth0.*"], &["eth0"]),
            // Of the two the lower one judges.
            (&["eth0.*"], &["eth0.7"]),
            (&["eth0.7.*"], &["eth0.7.8"]),
            // A name is an order; the lower interface comes first.
            (&["a0", "*"], &["eth0", "a0"]),
            (&["eth0.7.8", "eth0.7", "eth0"], &["eth0", "eth0.7", "eth0.7.8"]),
        ] {
            assert_eq!(wanted(texts, &interfaces), expected, "{texts:?}");
            let mut patterns = patterns(texts);
            patterns.update(interfaces.into_iter());
            assert!(patterns.missing().is_empty(), "{texts:?}: {patterns:?}");
        }
        let filtered = Present { filtered: true, ..present("eth0") };
        assert_eq!(wanted(&["eth0.*"], &[above("eth0.7", "eth0"), filtered]), [""; 0], "by a link of before");
        assert_eq!(wanted(&["a?"], &[above("a0", "a1"), above("a1", "a0")]), [""; 0], "a loop ends");
    }

    #[test]
    fn alternative_names_count_like_the_name() {
        let other = ["public-network-interface".to_owned(), "second".to_owned()];
        let eth0 = Present { alternatives: &other, ..present("eth0") };
        for text in ["public-network-interface", "public-*", "second", "eth0"] {
            assert_eq!(wanted(&[text], &[eth0, present("lo")]), ["eth0"], "{text}");
        }
        let vlan = Present { alternatives: &other, ..above("eth0.7", "eth0") };
        assert_eq!(wanted(&["eth0", "second"], &[vlan, present("eth0")]), ["eth0", "eth0.7"], "it is named");
        // An alternative name may come later.
        let mut patterns = patterns(&["second"]);
        patterns.update([present("eth0")].into_iter());
        assert_eq!((patterns.wanted().count(), patterns.missing().len()), (0, 1));
        patterns.update([eth0].into_iter());
        assert_eq!((patterns.wanted().count(), patterns.missing().len()), (1, 0));
    }

    #[test]
    fn invalid_glob_is_quoted_in_the_error() {
        let error = Patterns::new(&["eth[".to_owned()]).unwrap_err();
        assert!(format!("{error:#}").contains("\"eth[\""), "{error:#}");
    }
}
