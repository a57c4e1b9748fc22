//! The loaded program with two databases in force, one of them in monitor mode.

use std::net::Ipv4Addr;
use std::path::Path;

use firewall_agent::bpf::{Denied, DeniedTotals, Kernel, Probe, Programs};
use firewall_agent::sync::Live;
use firewall_common::stages;
use firewall_tests::lab::Lab;

use crate::kernel::{load, put_in_force};

pub const BPFFS: &str = "/sys/fs/bpf/firewall-agent";
pub const SERVER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 10);
pub const OFFICE: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 7);
pub const ORDERS: u16 = 30_092;
pub const WATCHED: u16 = 30_200;

const FILES: [&str; 2] = [
    "database_id: orders
endpoints: [{address: 192.0.2.10, port: 30092}, {address: '2001:db8:2::10', port: 30092}]
rules: [{id: fr-1, type: custom_range, cidr: 203.0.113.0/24}]
",
    "database_id: watched
mode: monitor
endpoints: [{address: 192.0.2.11, port: 30200}]
rules: []
",
];

pub struct Stand {
    pub kernel: Kernel,
    pub live: Live,
    pub firewall: Probe,
    pub probe: Probe,
    _programs: Programs,
    _lab: Lab,
}

impl Stand {
    pub fn new() -> Self {
        Self::with(stages::ALL)
    }

    pub fn with(stages: u32) -> Self {
        let lab = Lab::new().unwrap();
        let bpffs = Path::new(BPFFS);
        let (programs, _) = load(bpffs, stages);
        let head = "schema_version: 1\nrevision: 1\ngenerated_at: 2026-08-21T15:27:32Z\n";
        let files = FILES.map(|text| format!("{head}{text}...\n"));
        let live = put_in_force(bpffs, &files, &[5_432..=5_432, 30_000..=32_767]);
        Self {
            kernel: Kernel::open(bpffs).unwrap(),
            live,
            firewall: Probe::firewall(bpffs).unwrap(),
            probe: Probe::pinned(bpffs).unwrap(),
            _programs: programs,
            _lab: lab,
        }
    }

    pub fn denied(&self) -> Vec<Denied> {
        self.kernel.denied().unwrap()
    }

    pub fn totals(&self) -> DeniedTotals {
        self.kernel.denied_totals().unwrap()
    }

    /// Returns the default counter of a database.
    pub fn line(&self, database: &str) -> u32 {
        let one = self.live.databases.values().find(|one| one.id.as_str() == database);
        one.unwrap().default_counter
    }
}
