//! The files that the control plane would push, with documentation addresses only.

/// The database of the demo.
pub const DATABASE: &str = "6a316183d0f1f10ecbcca123";
/// Name of the database's rule file.
pub const RULE_FILE: &str = "orders-db.yaml";

/// Allows the office network.
pub const OFFICE: &str = "{id: fr-1, type: custom_range, cidr: 203.0.113.0/24, label: Office network}";
/// Allows the addresses of the applications, from a managed range of the provider.
pub const APPS: &str = "{id: fr-2, type: managed_range, range_id: man-example-egress}";
/// Allows the stranger, until a later step removes the rule.
pub const STRANGER: &str = "{id: fr-3, type: custom_range, cidr: 198.51.100.200/32, label: Consultant}";
/// Two mistakes: an octet beyond 255, and an address without a prefix length.
pub const BROKEN: [&str; 2] = [
    "{id: fr-4, type: custom_range, cidr: 203.0.113.300/24}",
    "{id: fr-5, type: custom_range, cidr: 203.0.113.7}",
];

/// Returns the database's rule file; `generated_at` as in RFC 3339.
pub fn rule_file(revision: u64, generated_at: &str, rules: &[&str]) -> String {
    let rules: String = rules.iter().map(|rule| format!("  - {rule}\n")).collect();
    format!(
        "schema_version: 1\n\
         database_id: {DATABASE}\n\
         name: orders-db\n\
         revision: {revision}\n\
         generated_at: {generated_at}\n\
         endpoints:\n\
         \x20 - {{type: public-rw, address: 192.0.2.10, port: 30092}}\n\
         \x20 - {{type: public-rw, address: '2001:db8:2::10', port: 30092}}\n\
         rules:\n\
         {rules}...\n"
    )
}

pub fn managed_ranges(generated_at: &str) -> String {
    format!(
        "schema_version: 1\n\
         revision: 1\n\
         generated_at: {generated_at}\n\
         ranges:\n\
         \x20 - {{id: man-example-egress, name: Example region, cidrs: [198.51.100.7/32, '2001:db8:4::7/128']}}\n\
         ...\n"
    )
}
