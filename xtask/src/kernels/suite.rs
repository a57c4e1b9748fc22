//! The kernels to test: one of each Debian release, by the release's name.

/// A Debian release and the expectation for its kernel.
#[derive(Debug)]
pub struct Suite {
    pub name: &'static str,
    pub expected: Expected,
}

/// The expected result of a kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// Every test passes.
    Supported,
    /// The agent refuses to run and names the missing features.
    Refused,
}

/// From the oldest: 5.10, 6.1, 6.12, and the newest available.
pub const SUITES: &[Suite] = &[
    Suite { name: "bullseye", expected: Expected::Refused },
    Suite { name: "bookworm", expected: Expected::Supported },
    Suite { name: "trixie", expected: Expected::Supported },
    Suite { name: "sid", expected: Expected::Supported },
];

impl Suite {
    /// Returns the suites of these names, from the oldest kernel to the newest; all if `names` is empty.
    pub fn chosen(names: &[String]) -> Vec<&'static Self> {
        SUITES
            .iter()
            .filter(|suite| names.is_empty() || names.iter().any(|name| name == suite.name))
            .collect()
    }
}

/// Returns the names for the command line.
pub fn names() -> Vec<&'static str> {
    SUITES.iter().map(|suite| suite.name).collect()
}
