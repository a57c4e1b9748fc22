//! The socket filter: attaches it to the configured control group, and removes one that is configured off.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::Result;
use firewall_common::socket_filter;
use tracing::{info, warn};

use super::backoff::Backoff;
use super::repairs::Repairs;
use crate::bpf::{OpenSocketLink, Pins, Programs, SocketLink, Step};
use crate::config::{Config, SocketFilterMode};
use crate::escape::path_text;
use crate::status::{SocketFilterStatus, UNFILTERED, event};

/// The configured socket filter and its state.
#[derive(Debug)]
pub(super) struct SocketFilter {
    mode: SocketFilterMode,
    cgroup: PathBuf,
    loopback: bool,
    link: OpenSocketLink,
    /// This process has attached or adopted the link.
    attached: bool,
    /// Error of the last attempt.
    failed: Option<String>,
    backoff: Backoff,
}

impl SocketFilter {
    pub fn new(config: &Config) -> Self {
        Self {
            mode: config.socket_filter,
            cgroup: config.socket_filter_cgroup.clone(),
            loopback: config.socket_filter_loopback,
            link: OpenSocketLink::default(),
            attached: false,
            failed: None,
            backoff: Backoff::default(),
        }
    }

    /// The bits of [`socket_filter`] for the program.
    pub fn bits(config: &Config) -> u32 {
        let enforce = config.socket_filter == SocketFilterMode::Enforce;
        let bit = |is_set, bit| if is_set { bit } else { 0 };
        bit(enforce, socket_filter::ENFORCE) | bit(config.socket_filter_loopback, socket_filter::LOOPBACK)
    }

    /// Attaches the loaded program, or removes the link of an earlier run. `woken` is the time of the event that
    /// triggered the pass.
    pub fn attach(&mut self, programs: &mut Programs, pins: &Pins, repairs: &mut Repairs, woken: Instant) {
        if self.failed.is_some() && !self.backoff.may_try(woken) {
            return;
        }
        let done = match self.mode {
            SocketFilterMode::Off => self.link.detach(pins).map(drop),
            SocketFilterMode::Monitor | SocketFilterMode::Enforce => self.try_attach(programs, pins, repairs),
        };
        match done {
            Ok(()) => {
                self.backoff = Backoff::default();
                self.failed = None;
            }
            Err(error) => {
                self.backoff.failed(woken);
                self.failed = Some(format!("socket filter: {error:#}"));
            }
        }
    }

    fn try_attach(&mut self, programs: &mut Programs, pins: &Pins, repairs: &mut Repairs) -> Result<()> {
        programs.load_socket_filter(pins)?;
        let (step, restored) = self.link.attach(programs, pins, &self.cgroup)?;
        for _ in 0..restored {
            repairs.count("socket_link");
        }
        let (mode, cgroup, was_attached) = (self.mode, self.cgroup.display(), self.attached);
        self.attached = true;
        match step {
            Step::Unchanged if was_attached => {}
            Step::Unchanged => info!(%mode, %cgroup, event = event::LINK, "socket filter adopted"),
            Step::Updated | Step::Made if was_attached => {
                repairs.count("socket_link");
                warn!(%mode, %cgroup, event = event::DRIFT, "socket filter repaired");
            }
            Step::Updated => info!(%mode, %cgroup, event = event::LINK, "socket filter updated"),
            Step::Made => info!(%mode, %cgroup, event = event::LINK, "socket filter attached"),
        }
        Ok(())
    }

    /// Detaches the socket filter until the next [`Self::attach`].
    ///
    /// # Errors
    /// When the kernel or bpffs refuses.
    pub fn detach(&mut self, pins: &Pins) -> Result<()> {
        (self.attached, self.failed) = (false, None);
        self.link.detach(pins).map(drop)
    }

    /// Allows the next attempt at once.
    pub fn changed(&mut self) {
        self.backoff = Backoff::default();
    }

    /// The message of a filter that should enforce and is not attached.
    pub fn unfiltered(&self) -> Option<String> {
        self.failed.clone().filter(|_| self.mode == SocketFilterMode::Enforce)
    }

    /// The message of a filter in another mode that could not be attached or removed.
    pub fn unmonitored(&self) -> Option<String> {
        self.failed.clone().filter(|_| self.mode != SocketFilterMode::Enforce)
    }

    /// Status of the socket filter, without its counters.
    ///
    /// # Errors
    /// When link or program cannot be queried.
    pub fn status(&self, programs: &mut Programs) -> Result<SocketFilterStatus> {
        let link = self.link.describe(programs)?;
        // A link without a tag runs a program of an earlier configuration, or of someone else.
        let is_ours = link.as_ref().is_some_and(|link| !link.tag.is_empty());
        let mode = if is_ours { self.mode.to_string() } else { UNFILTERED.to_owned() };
        let SocketLink { link, program, tag } =
            link.unwrap_or(SocketLink { link: 0, program: 0, tag: String::new() });
        Ok(SocketFilterStatus {
            mode,
            configured: self.mode.to_string(),
            cgroup: path_text(&self.cgroup),
            loopback: self.loopback,
            link_id: link,
            program_id: program,
            program_tag: tag,
        })
    }
}
