//! Collects the facts of this host.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::path::Path;

use anyhow::Result;

use crate::audit::{Facts, Gathered, Protected, Unchecked};
use crate::bpf::{Kernel, Pins, links};
use crate::host::iptables::legacy_rules;
use crate::host::listeners::listeners;
use crate::host::netlink::{Attached, filters, interfaces, ipsec, routes};
use crate::host::nftables::rules;
use crate::host::sysctl::{ephemeral, settings};

/// Collects the facts. Fails only if the protected destinations or filtered interfaces are unknown, which the audit
/// requires.
pub(super) fn collect(kernel: &Kernel, bpffs_dir: &Path) -> Result<Facts> {
    let protected = Protected::of(&kernel.live()?);
    let links = links(&Pins::new(bpffs_dir))?;
    let modes: BTreeMap<String, Attached> =
        links.into_iter().filter_map(|link| Some((link.interface, link.mode?))).collect();
    let interfaces = checked("interfaces", interfaces(|name| modes.get(name).copied()).map_err(chain));
    let names = interfaces.iter().flatten().map(|one| (one.index, one.name.as_str()));
    let settings = checked("settings under /proc/sys/net", settings(names.clone().map(|(_, name)| name)));
    let mut all_rules = vec![
        checked("nftables rules", rules().map_err(chain)),
        checked("tc filters", filters(names).map_err(chain)),
    ];
    all_rules.extend(legacy_rules());
    let is_own = |address: IpAddr| interfaces.iter().flatten().any(|one| one.addresses.contains(&address));
    Ok(Facts {
        routes: checked("routes", routes().map_err(chain)),
        ipsec: checked("IPsec policies and states", ipsec(is_own).map_err(chain)),
        protected,
        interfaces,
        listeners: checked("listeners", listeners()),
        rules: all_rules,
        ephemeral: checked("the ephemeral port range", ephemeral()),
        settings,
    })
}

fn checked<T, E: fmt::Display>(fact: &str, result: Result<T, E>) -> Gathered<T> {
    result.map_err(|error| Unchecked { fact: fact.to_owned(), reason: error.to_string() })
}

fn chain(error: anyhow::Error) -> String {
    format!("{error:#}")
}
