//! Drift detection and repair, every `drift_interval`.

use std::time::Instant;

use anyhow::{Context as _, Result};
use tracing::{info, warn};

use super::{AccessChange, Agent};
use crate::status::event;
use crate::sync::repair;

impl Agent {
    /// Checks pins, links, programs, maps and interfaces. `woken` is the time of the event that triggered the check.
    pub(super) fn check_drift(&mut self, woken: Instant) {
        self.checked_at = woken;
        self.repairs.begin();
        let pins = self.restore_pins();
        self.repairs.done("pin", pins);
        if !self.ownership.pins.is_current(&self.pins) {
            // Links can neither be seen nor pinned; attached ones continue to filter.
            return;
        }
        self.attach_interfaces(woken);
        let recorders = self.packet_log.repair_recorders(&mut self.programs, &mut self.named_maps);
        self.repairs.done("recorders", recorders);
        let generation = self.reconciler.data_plane.renew_generation();
        self.repairs.done("generation", Ok(u64::from(generation)));
        match self.repair_maps() {
            Ok(kinds) => {
                kinds.into_iter().for_each(|kind| self.repairs.count(kind));
                self.repairs.succeeded("maps");
            }
            Err(error) => self.repairs.failed("maps", &error),
        }
        self.probes.next(&self.reconciler.live, &self.config.bpffs_dir);
    }

    /// Attaches interfaces and socket filter where necessary, unless an operator has detached the host.
    pub(super) fn attach_interfaces(&mut self, woken: Instant) {
        if self.reconciler.detached().is_none() {
            let programs = self.packet_log.attached(&mut self.programs);
            if self.interfaces.attach(programs, &self.pins, &mut self.repairs, woken) {
                // Refused sources may have had access by it.
                self.resume_session_reset(AccessChange::ALL);
            }
            self.socket_filter.attach(&mut self.programs, &self.pins, &mut self.repairs, woken);
        }
    }

    /// Detaches every interface and the socket filter, until [`Self::attach`].
    pub(super) fn detach(&mut self) -> Result<String> {
        let detached = self.interfaces.detach().and(self.socket_filter.detach(&self.pins));
        let done = self.reconciler.detach(&self.pins);
        detached.and(done)
    }

    /// Attaches every configured interface again.
    pub(super) fn attach(&mut self) -> Result<String> {
        self.reconciler.set_detached(false)?;
        self.interfaces.changed();
        self.socket_filter.changed();
        self.attach_interfaces(Instant::now());
        match self.interfaces.errors().cloned().chain(self.socket_filter.unfiltered()).next() {
            Some(error) => anyhow::bail!("{error}"),
            None => Ok("attached: every configured interface is filtered".to_owned()),
        }
    }

    /// Restores missing pins; returns their number.
    pub(super) fn restore_pins(&mut self) -> Result<u64> {
        if !self.ownership.pins.is_current(&self.pins) {
            let anew = self.pins.create().and_then(|()| self.pins.own());
            self.ownership.pins = anew.context(
                "the bpffs with the pins is unmounted: filtering continues, pins are restored after a mount",
            )?;
            info!(directory = %self.pins.root().display(), event = event::DRIFT, "bpffs remounted, objects pinned again");
        }
        self.pins.create_layout()?;
        let programs = self.packet_log.restore_pins(&mut self.programs, &self.pins)?;
        Ok(programs
            + self.named_maps.restore_pins(&self.pins)?
            + self.reconciler.data_plane.restore_pins()?)
    }

    /// Publishes drifted maps again; returns the kinds of drift found.
    fn repair_maps(&mut self) -> Result<Vec<&'static str>> {
        self.named_maps.ensure_used(&mut self.programs)?;
        self.named_maps.ensure_used(self.packet_log.attached(&mut self.programs))?;
        self.named_maps.ensure_written(&self.reconciler.data_plane)?;
        let drift = self.reconciler.data_plane.drift(&self.reconciler.live)?;
        let kinds: Vec<&'static str> = drift.kinds().collect();
        if !kinds.is_empty() {
            warn!(kinds = kinds.join(", "), event = event::DRIFT, "drift repaired, rules published again");
            repair(&drift, &mut self.reconciler.live, &mut self.reconciler.data_plane)?;
            self.reconciler.data_plane.adopt(&self.reconciler.live)?;
        }
        Ok(kinds)
    }
}
