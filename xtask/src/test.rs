//! `cargo xtask test`: everything that must hold before a change lands.

use anyhow::{Result, ensure};

use crate::debian::{ensure_packages, is_root};
use crate::run::run;
use crate::workspace::Workspace;
use crate::{ebpf, tidy};

/// What the tests start: network namespaces, rules of nftables and iptables in them, signatures, a PostgreSQL server
/// with a certificate, an agent of few rights, one whose system calls are traced, a Prometheus that scrapes it.
pub const PACKAGES: &[&str] = &[
    "iproute2",
    "iptables",
    "minisign",
    "nftables",
    "openssl",
    "postgresql",
    "prometheus",
    "strace",
    "util-linux",
];
/// Programs of those packages, looked for where packages have other names.
pub const PROGRAMS: &[&str] = &[
    "ip",
    "iptables-nft",
    "minisign",
    "nft",
    "openssl",
    "prometheus",
    "promtool",
    "psql",
    "setpriv",
    "strace",
];

pub fn test(workspace: &Workspace) -> Result<()> {
    ensure!(
        is_root(),
        "test: needs root: the tests make network namespaces and load programs; nothing was run"
    );
    ensure_packages(PACKAGES, PROGRAMS)?;
    ebpf::ebpf(workspace)?;
    let tests = run(workspace.cargo().args(["test", "--workspace", "--no-fail-fast"]));
    let tidy = tidy::tidy(workspace);
    tests.and(tidy)
}
