//! The kernels to test, by a name for the command line.

use super::architecture::Architecture;

/// A kernel of a Debian release, and its expected result.
#[derive(Debug)]
pub struct DebianKernel {
    pub name: &'static str,
    pub release: &'static str,
    /// The metapackage; not that of the cloud kernel, which lacks the 9p file system.
    pub package: &'static str,
    pub architecture: Architecture,
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

const REAL_TIME: &str = "linux-image-rt-amd64";

impl DebianKernel {
    const fn new(name: &'static str, release: &'static str) -> Self {
        let (package, architecture) = ("linux-image-amd64", Architecture::Amd64);
        Self { name, release, package, architecture, expected: Expected::Supported }
    }

    const fn real_time(name: &'static str, release: &'static str) -> Self {
        Self { package: REAL_TIME, ..Self::new(name, release) }
    }

    /// Returns whether the kernel is built with `PREEMPT_RT`, where the agent uses no caches.
    pub fn is_real_time(&self) -> bool {
        self.package == REAL_TIME
    }

    /// Returns whether the network cards are tested on this kernel.
    pub fn has_cards(&self) -> bool {
        self.expected == Expected::Supported && self.architecture == Architecture::Amd64
    }
}

/// From the oldest: 5.10, 6.1, 6.12, and the newest available; 6.1 and 6.12 also with `PREEMPT_RT`, 6.12 also for
/// aarch64, which runs only if it is named.
pub const KERNELS: &[DebianKernel] = &[
    DebianKernel { expected: Expected::Refused, ..DebianKernel::new("bullseye", "bullseye") },
    DebianKernel::new("bookworm", "bookworm"),
    DebianKernel::real_time("bookworm-rt", "bookworm"),
    DebianKernel::new("trixie", "trixie"),
    DebianKernel::real_time("trixie-rt", "trixie"),
    DebianKernel {
        package: "linux-image-arm64",
        architecture: Architecture::Arm64,
        ..DebianKernel::new("trixie-arm64", "trixie")
    },
    DebianKernel::new("sid", "sid"),
];
