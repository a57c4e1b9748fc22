//! The kernel's state in the form of `status`.

use anyhow::Result;
use firewall_common::Reason;
use jiff::Timestamp;

use crate::bpf::{InterfaceLink, Kernel, MapMemory};
use crate::host::netlink::Attached;
use crate::status::{
    DatabaseState, DatabaseStatus, InterfaceStatus, KernelMemory, ReasonCounter, Status, UNFILTERED,
};
use crate::sync::{CommonDigests, Live};

/// Status of interfaces and databases in the kernel; `id` and `tag` are those of our program.
#[must_use]
pub fn report(
    links: Vec<InterfaceLink>,
    live: &Live,
    digests: &mut CommonDigests,
    (id, tag): (u32, &str),
) -> Status {
    Status {
        interfaces: links.into_iter().map(|link| interface(link, id, tag)).collect(),
        databases: databases(live, digests),
        ..Status::default()
    }
}

/// Packets and bytes by reason, in the order of the reasons' numbers.
///
/// # Errors
/// A counter cannot be read.
pub fn counters(kernel: &Kernel) -> Result<Vec<ReasonCounter>> {
    Reason::ALL.into_iter().map(|reason| counter(kernel, reason)).collect()
}

/// Memory of the agent's maps.
///
/// # Errors
/// A pin cannot be read.
pub fn kernel_memory(kernel: &Kernel) -> Result<KernelMemory> {
    let MapMemory { bytes, bytes_per_cpu, possible_cpus } = kernel.map_memory()?;
    Ok(KernelMemory { bytes, bytes_per_cpu, possible_cpus })
}

fn interface(link: InterfaceLink, ours: u32, tag: &str) -> InterfaceStatus {
    InterfaceStatus {
        name: link.interface,
        mode: link.mode.map_or("gone", Attached::name).to_owned(),
        link_id: link.link,
        program_id: link.program,
        program_tag: if link.program == ours { tag.to_owned() } else { String::new() },
        unprotected_ms: 0,
        renamed_from: link.renamed_from,
    }
}

/// Status of a configured interface that is present and not filtered.
pub(super) fn unfiltered(name: &str) -> InterfaceStatus {
    InterfaceStatus {
        name: name.to_owned(),
        mode: UNFILTERED.to_owned(),
        link_id: 0,
        program_id: 0,
        program_tag: String::new(),
        unprotected_ms: 0,
        renamed_from: None,
    }
}

fn databases(live: &Live, digests: &mut CommonDigests) -> Vec<DatabaseStatus> {
    let open = live.open_endpoints();
    let mut databases: Vec<DatabaseStatus> = digests
        .of(live)
        .map(|(slot, database, digest)| DatabaseStatus {
            database_id: database.id.to_string(),
            name: database.name.clone(),
            state: DatabaseState::Applied,
            revision: database.stamp.as_ref().map(|stamp| stamp.revision),
            generation: database.stamp.as_ref().map(|stamp| stamp.generation),
            applied_at: database.stamp.as_ref().and_then(|stamp| to_the_second(stamp.applied_at)),
            digest: hex::encode(digest),
            endpoints: open.of(slot).iter().map(|one| one.destination.to_string()).collect(),
            prefixes: database.sources.len(),
            ..DatabaseStatus::default()
        })
        .collect();
    databases.sort_by(|a, b| a.database_id.cmp(&b.database_id));
    databases
}

/// Truncates to the kernel's precision: a publisher and a later reader report the same time.
fn to_the_second(at: Timestamp) -> Option<Timestamp> {
    Timestamp::from_second(at.as_second()).ok()
}

fn counter(kernel: &Kernel, reason: Reason) -> Result<ReasonCounter> {
    let tally = kernel.reason(reason)?;
    Ok(ReasonCounter {
        reason: reason.name().to_owned(),
        verdict: if reason.passes() { "pass" } else { "drop" }.to_owned(),
        packets: tally.packets,
        bytes: tally.bytes,
    })
}
