//! Configured names and globs. Each interface is matched once, when it first appears.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result};
use glob::Pattern;

/// The configured patterns, and the interfaces present at the last pass.
#[derive(Debug)]
pub(super) struct Patterns {
    patterns: Vec<Pattern>,
    /// Indices of the matching patterns, by interface.
    matches: BTreeMap<String, Vec<usize>>,
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
        Ok(Self { patterns, matches: BTreeMap::new() })
    }

    /// Records the present interfaces.
    pub fn update<'a>(&mut self, present: impl Iterator<Item = &'a str>) {
        let present: BTreeSet<&str> = present.collect();
        self.matches.retain(|name, _| present.contains(name.as_str()));
        for name in present {
            if !self.matches.contains_key(name) {
                let matching = self.patterns.iter().enumerate().filter(|(_, pattern)| pattern.matches(name));
                self.matches.insert(name.to_owned(), matching.map(|(at, _)| at).collect());
            }
        }
    }

    /// Returns `true` if an interface that is present is configured.
    pub fn matches(&self, interface: &str) -> bool {
        self.matches.get(interface).is_some_and(|matching| !matching.is_empty())
    }

    /// Returns `true` if an interface name is configured, present or not.
    pub fn is_configured(&self, interface: &str) -> bool {
        self.patterns.iter().any(|pattern| pattern.matches(interface))
    }

    /// An error for each pattern without an interface.
    pub fn missing(&self) -> BTreeMap<String, String> {
        let found: BTreeSet<usize> = self.matches.values().flatten().copied().collect();
        let missing = self.patterns.iter().enumerate().filter(|(at, _)| !found.contains(at));
        missing.map(|(_, pattern)| (pattern.to_string(), format!("interface {pattern}: not found"))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patterns(texts: &[&str]) -> Patterns {
        Patterns::new(&texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn patterns_follow_interfaces_that_appear_and_disappear() {
        let mut patterns = patterns(&["eth0", "veth*", "bond?"]);
        let missing = |patterns: &Patterns| patterns.missing().into_keys().collect::<Vec<_>>();
        assert_eq!(missing(&patterns), ["bond?", "eth0", "veth*"]);
        patterns.update(["eth0", "veth1", "lo"].into_iter());
        assert_eq!(missing(&patterns), ["bond?"]);
        assert_eq!(
            ["eth0", "veth1", "lo", "bond1"].map(|name| patterns.matches(name)),
            [true, true, false, false]
        );
        assert!(patterns.is_configured("bond1"));
        patterns.update(["bond1", "eth0"].into_iter());
        assert_eq!(missing(&patterns), ["veth*"]);
        assert!(!patterns.matches("veth1"), "it is gone");
    }

    #[test]
    fn invalid_glob_is_quoted_in_the_error() {
        let error = Patterns::new(&["eth[".to_owned()]).unwrap_err();
        assert!(format!("{error:#}").contains("\"eth[\""), "{error:#}");
    }
}
