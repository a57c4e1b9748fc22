//! Fail closed: shuts guarded ports and claimed destinations when a start fails and no filter is attached.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, Error, Result};

use super::file_report::{FileReport, RangesPaths, parse};
use super::interfaces::Interfaces;
use crate::bpf::{Kernel, MapSizes, Pins, Programs, attach};
use crate::config::Config;
use crate::files::file_reader::{FileReader, Inputs};
use crate::files::lock::Lock;
use crate::files::read_cache::Reading;
use crate::files::signature_verifier::SignatureVerifier;
use crate::files::store::{LastGoodStore, StateFile};
use crate::sync::{
    DataPlane as _, Destination, Endpoints, Guards, Ports, Record, Table, TableEntry, destinations,
};

/// Longest wait for the rule files.
const FILES: Duration = Duration::from_secs(2);

/// Closes the guarded ports, and every stored claim, on each configured interface without one of our programs, after a
/// start failed with `error`; the returned error says so. Does nothing where an interface is filtered, another agent
/// runs, or an operator has detached the host.
pub(super) fn fail_closed(config: &Config, error: Error) -> Error {
    match close_unfiltered(config) {
        Ok(done) if done.is_empty() => error,
        Ok(done) => error.context(done.join("; ")),
        Err(why) => error.context(format!("not closed: {why:#}")),
    }
}

/// Returns `true` when an operator's `detach` is stored. An unreadable store counts as attached: the host is filtered.
pub(super) fn is_detached(config: &Config) -> bool {
    // Reads beside a running daemon, too.
    let records = LastGoodStore::new(StateFile::new(&config.state_dir)).load().unwrap_or_default();
    records.iter().any(|record| matches!(record, Record::Detached(_)))
}

/// Destinations that an agent would close or filter: those of the store, of any format version, and those of the valid
/// rule files.
fn claims(config: &Config) -> BTreeSet<Destination> {
    let stored = LastGoodStore::new(StateFile::new(&config.state_dir)).claims().unwrap_or_default();
    let mut claims: BTreeSet<Destination> = stored.into_iter().collect();
    let reader = FileReader::start(Inputs::of(config), SignatureVerifier::new(config.trusted_keys.clone()));
    if let Ok(mut reader) = reader {
        reader.request(BTreeSet::new(), Reading::All);
        if let Some(snapshot) = reader.wait(FILES) {
            let blocked = config.blocked_ranges.clone().unwrap_or_default();
            let ranges = RangesPaths { managed: &config.managed_ranges, blocked: &blocked };
            let files = parse(&snapshot, ranges, &config.limits());
            claims.extend(files.iter().filter_map(FileReport::database).flat_map(destinations));
        }
    }
    claims
}

/// Closes the unfiltered interfaces and returns a message for each.
fn close_unfiltered(config: &Config) -> Result<Vec<String>> {
    if Lock::owner(&config.state_dir).is_some() {
        return Ok(Vec::new());
    }
    if is_detached(config) {
        return Ok(Vec::new());
    }
    let pins = Pins::new(&config.bpffs_dir);
    pins.create()?;
    let Ok(_owned) = pins.own() else { return Ok(Vec::new()) };
    let open = Interfaces::new(&config.interfaces, config.xdp_mode)?.unfiltered(&pins)?;
    if open.is_empty() {
        return Ok(Vec::new());
    }
    let claims = claims(config);
    // The start may have failed because of the pinned maps. These maps share the lifetime of the program.
    let aside = Pins::new(&config.bpffs_dir.join("closed"));
    aside.remove()?;
    let mut programs = closed_programs(&aside, config, &claims).context("cannot close the guarded ports")?;
    let claims = match claims.len() {
        0 => String::new(),
        number => format!(" and {number} claimed destinations"),
    };
    let guarded = &config.guarded_ports;
    let attached = attach(&mut programs, &pins, &open, config.xdp_mode);
    aside.remove()?;
    let done = open.iter().zip(attached?).map(|(name, attached)| match attached {
        Ok(_) => format!("closed: {name}: guarded ports {guarded}{claims}, until an agent starts"),
        Err(why) => format!("not closed: {why:#}"),
    });
    Ok(done.collect())
}

/// Programs without databases, with maps of their own.
fn closed_programs(aside: &Pins, config: &Config, claims: &BTreeSet<Destination>) -> Result<Programs> {
    aside.create()?;
    let programs = Programs::load(aside, MapSizes::for_databases(1))?;
    let guarded = Guards::from(&config.guarded_ports);
    let endpoints: Endpoints =
        claims.iter().map(|destination| (*destination, TableEntry::Tombstone)).collect();
    let claimed: Ports = claims.iter().map(|destination| destination.port).collect();
    let mut kernel = Kernel::open(aside.root())?;
    kernel.set_ports(&claimed, &guarded)?;
    if !endpoints.is_empty() {
        kernel.publish_table(&Table::new(endpoints, &guarded))?;
    }
    Ok(programs)
}
