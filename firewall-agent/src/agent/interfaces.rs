//! Which interfaces are filtered: names and globs against what is there.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result};
use glob::Pattern;
use nix::net::if_::if_nameindex;
use tracing::{error, info, warn};

use crate::bpf::{Attached, Pins, Programs, attach, links};
use crate::config::XdpMode;

/// The configured interfaces and how each stands.
#[derive(Debug)]
pub struct Interfaces {
    patterns: Vec<Pattern>,
    mode: XdpMode,
    /// Index of each interface that this process attached to or took over.
    attached: BTreeMap<String, u32>,
    /// Why the others are not.
    failed: BTreeMap<String, String>,
}

impl Interfaces {
    /// # Errors
    /// When a glob is none; the error quotes it.
    pub fn new(patterns: &[String], mode: XdpMode) -> Result<Self> {
        let patterns = patterns
            .iter()
            .map(|text| {
                Pattern::new(text).with_context(|| format!("interfaces: {text:?}: not a name or glob"))
            })
            .collect::<Result<_>>()?;
        Ok(Self { patterns, mode, attached: BTreeMap::new(), failed: BTreeMap::new() })
    }

    /// Attaches to every configured interface that is there and not attached yet. Says each trouble once, until it
    /// changes.
    pub fn attach(&mut self, programs: &mut Programs, pins: &Pins) {
        let present = match present() {
            Ok(present) => present,
            Err(error) => return error!(error = format!("{error:#}"), "interfaces cannot be listed"),
        };
        let running = links(pins).unwrap_or_default();
        let runs = |name: &String| running.iter().any(|link| link.interface == *name && link.mode.is_some());
        self.attached.retain(|name, index| {
            let kept = present.get(name) == Some(index) && runs(name);
            if !kept {
                warn!(interface = name, "is no longer filtered by our link");
            }
            kept
        });
        let mut failed = self.missing(present.keys());
        for (name, index) in present {
            let wanted = self.patterns.iter().any(|pattern| pattern.matches(&name));
            if !wanted || self.attached.contains_key(&name) {
                continue;
            }
            match attach(programs, pins, &name, self.mode) {
                Ok(link) => {
                    let mode = link.mode.map_or("gone", Attached::name);
                    info!(interface = name, mode, link = link.link, program = link.program, "attached");
                    self.attached.insert(name, index);
                }
                Err(error) => {
                    failed.insert(name, format!("{error:#}"));
                }
            }
        }
        for (name, message) in &failed {
            if self.failed.get(name) != Some(message) {
                error!(interface = name, error = message, "interface is not filtered");
            }
        }
        self.failed = failed;
    }

    /// Why some configured interface is not filtered.
    pub fn errors(&self) -> impl Iterator<Item = &String> {
        self.failed.values()
    }

    /// Configured names without an interface.
    fn missing<'a>(&self, present: impl Iterator<Item = &'a String>) -> BTreeMap<String, String> {
        let present: BTreeSet<&String> = present.collect();
        self.patterns
            .iter()
            .filter(|pattern| !present.iter().any(|name| pattern.matches(name)))
            .map(|pattern| (pattern.to_string(), format!("interface {pattern}: not there")))
            .collect()
    }
}

fn present() -> Result<BTreeMap<String, u32>> {
    let interfaces = if_nameindex()?;
    Ok(interfaces.iter().map(|one| (one.name().to_string_lossy().into_owned(), one.index())).collect())
}
