//! Configured interfaces: matches names and globs with the host's interfaces, and manages the link on each.
//!
//! One pass queries the kernel once for all interfaces and once per link; only differences cost more.

mod patterns;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::Result;
use tracing::{info, warn};

use self::patterns::{Patterns, Present};
use super::backoff::Backoff;
use super::repairs::Repairs;
use crate::bpf::{InterfaceLink, OpenLinks, Pins, Programs, Step, links};
use crate::config::XdpMode;
use crate::host::netlink::{Attached, InterfaceTable, XdpState, xdp_state};
use crate::status::event;

/// Default of `gro_max_size`, in bytes: the largest packet with a length in its IP header.
const LARGEST_SEGMENT: u32 = 65_536;

/// The configured interfaces and the state of each.
#[derive(Debug)]
pub struct Interfaces {
    patterns: Patterns,
    mode: XdpMode,
    links: OpenLinks,
    /// Interface index and id of our program, for each interface that this process attached to or adopted.
    attached: BTreeMap<String, (u32, u32)>,
    /// Errors of the others, by interface or pattern.
    failed: BTreeMap<String, String>,
    /// Warnings about packets too large for generic mode, by interface.
    segments: BTreeMap<String, String>,
    /// Retry time of a failed attach, by interface.
    backoff: BTreeMap<String, Backoff>,
    /// Total time that each interface was seen without our program, before `exposed`.
    unprotected: BTreeMap<String, Duration>,
    /// Start of the current time without our program, for each present interface.
    exposed: BTreeMap<String, Instant>,
    /// Time of the last pass over all interfaces.
    checked_at: Option<Instant>,
}

impl Interfaces {
    /// # Errors
    /// A pattern is not a glob; the error quotes it.
    pub fn new(patterns: &[String], mode: XdpMode) -> Result<Self> {
        Ok(Self {
            patterns: Patterns::new(patterns)?,
            mode,
            links: OpenLinks::default(),
            attached: BTreeMap::new(),
            failed: BTreeMap::new(),
            segments: BTreeMap::new(),
            backoff: BTreeMap::new(),
            unprotected: BTreeMap::new(),
            exposed: BTreeMap::new(),
            checked_at: None,
        })
    }

    /// Attaches the loaded program to every configured interface that is present: to new ones, and again where another
    /// program changed the link. `woken` is the time of the event that triggered the pass. Returns `true` if an interface
    /// was not known to run this program before.
    pub fn attach(
        &mut self,
        programs: &mut Programs,
        pins: &Pins,
        repairs: &mut Repairs,
        woken: Instant,
    ) -> bool {
        let listed = InterfaceTable::list().and_then(|table| Ok((table, programs.id()?)));
        let (interfaces, ours) = match listed {
            Ok(listed) => listed,
            Err(error) => {
                self.failed.insert("interfaces".to_owned(), format!("{error:#}"));
                return false;
            }
        };
        repairs.done("link_pin", self.links.update_pins(pins, &interfaces));
        self.patterns.update(present(&interfaces, |name| self.links.has(name)));
        self.follow_names(&interfaces);
        self.exposed.retain(|name, _| interfaces.get(name).is_some());
        let (mut failed, mut is_any_new) = (self.missing(), false);
        self.segments.clear();
        let wanted: BTreeSet<&str> = self.patterns.wanted().collect();
        // A filtered interface stays filtered regardless of the current configuration, until `detach`.
        let others = interfaces.iter().map(|(name, _)| name).filter(|name| self.links.has(name));
        let all: Vec<String> = self
            .patterns
            .wanted()
            .chain(others.filter(|name| !wanted.contains(name)))
            .map(str::to_owned)
            .collect();
        for name in &all {
            let Some(state) = interfaces.get(name) else { continue };
            if let Some(message) = self.failed.get(name).filter(|_| !self.may_try(name, woken)) {
                failed.insert(name.clone(), message.clone());
                continue;
            }
            match self.links.attach((programs, ours), pins, (name, state), self.mode) {
                Ok((link, step)) => {
                    let message = large_segments(name, state, &link);
                    self.segments.extend(message.map(|message| (name.clone(), message)));
                    is_any_new |= self.is_filtered(name, state, &link, step, repairs, woken);
                }
                Err(error) => {
                    self.is_refused(name, woken);
                    let hint = redundant(&interfaces, state, |lower| self.links.has(lower));
                    failed.insert(name.clone(), format!("{error:#}{hint}"));
                }
            }
        }
        if let Err(error) = self.links.update_elsewhere(programs, ours, pins) {
            failed.insert("links".to_owned(), format!("{error:#}"));
        }
        self.failed = failed;
        self.checked_at = Some(woken);
        is_any_new
    }

    /// Follows attached interfaces to their new names, and drops those that are gone.
    fn follow_names(&mut self, interfaces: &InterfaceTable) {
        let is_here = |name: &str, index| interfaces.get(name).is_some_and(|state| state.index == index);
        let moved = self.attached.extract_if(.., |name, (index, _)| !is_here(name, *index));
        let moved: Vec<(String, (u32, u32))> = moved.collect();
        for (name, attached) in moved {
            match interfaces.name(attached.0).filter(|now| self.links.has(now)) {
                Some(now) => {
                    info!(interface = name, now, event = event::LINK, "interface renamed, still filtered");
                    if let Some(open) = self.unprotected.remove(&name) {
                        self.unprotected.insert(now.to_owned(), open);
                    }
                    self.attached.insert(now.to_owned(), attached);
                }
                None => warn!(interface = name, event = event::LINK, "interface removed, link detached"),
            }
        }
    }

    /// An error for each pattern without an interface.
    fn missing(&self) -> BTreeMap<String, String> {
        let mut missing = self.patterns.missing();
        for link in self.links.links() {
            if let Some(message) = link.renamed_from.and_then(|name| missing.get_mut(&name)) {
                let InterfaceLink { interface, .. } = link;
                *message = format!(
                    "{message}: is now {interface}, still filtered; put {interface} into `interfaces`"
                );
            }
        }
        missing
    }

    /// Records an interface on which the attach failed.
    fn is_refused(&mut self, name: &str, woken: Instant) {
        // An error alone does not mean that the interface is open.
        if !self.attached.get(name).is_some_and(|(_, program)| runs(name, *program)) {
            let since = self.attached.remove(name).and(self.checked_at).unwrap_or(woken);
            self.exposed.entry(name.to_owned()).or_insert(since);
        }
        self.backoff.entry(name.to_owned()).or_default().failed(woken);
    }

    /// Records an interface on which our program runs; returns `true` unless it was known to run there.
    fn is_filtered(
        &mut self,
        name: &str,
        state: XdpState,
        link: &InterfaceLink,
        step: Step,
        repairs: &mut Repairs,
        woken: Instant,
    ) -> bool {
        let attached = (state.index, link.program);
        if step == Step::Unchanged
            && self.attached.get(name) == Some(&attached)
            && !self.exposed.contains_key(name)
        {
            self.backoff.remove(name);
            return false;
        }
        let was_attached = self.attached.insert(name.to_owned(), attached).is_some();
        self.backoff.remove(name);
        let exposed = self.exposed.remove(name);
        if step != Step::Made && exposed.is_none() {
            if step == Step::Updated && was_attached {
                repairs.count("link_program");
                warn!(interface = name, event = event::DRIFT, "link repaired, it ran another program");
            } else if !was_attached {
                info!(
                    interface = name,
                    link = link.link,
                    program = link.program,
                    event = event::LINK,
                    "link adopted"
                );
            }
            return true;
        }
        // An interface that we filtered was filtered at the last pass; a new one is open since the event that woke us.
        // For one that was present before this process the open time is unknown.
        let since = exposed.or(if was_attached { self.checked_at } else { self.checked_at.map(|_| woken) });
        *self.unprotected.entry(name.to_owned()).or_default() +=
            since.map_or(Duration::ZERO, |since| since.elapsed());
        if was_attached {
            repairs.count("link");
            warn!(interface = name, event = event::DRIFT, "link recreated, it was detached");
        }
        let mode = link.mode.map_or("gone", Attached::name);
        info!(
            interface = name,
            mode,
            link = link.link,
            program = link.program,
            event = event::LINK,
            "link attached"
        );
        true
    }

    /// Every attached link of ours, with the names and modes of the last pass. Omits links that cannot be queried.
    pub fn links(&self) -> Vec<InterfaceLink> {
        self.links.links()
    }

    /// Detaches every link held open.
    ///
    /// # Errors
    /// A link cannot be detached; the others are.
    pub fn detach(&mut self) -> Result<()> {
        self.attached.clear();
        self.failed.clear();
        self.segments.clear();
        self.exposed.clear();
        self.links.detach()
    }

    /// Errors of configured interfaces that are not filtered.
    pub fn errors(&self) -> impl Iterator<Item = &String> {
        self.failed.values()
    }

    /// The same errors, by interface or pattern.
    pub fn failures(&self) -> impl Iterator<Item = (String, String)> {
        self.failed.iter().map(|(name, message)| (name.clone(), message.clone()))
    }

    /// Warnings about interfaces in generic mode that may receive larger packets than the program accepts.
    pub fn large_segments(&self) -> impl Iterator<Item = (String, String)> {
        self.segments.iter().map(|(name, message)| (name.clone(), message.clone()))
    }

    /// Total time that an interface was known to be present without our program.
    pub fn unprotected(&self, name: &str) -> Duration {
        let now = self.exposed.get(name).map(Instant::elapsed).unwrap_or_default();
        self.unprotected.get(name).copied().unwrap_or_default() + now
    }

    /// Configured interfaces that are present and not filtered.
    pub fn exposed(&self) -> impl Iterator<Item = &String> {
        self.exposed.keys()
    }

    /// Configured interfaces that are present and run no program of ours, of this or another process; each after the
    /// one that judges its packets first.
    ///
    /// # Errors
    /// The interfaces, or our links, cannot be read.
    pub fn unfiltered(&mut self, pins: &Pins) -> Result<Vec<String>> {
        let mut links = links(pins)?;
        links.retain(|link| link.mode.is_some());
        let filtered: BTreeSet<String> = links.into_iter().map(|link| link.interface).collect();
        let interfaces = InterfaceTable::list()?;
        self.patterns.update(present(&interfaces, |name| filtered.contains(name)));
        let open = self.patterns.wanted().filter(|name| !filtered.contains(*name));
        Ok(open.map(str::to_owned).collect())
    }

    /// Interfaces on which our program runs.
    pub fn attached(&self) -> impl Iterator<Item = &String> {
        self.attached.keys()
    }

    fn may_try(&self, name: &str, now: Instant) -> bool {
        self.backoff.get(name).is_none_or(|backoff| backoff.may_try(now))
    }

    /// Resets the backoff after a change of interfaces: failed attaches may succeed now.
    pub fn changed(&mut self) {
        self.backoff.clear();
    }
}

/// The interfaces, as the patterns need them.
fn present<'a>(
    interfaces: &'a InterfaceTable,
    is_filtered: impl Fn(&str) -> bool,
) -> impl Iterator<Item = Present<'a>> {
    interfaces.iter().map(move |(name, state)| Present {
        name,
        alternatives: interfaces.alternatives(name),
        loopback: state.loopback,
        judged_on: state.judged_on.and_then(|index| interfaces.name(index)),
        filtered: is_filtered(name),
    })
}

/// Advice for a refused interface whose packets are judged on a filtered one; empty for another.
fn redundant(interfaces: &InterfaceTable, state: XdpState, is_filtered: impl Fn(&str) -> bool) -> String {
    let lower = state.judged_on.and_then(|index| interfaces.name(index)).filter(|lower| is_filtered(lower));
    lower.map_or_else(String::new, |lower| {
        format!("; its packets are filtered on {lower} already: remove it from `interfaces`")
    })
}

/// Warning about an interface in generic mode, where XDP runs after GRO: a larger packet has no length in its IP header.
fn large_segments(name: &str, state: XdpState, link: &InterfaceLink) -> Option<String> {
    let is_large = link.mode == Some(Attached::Generic) && state.gro_max_size > LARGEST_SEGMENT;
    is_large.then(|| {
        format!(
            "interface {name}: gro_max_size {} is above {LARGEST_SEGMENT} in generic mode: the program drops larger \
             packets as malformed; ip link set dev {name} gro_max_size {LARGEST_SEGMENT} gro_ipv4_max_size \
             {LARGEST_SEGMENT}",
            state.gro_max_size
        )
    })
}

fn runs(interface: &str, program: u32) -> bool {
    // Assumes no change when the state cannot be read.
    xdp_state(interface).map_or(true, |state| {
        state.and_then(|state| state.program).is_some_and(|(_, running)| running == program)
    })
}
