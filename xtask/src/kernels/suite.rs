//! Which kernels: one of each Debian release, by the release's name.

/// A Debian release, for the sake of its kernel.
#[derive(Debug)]
pub struct Suite {
    pub name: &'static str,
    pub expected: Expected,
}

/// What a kernel is booted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// Every test passes.
    Supported,
    /// The agent refuses to run, and names what is missing.
    Refused,
}

/// From the oldest: 5.10, 6.1, 6.12, and the newest that there is.
pub const SUITES: &[Suite] = &[
    Suite { name: "bullseye", expected: Expected::Refused },
    Suite { name: "bookworm", expected: Expected::Supported },
    Suite { name: "trixie", expected: Expected::Supported },
    Suite { name: "sid", expected: Expected::Supported },
];

impl Suite {
    /// The suites of these names, in the order of the kernels' age; all when none is named.
    pub fn chosen(names: &[String]) -> Vec<&'static Self> {
        SUITES
            .iter()
            .filter(|suite| names.is_empty() || names.iter().any(|name| name == suite.name))
            .collect()
    }
}

/// For the command line.
pub fn names() -> Vec<&'static str> {
    SUITES.iter().map(|suite| suite.name).collect()
}
