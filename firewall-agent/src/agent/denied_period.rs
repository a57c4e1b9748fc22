//! Refused packets of a period: the summaries of its hours, and the growth of the kernel's table since.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Result;
use jiff::Timestamp;

use crate::bpf::{DenialEntry, DeniedFlow, Hook, Kernel};
use crate::files::hourly_files::{Hour, HourlyFiles};
use crate::host::boot::boot_id;
use crate::host::interface_names::InterfaceNames;
use crate::rules::DatabaseId;
use crate::status::refusals::{Contained, EntryId, Growth, HourSummary, KernelEntry, Refusal, RefusedKind};
use crate::sync::Destination;

/// The remembered packets of a period.
#[derive(Debug, Default)]
pub struct DeniedPeriod {
    /// By hour and kind.
    pub refusals: Vec<Refusal>,
    /// Packets of clients for which the summaries had no room.
    pub left_out: u64,
    /// Start of the memory; `None` without one.
    pub remembers_since: Option<Timestamp>,
    /// Summaries that could not be used, each with the reason.
    pub skipped: Vec<String>,
}

impl DeniedPeriod {
    /// Reads the clients seen since a time. Without a kernel, the packets since the last summary are missing.
    ///
    /// # Errors
    /// The directory of the summaries cannot be listed, or the kernel cannot be read.
    pub fn read(state_dir: &Path, kernel: Option<&Kernel>, since: Timestamp) -> Result<Self> {
        let (files, now, boot) = (HourlyFiles::new(state_dir), Timestamp::now(), boot_id()?);
        let (mut period, mut contained) = (Self::default(), Contained::default());
        let is_in = |refusal: &Refusal| refusal.last_seen >= since;
        // Before the kernel's table: a summary written meanwhile does not count its growth again.
        period.skipped = each_summary(&files, |summary| {
            contained.load(&summary, &boot);
            period.remembers_since = period.remembers_since.or(Some(summary.from()));
            let before = period.refusals.len();
            let left_out = summary.left_out();
            period.refusals.extend(summary.into_refusals().filter(is_in));
            period.left_out += if period.refusals.len() > before { left_out } else { 0 };
        })?;
        if let Some(kernel) = kernel {
            let oldest = period.remembers_since.map(Hour::of);
            let growth = contained.growth(&kernel_entries(kernel)?);
            for (hour, growth) in by_hour(growth, now, oldest) {
                let mut summary = HourSummary::new(hour.start(), &boot);
                summary.add(&growth, now, &boot);
                period.refusals.extend(summary.into_refusals().filter(is_in));
            }
        }
        Ok(period)
    }
}

/// Start of the memory; `None` without one.
///
/// # Errors
/// The directory of the summaries cannot be listed.
pub fn remembers_since(state_dir: &Path) -> Result<Option<Timestamp>> {
    let files = HourlyFiles::new(state_dir);
    let summaries = files.hours()?.into_keys().filter_map(|hour| read(&files, hour).ok().flatten());
    Ok(summaries.map(|summary| summary.from()).next())
}

/// The entries of the kernel's table, with names for their numbers.
///
/// # Errors
/// The kernel cannot be read.
pub fn kernel_entries(kernel: &Kernel) -> Result<Vec<KernelEntry>> {
    let (entries, names) = (kernel.denial_entries()?, InterfaceNames::read());
    Ok(entries.into_iter().map(|(entry, database)| kernel_entry(&entry, database, &names)).collect())
}

fn kernel_entry(entry: &DenialEntry, database: Option<DatabaseId>, names: &InterfaceNames) -> KernelEntry {
    let interface = match entry.what.hook {
        Hook::Xdp => None,
        Hook::Socket(index) => Some(index),
    };
    KernelEntry {
        kind: RefusedKind {
            source: entry.what.source,
            database_id: database.map(|id| id.to_string()),
            endpoint: endpoint(&entry.what),
            reason: entry.what.reason.name().to_owned(),
            class: entry.what.class.name().to_owned(),
            interface,
        },
        interface_name: interface.map(|index| names.name(index)),
        id: EntryId { cpu: entry.cpu, first_seen_ns: entry.first_seen_ns },
        packets: entry.packets,
        first_seen: entry.first_seen,
        last_seen: entry.last_seen,
    }
}

fn endpoint(what: &DeniedFlow) -> String {
    match (what.destination, what.protocol) {
        (None, _) => "-".to_owned(),
        (Some(address), Some(protocol)) => {
            Destination { address: Some(address), port: what.port, protocol }.to_string()
        }
        (Some(address), None) => address.to_string(),
    }
}

/// The counts that the summaries contain, and the summaries that could not be used.
pub(super) fn contained_in(files: &HourlyFiles, boot: &str) -> Result<(Contained, Vec<String>)> {
    let mut contained = Contained::default();
    let skipped = each_summary(files, |summary| contained.load(&summary, boot))?;
    Ok((contained, skipped))
}

/// The growth by the hour of each entry's last packet, which is no later than now; always with the current hour. Leaves
/// out entries from before the oldest summary, which the memory has dropped. The first memory of a host begins with the
/// whole table.
pub(super) fn by_hour(
    growth: Vec<Growth>,
    now: Timestamp,
    oldest: Option<Hour>,
) -> BTreeMap<Hour, Vec<Growth>> {
    let current = Hour::of(now);
    let mut hours = BTreeMap::from([(current, Vec::new())]);
    for growth in growth {
        let seen = Hour::of(growth.entry.last_seen).min(current);
        match oldest {
            None => hours.entry(current).or_default().push(growth),
            Some(oldest) if seen >= oldest.min(current) => hours.entry(seen).or_default().push(growth),
            Some(_) => {}
        }
    }
    hours
}

/// Calls `take` with each summary, oldest first. Returns the files that could not be used, with the reasons.
fn each_summary(files: &HourlyFiles, mut take: impl FnMut(HourSummary)) -> Result<Vec<String>> {
    let mut skipped = Vec::new();
    for hour in files.hours()?.into_keys() {
        match read(files, hour) {
            Ok(Some(summary)) => take(summary),
            // Pruned meanwhile.
            Ok(None) => {}
            Err(error) => skipped.push(format!("{}: {error:#}", files.path(hour).display())),
        }
    }
    Ok(skipped)
}

fn read(files: &HourlyFiles, hour: Hour) -> Result<Option<HourSummary>> {
    files.read(hour)?.map(|bytes| HourSummary::parse(&bytes)).transpose()
}
