//! A start that fails leaves no host open: the guarded ports are closed, until a later start has taken over.

use anyhow::{Context as _, Error, Result};

use super::interfaces::Interfaces;
use super::ledger::Ledger;
use crate::bpf::{Capacity, Kernel, Pins, Programs, attach};
use crate::config::Config;
use crate::files::lock::Lock;
use crate::files::store::Store;
use crate::sync::{DataPlane as _, Ports};

/// Closes the guarded ports on each configured interface that nothing of ours filters, since a start has failed with
/// `error`; which then says so. What filters is left alone, and so is everything where another agent is in charge or an
/// operator has taken everything down.
pub(super) fn close(config: &Config, error: Error) -> Error {
    match close_what_is_open(config) {
        Ok(done) if done.is_empty() => error,
        Ok(done) => error.context(done.join("; ")),
        Err(why) => error.context(format!("not closed: {why:#}")),
    }
}

/// What became of each interface that was open.
fn close_what_is_open(config: &Config) -> Result<Vec<String>> {
    if Lock::owner(&config.state_dir).is_some() || is_detached(config) {
        return Ok(Vec::new());
    }
    let pins = Pins::new(&config.bpffs_dir);
    pins.create()?;
    let Ok(_owned) = pins.own() else { return Ok(Vec::new()) };
    let open = Interfaces::new(&config.interfaces, config.xdp_mode)?.unfiltered(&pins)?;
    if open.is_empty() {
        return Ok(Vec::new());
    }
    // What is pinned may be what the start has failed for. These maps live as long as the program that uses them.
    let aside = Pins::new(&config.bpffs_dir.join("closed"));
    aside.remove()?;
    let mut programs = closed_programs(&aside, config).context("the guarded ports cannot be closed")?;
    let done = open.into_iter().map(|name| match attach(&mut programs, &pins, &name, config.xdp_mode) {
        Ok(_) => {
            format!("closed: {name}: guarded ports {}, until an agent has started", config.guarded_ports)
        }
        Err(why) => format!("not closed: {why:#}"),
    });
    let done = done.collect();
    aside.remove()?;
    Ok(done)
}

/// Programs that know no database, over maps of their own.
fn closed_programs(aside: &Pins, config: &Config) -> Result<Programs> {
    aside.create()?;
    let programs = Programs::load(aside, Capacity::for_databases(1))?;
    let guarded: Ports = config.guarded_ports.ranges().iter().cloned().flatten().collect();
    Kernel::open(aside.root())?.set_ports(&Ports::new(), &guarded)?;
    Ok(programs)
}

/// Whether an operator's `detach` is stored, as far as that can be read.
fn is_detached(config: &Config) -> bool {
    let ledger = Store::find(&config.state_dir).and_then(|store| store.load().ledger);
    let ledger = ledger.and_then(|bytes| serde_json::from_slice::<Ledger>(&bytes).ok());
    ledger.is_some_and(|ledger| ledger.detached.is_some())
}
