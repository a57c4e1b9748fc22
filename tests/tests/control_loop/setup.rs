//! The host and the rule files of these tests. They need no packets: they query the kernel.

use firewall_tests::lab::{Builder, RuleFile, TestHost};

pub const PORT: u16 = 30_092;

/// Returns a host whose rescan interval is so long that only file events bring a change in time, and whose propagation
/// window soon ends.
pub fn builder() -> Builder<'static> {
    TestHost::builder().unlinked().config("rescan_interval: 1h\npropagation_window: 2s\n")
}

/// Returns a rule file with one TCP endpoint at `address` and these rules.
pub fn file(database: &str, revision: u64, address: &str, rules: &[&str]) -> RuleFile {
    RuleFile::new(database, revision).endpoint(&format!("{address}:{PORT}")).rules(rules)
}

pub fn removed(database: &str, revision: u64) -> RuleFile {
    RuleFile::new(database, revision).removed()
}

pub const OFFICE: &str = "id: fr-1, type: custom_range, cidr: 203.0.113.0/24";
pub const SHOP: &str = "id: fr-2, type: custom_range, cidr: 198.51.100.0/24";
pub const EGRESS: &str = "id: fr-3, type: managed_range, range_id: man-egress";
pub const IN_OFFICE: &str = "203.0.113.9";
pub const IN_SHOP: &str = "198.51.100.9";
