//! Databases that were added and removed.

use std::ops::Range;

use anyhow::Result;
use firewall_tests::lab::{RuleFile, database_of, eventually};

use super::bench_host::{BenchHost, PATIENCE};
use firewall_tests::bench::say;

pub const REMOVED: u32 = 20_000;
/// Number of those with a destination at an unguarded port.
pub const TOMBSTONES: u32 = 10_000;
/// Databases per batch.
const AT_ONCE: u32 = 200;
const UNGUARDED: u16 = 6432;
const GUARDED: u16 = 5432;

/// Pushes each database, then `state: removed`, and deletes its file.
pub fn live_through(host: &mut BenchHost) -> Result<()> {
    for first in (0..REMOVED).step_by(AT_ONCE as usize) {
        let batch = first..(first + AT_ONCE).min(REMOVED);
        for number in batch.clone() {
            host.home.push(&claim(number))?;
        }
        eventually(PATIENCE, "databases have come", || count(host, &batch, AT_ONCE as usize))?;
        for number in batch.clone() {
            host.home.push(&removal(number))?;
        }
        eventually(PATIENCE, "databases have left", || count(host, &batch, 0))?;
        for number in batch.clone() {
            host.home.remove_rules(&name(number))?;
        }
        if batch.end.is_multiple_of(2_000) {
            say(&format!("{} databases came and went", batch.end));
        }
    }
    Ok(())
}

fn count(host: &BenchHost, batch: &Range<u32>, expected: usize) -> Option<()> {
    let status = host.home.status().ok()?;
    let in_force =
        batch.clone().filter(|number| !database_of(&status, &id(*number))["revision"].is_null()).count();
    (in_force == expected).then_some(())
}

fn id(number: u32) -> String {
    format!("gone-{number}")
}

fn name(number: u32) -> String {
    format!("{}.yaml", id(number))
}

fn claim(number: u32) -> RuleFile {
    let [_, high, middle, low] = number.to_be_bytes();
    let port = if number < TOMBSTONES { UNGUARDED } else { GUARDED };
    RuleFile::new(&id(number), 1)
        .endpoint(&format!("10.{high}.{middle}.{low}:{port}"))
        .allow("203.0.113.0/24")
}

fn removal(number: u32) -> RuleFile {
    RuleFile::new(&id(number), 2).removed()
}
