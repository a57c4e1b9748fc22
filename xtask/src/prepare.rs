//! Packages and tools of every command that runs the tests or their lab.

use anyhow::{Result, ensure};

use crate::debian::{Package, ensure_packages, is_root};
use crate::ebpf;
use crate::workspace::Workspace;

/// Packages that the tests use: network namespaces with counters of cards, nftables and iptables rules, signatures, a
/// PostgreSQL server with a certificate, an agent with reduced capabilities, one with traced system calls and a wrong
/// clock, a Prometheus that scrapes it; a container runtime with an init for its PID namespace; a packet generator;
/// tools for signing, validators of schemas and units, and shells that complete.
const PACKAGES: &[Package<'_>] = &[
    ("catatonit", &["catatonit"]),
    ("ethtool", &["ethtool"]),
    ("faketime", &["faketime"]),
    ("fish", &["fish"]),
    ("hping3", &["hping3"]),
    ("iproute2", &["ip"]),
    ("iptables", &["iptables-nft"]),
    ("libcap2-bin", &["setcap"]),
    ("minisign", &["minisign"]),
    ("nftables", &["nft"]),
    ("openssl", &["openssl"]),
    ("podman", &["podman"]),
    ("postgresql", &["psql"]),
    ("prometheus", &["prometheus", "promtool"]),
    ("python3-jsonschema", &["python3"]),
    ("strace", &["strace"]),
    ("systemd", &["systemd-analyze"]),
    ("util-linux", &["setpriv"]),
    ("zsh", &["zsh"]),
];

/// Requires root, then ensures the packages of the tests, `further` ones, and the tools that compile the XDP program.
pub fn prepare(workspace: &Workspace, command: &str, further: &[Package<'_>]) -> Result<()> {
    ensure!(
        is_root(&workspace.shell),
        "{command}: needs root: it makes network namespaces and loads programs; nothing was run"
    );
    ensure_packages(&workspace.shell, &[PACKAGES, further].concat())?;
    ebpf::ebpf(workspace)
}
