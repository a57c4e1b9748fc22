//! The files that the control plane would push, with documentation addresses only.

use crate::lab::{RangesFile, RuleFile};

/// The database of the demo.
pub const DATABASE: &str = "6a316183d0f1f10ecbcca123";
/// Name of the database's rule file.
pub const RULE_FILE: &str = "orders-db.yaml";

/// Allows the office network.
pub const OFFICE: &str = "id: fr-1, type: custom_range, cidr: 203.0.113.0/24, label: Office network";
/// Allows the addresses of the applications, from a managed range of the provider.
pub const APPS: &str = "id: fr-2, type: managed_range, range_id: man-example-egress";
/// Allows the stranger, until a later step removes the rule.
pub const STRANGER: &str = "id: fr-3, type: custom_range, cidr: 198.51.100.200/32, label: Consultant";
/// Two mistakes: an octet beyond 255, and an address without a prefix length.
pub const BROKEN: [&str; 2] = [
    "id: fr-4, type: custom_range, cidr: 203.0.113.300/24",
    "id: fr-5, type: custom_range, cidr: 203.0.113.7",
];

/// Returns the database's rule file; `generated_at` as in RFC 3339.
pub fn rule_file(revision: u64, generated_at: &str, rules: &[&str]) -> RuleFile {
    RuleFile::new(DATABASE, revision)
        .generated_at(generated_at)
        .field("name: orders-db")
        .endpoint_with("192.0.2.10:30092", ", type: public-rw")
        .endpoint_with("[2001:db8:2::10]:30092", ", type: public-rw")
        .rules(rules)
}

pub fn managed_ranges(generated_at: &str) -> RangesFile {
    RangesFile::new(1)
        .generated_at(generated_at)
        .range("man-example-egress", &["198.51.100.7/32", "2001:db8:4::7/128"])
}
