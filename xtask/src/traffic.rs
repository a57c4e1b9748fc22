//! `cargo xtask traffic`: other people's traffic against a guarded host.

use anyhow::Result;
use xshell::cmd;

use crate::captures::ensure_captures;
use crate::debian::{Package, ensure_packages};
use crate::prepare::prepare;
use crate::workspace::Workspace;

/// Packages of the tools; the normal run of the tests needs only hping3.
const TOOLS: &[Package<'_>] = &[
    ("ipv6toolkit", &["frag6", "tcp6"]),
    ("netsniff-ng", &["trafgen"]),
    ("nmap", &["nmap", "nping"]),
    ("tcpreplay", &["tcpreplay", "tcprewrite"]),
    ("thc-ipv6", &["atk6-firewall6"]),
];

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Run only the cases with this part in "TOOL: MODE"; the table is stored only when all are run
    #[arg(value_name = "PART")]
    part: Option<String>,
}

/// Runs the cases and stores the table.
pub fn traffic(workspace: &Workspace, arguments: &Arguments) -> Result<()> {
    prepare(workspace, "traffic", TOOLS)?;
    ensure_captures(workspace)?;
    let run = cmd!(workspace.shell, "cargo test -p firewall-tests --test traffic -- --nocapture");
    let run = match &arguments.part {
        Some(part) => run.env("TRAFFIC_CASES", part),
        None => {
            let table = workspace.root.join("bench/traffic.md");
            run.env("FIREWALL_TESTS", "full").env("TRAFFIC_REPORT", table)
        }
    };
    Ok(run.run()?)
}

/// Ensures that the tests can run every case.
pub fn ensure_tools(workspace: &Workspace) -> Result<()> {
    ensure_packages(&workspace.shell, TOOLS)?;
    ensure_captures(workspace)
}
