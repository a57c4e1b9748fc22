//! The loaded program under one rule set, and what a packet does to it.

use std::path::Path;

use firewall_agent::bpf::{Answer, Kernel, Probe, Programs};
use firewall_agent::sync::Live;
use firewall_common::{Reason, Tally};
use firewall_tests::lab::Lab;

use crate::kernel::{load, put_in_force};

const BPFFS: &str = "/sys/fs/bpf/firewall-agent";
const XDP_DROP: u32 = 1;
const XDP_PASS: u32 = 2;

/// Two databases at one address, one of them monitored and one at every address, a tombstone, guarded ports.
const FILES: [&str; 3] = [
    "database_id: orders
endpoints:
  - {address: 192.0.2.10, port: 30092}
  - {address: '2001:db8:2::10', port: 30092}
rules:
  - {id: office, type: custom_range, cidr: 203.0.113.0/24}
  - {id: desk, type: custom_range, cidr: 203.0.113.7/32}
  - {id: office6, type: custom_range, cidr: '2001:db8:a::/48'}
  - {id: desk6, type: custom_range, cidr: '2001:db8:a::7/128'}
internal_ranges:
  - {cidr: 10.231.23.0/24}
",
    "database_id: billing
endpoints:
  - {address: 192.0.2.10, port: 30093, protocol: udp}
  - {address: '2001:db8:2::10', port: 30093, protocol: udp}
rules:
  - {id: shop, type: custom_range, cidr: 198.51.100.0/24}
  - {id: shop6, type: custom_range, cidr: '2001:db8:b::/48'}
  - {id: both, type: custom_range, cidr: 203.0.113.128/25}
  - {id: both6, type: custom_range, cidr: '2001:db8:a:1::/64'}
",
    "database_id: lab
mode: monitor
endpoints:
  - {address: 192.0.2.20, port: 6432}
  - {address: '2001:db8:2::20', port: 6432}
rules: []
",
];

const LEAVER: &str = "database_id: leaver
endpoints:
  - {address: 192.0.2.30, port: 7432}
  - {address: '2001:db8:2::30', port: 7432}
rules:
  - {id: all, type: custom_range, cidr: 0.0.0.0/0}
  - {id: all6, type: custom_range, cidr: '::/0'}
";

/// What became of one packet.
#[derive(Debug, PartialEq, Eq)]
pub struct Outcome {
    pub reason: Reason,
    /// The id of the rule whose counter moved; empty for a default line.
    pub line: Option<String>,
}

pub struct Stand {
    kernel: Kernel,
    live: Live,
    firewall: Probe,
    twin: Probe,
    _programs: Programs,
    _lab: Lab,
}

impl Stand {
    pub fn new() -> Self {
        let lab = Lab::new().unwrap();
        let bpffs = Path::new(BPFFS);
        let (programs, _) = load(bpffs);
        put_in_force(bpffs, &[file(1, LEAVER)], &[]);
        let gone = file(2, "database_id: leaver\nstate: removed\n");
        let files: Vec<String> = FILES.iter().map(|text| file(1, text)).chain([gone]).collect();
        let live = put_in_force(bpffs, &files, &[5432..=5432, 30_000..=32_767]);
        Self {
            kernel: Kernel::open(bpffs).unwrap(),
            live,
            firewall: Probe::firewall(bpffs).unwrap(),
            twin: Probe::twin(bpffs).unwrap(),
            _programs: programs,
            _lab: lab,
        }
    }

    /// Runs the program on a frame; panics unless exactly one reason's counter moved, by this packet, and the action
    /// and the twin's answer fit it.
    pub fn judge(&self, frame: &[u8], linear: Option<usize>) -> Outcome {
        let (tallies, hits) = (self.tallies(), self.hits());
        let action = self.firewall.run(frame, linear).unwrap();
        let moved: Vec<(Reason, u64, u64)> = Reason::ALL
            .into_iter()
            .zip(tallies.iter().zip(self.tallies()))
            .filter(|(_, (before, after))| **before != *after)
            .map(|(reason, (before, after))| {
                (reason, after.packets - before.packets, after.bytes - before.bytes)
            })
            .collect();
        let [(reason, packets, bytes)] = moved[..] else { panic!("not one counter moved: {moved:?}") };
        assert_eq!((packets, bytes), (1, frame.len() as u64), "{} counted wrongly", reason.name());
        assert_eq!(action, if reason.passes() { XDP_PASS } else { XDP_DROP }, "action of {}", reason.name());

        let lines: Vec<u32> =
            hits.iter().zip(self.hits()).filter(|(a, b)| **a != *b).map(|(a, _)| a.0).collect();
        assert!(lines.len() <= 1, "more than one line counted: {lines:?}");
        let answer = self.twin.ask(frame, linear).unwrap();
        let expected = Answer { reason, line: lines.first().copied().unwrap_or(0) };
        assert_eq!(answer, expected, "the twin and the program differ");
        Outcome { reason, line: lines.first().map(|slot| self.live.lines[slot].id.clone()) }
    }

    pub fn ask(&self, frame: &[u8]) -> Answer {
        self.twin.ask(frame, None).unwrap()
    }

    pub fn tallies(&self) -> Vec<Tally> {
        Reason::ALL.into_iter().map(|reason| self.kernel.reason(reason).unwrap()).collect()
    }

    fn hits(&self) -> Vec<(u32, u64)> {
        self.live.lines.keys().map(|slot| (*slot, self.kernel.hits(*slot).unwrap().packets)).collect()
    }
}

fn file(revision: u32, text: &str) -> String {
    format!("schema_version: 1\nrevision: {revision}\ngenerated_at: 2026-08-21T15:27:32Z\n{text}...\n")
}
