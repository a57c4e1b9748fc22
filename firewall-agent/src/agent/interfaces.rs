//! Which interfaces are filtered: names and globs against what is there.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use glob::Pattern;
use nix::net::if_::if_nameindex;
use tracing::{error, info, warn};

use super::backoff::Backoff;
use super::repairs::Repairs;
use crate::bpf::{
    Attached, HeldLinks, InterfaceLink, Pins, Programs, Step, attach, is_ours, links, update_elsewhere,
    xdp_state,
};
use crate::config::XdpMode;

/// The configured interfaces and how each stands.
#[derive(Debug)]
pub struct Interfaces {
    patterns: Vec<Pattern>,
    mode: XdpMode,
    held: HeldLinks,
    /// Index of each interface that this process attached to or took over, and the id of our program there.
    attached: BTreeMap<String, (u32, u32)>,
    /// Why the others are not.
    failed: BTreeMap<String, String>,
    /// When a failed attach is tried again, by interface.
    backoff: BTreeMap<String, Backoff>,
    /// How long each interface has been seen without our program, before `exposed`.
    unprotected: BTreeMap<String, Duration>,
    /// Since when an interface that is there has been without our program.
    exposed: BTreeMap<String, Instant>,
    /// The last look at all of them.
    looked: Option<Instant>,
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
        Ok(Self {
            patterns,
            mode,
            held: HeldLinks::default(),
            attached: BTreeMap::new(),
            failed: BTreeMap::new(),
            backoff: BTreeMap::new(),
            unprotected: BTreeMap::new(),
            exposed: BTreeMap::new(),
            looked: None,
        })
    }

    /// Brings every configured interface that is there under our program: attaches what is new, and repairs what
    /// somebody has changed. Says each trouble once, until it changes. `woken` is when something made it look.
    pub fn attach(&mut self, programs: &mut Programs, pins: &Pins, repairs: &mut Repairs, woken: Instant) {
        let present = match present() {
            Ok(present) => present,
            Err(error) => {
                let message = format!("interfaces cannot be listed: {error:#}");
                if self.failed.get("interfaces") != Some(&message) {
                    error!(message, "interfaces are not looked after");
                }
                self.failed.insert("interfaces".to_owned(), message);
                return;
            }
        };
        repairs.done("link_pin", self.held.pin_again(pins));
        self.attached.retain(|name, (index, _)| {
            let kept = present.get(name) == Some(index);
            if !kept {
                warn!(interface = name, "is gone, and with it our link");
            }
            kept
        });
        self.exposed.retain(|name, _| present.contains_key(name));
        let mut failed = self.missing(present.keys());
        for (name, index) in &present {
            // What was once filtered stays so, whatever the configuration says now, until `detach`.
            if !self.patterns.iter().any(|pattern| pattern.matches(name)) && !is_ours(pins, name) {
                continue;
            }
            if let Some(message) = self.failed.get(name).filter(|_| !self.may_try(name, woken)) {
                failed.insert(name.clone(), message.clone());
                continue;
            }
            match attach(programs, pins, name, self.mode) {
                Ok((link, step)) => self.stands(name, *index, &link, step, repairs, woken),
                Err(error) => {
                    // That it cannot be looked at does not mean that it is open.
                    if !self.attached.get(name).is_some_and(|(_, program)| runs(name, *program)) {
                        let since = self.attached.remove(name).and(self.looked).unwrap_or(woken);
                        self.exposed.entry(name.clone()).or_insert(since);
                    }
                    self.backoff.entry(name.clone()).or_default().failed(woken);
                    failed.insert(name.clone(), format!("{error:#}"));
                }
            }
        }
        let held = self.held.hold(pins);
        if let Err(error) = update_elsewhere(programs, pins).and(held) {
            failed.insert("links".to_owned(), format!("{error:#}"));
        }
        for (name, message) in &failed {
            if self.failed.get(name) != Some(message) {
                error!(interface = name, error = message, "interface is not filtered");
            }
        }
        self.failed = failed;
        self.looked = Some(woken);
    }

    /// Takes note of an interface that our program runs on.
    fn stands(
        &mut self,
        name: &str,
        index: u32,
        link: &InterfaceLink,
        step: Step,
        repairs: &mut Repairs,
        woken: Instant,
    ) {
        let was_attached = self.attached.insert(name.to_owned(), (index, link.program)).is_some();
        self.backoff.remove(name);
        let exposed = self.exposed.remove(name);
        if step != Step::Made && exposed.is_none() {
            if step == Step::Updated && was_attached {
                repairs.count("link_program");
                warn!(interface = name, "its link ran another program, and was given ours again");
            } else if !was_attached {
                info!(interface = name, link = link.link, program = link.program, "link taken over");
            }
            return;
        }
        // An interface that we filtered was so at the last look; a new one is open since we were woken for it.
        // How long one has been open that was there before this process nobody knows.
        let since = exposed.or(if was_attached { self.looked } else { self.looked.map(|_| woken) });
        *self.unprotected.entry(name.to_owned()).or_default() +=
            since.map_or(Duration::ZERO, |since| since.elapsed());
        if was_attached {
            repairs.count("link");
            warn!(interface = name, "its link was taken down, and is made again");
        }
        let mode = link.mode.map_or("gone", Attached::name);
        info!(interface = name, mode, link = link.link, program = link.program, "attached");
    }

    /// Every link of ours that is attached.
    ///
    /// # Errors
    /// When one cannot be looked at.
    pub fn links(&self) -> Result<Vec<InterfaceLink>> {
        self.held.links()
    }

    /// Takes every link down that is held.
    ///
    /// # Errors
    /// When one cannot be taken down; the others are.
    pub fn detach(&mut self) -> Result<()> {
        self.attached.clear();
        self.failed.clear();
        self.exposed.clear();
        self.held.detach()
    }

    /// Why some configured interface is not filtered.
    pub fn errors(&self) -> impl Iterator<Item = &String> {
        self.failed.values()
    }

    /// How long an interface has been known to be there without our program, all times together.
    pub fn unprotected(&self, name: &str) -> Duration {
        let now = self.exposed.get(name).map(Instant::elapsed).unwrap_or_default();
        self.unprotected.get(name).copied().unwrap_or_default() + now
    }

    /// Interfaces that are there, configured, and not filtered.
    pub fn exposed(&self) -> impl Iterator<Item = &String> {
        self.exposed.keys()
    }

    /// Configured interfaces that are there and run no program of ours, whoever attached it.
    ///
    /// # Errors
    /// When the interfaces, or our links, cannot be looked at.
    pub fn unfiltered(&self, pins: &Pins) -> Result<Vec<String>> {
        let links = links(pins)?;
        let filtered =
            |name: &String| links.iter().any(|link| link.mode.is_some() && link.interface == *name);
        let mut names: Vec<String> = present().context("interfaces cannot be listed")?.into_keys().collect();
        names.retain(|name| self.patterns.iter().any(|pattern| pattern.matches(name)) && !filtered(name));
        Ok(names)
    }

    /// Interfaces that our program runs on.
    pub fn attached(&self) -> impl Iterator<Item = &String> {
        self.attached.keys()
    }

    fn may_try(&self, name: &str, now: Instant) -> bool {
        self.backoff.get(name).is_none_or(|backoff| backoff.may_try(now))
    }

    /// Something about the interfaces has changed: what failed may succeed now.
    pub fn changed(&mut self) {
        self.backoff.clear();
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

fn runs(interface: &str, program: u32) -> bool {
    // Who cannot be asked is as it was.
    xdp_state(interface).map_or(true, |state| {
        state.and_then(|state| state.program).is_some_and(|(_, running)| running == program)
    })
}

fn present() -> Result<BTreeMap<String, u32>> {
    let interfaces = if_nameindex()?;
    Ok(interfaces.iter().map(|one| (one.name().to_string_lossy().into_owned(), one.index())).collect())
}
