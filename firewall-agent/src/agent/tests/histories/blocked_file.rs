//! Files of blocked ranges: the contents that the control plane means, and their text.

use std::collections::{BTreeMap, BTreeSet};

use fastrand::Rng;
use ipnet::IpNet;
use jiff::Timestamp;

use super::packets::NETS;

const IDS: [&str; 2] = ["bad-a", "bad-b"];
/// Networks of no packet: they make a range long enough for the shrink guard.
const WITHOUT_PACKETS: [&str; 4] = ["100.65.0.0/16", "100.66.0.0/16", "fd00:1::/32", "fd00:2::/32"];
/// Maximum number of networks in one range.
const MAX_NETS: usize = 6;

/// Contents of a valid file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockedFile {
    pub revision: u64,
    pub ranges: BTreeMap<&'static str, BlockedRange>,
    generated_at: Timestamp,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BlockedRange {
    pub nets: BTreeSet<IpNet>,
    pub accept_shrink: bool,
}

impl BlockedFile {
    /// A file with one range of `before` changed: grown, shrunk by a network or by most, emptied, left out or replaced.
    pub fn change(before: Option<&Self>, revision: u64, generated_at: Timestamp, rng: &mut Rng) -> Self {
        let mut ranges = before.map(|before| before.ranges.clone()).unwrap_or_default();
        ranges.values_mut().for_each(|range| range.accept_shrink = false);
        let id = IDS[rng.usize(..IDS.len())];
        if rng.u8(0..8) == 0 {
            ranges.remove(id);
            return Self { revision, ranges, generated_at };
        }
        let range: &mut BlockedRange = ranges.entry(id).or_default();
        match rng.u8(0..8) {
            0..=2 => range.nets.extend((0..rng.usize(1..=2)).map(|_| net(rng))),
            3 => _ = range.nets.pop_first(),
            4 => range.nets.clear(),
            5 => {
                let left = range.nets.pop_last();
                range.nets = left.into_iter().collect();
            }
            _ => range.nets = (0..rng.usize(0..=5)).map(|_| net(rng)).collect(),
        }
        while range.nets.len() > MAX_NETS {
            range.nets.pop_last();
        }
        range.accept_shrink = rng.bool();
        Self { revision, ranges, generated_at }
    }

    pub fn text(&self) -> String {
        let range = |(id, range): (&&str, &BlockedRange)| {
            let nets: Vec<String> = range.nets.iter().map(|net| format!("'{net}'")).collect();
            let accept = if range.accept_shrink { ", accept_shrink: true" } else { "" };
            format!("{{id: {id}, name: {id}, cidrs: [{}]{accept}}}", nets.join(", "))
        };
        let ranges: Vec<String> = self.ranges.iter().map(range).collect();
        format!(
            "schema_version: 1\nrevision: {}\ngenerated_at: {}\nranges: [{}]\n...\n",
            self.revision,
            self.generated_at,
            ranges.join(", ")
        )
    }

    /// Number of prefixes of all ranges.
    pub fn prefixes(&self) -> usize {
        self.ranges.values().map(|range| range.nets.len()).sum()
    }
}

/// Every address is rarely blocked: little would pass.
fn net(rng: &mut Rng) -> IpNet {
    let nets = if rng.bool() { &WITHOUT_PACKETS[..] } else { &NETS[..] };
    let net: IpNet = nets[rng.usize(..nets.len())].parse().unwrap();
    if net.prefix_len() > 0 || rng.u8(0..8) == 0 { net } else { "203.0.113.9/32".parse().unwrap() }
}
