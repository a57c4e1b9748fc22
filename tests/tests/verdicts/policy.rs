//! The rule files and guarded ports of the verdict tests.

use std::ops::RangeInclusive;

/// Rule files and guarded ports that a stand puts in force. Files lack their common head and closing line.
#[derive(Clone, Copy)]
pub struct Policy {
    /// In force first, then replaced by `files`.
    pub before: &'static [&'static str],
    pub files: &'static [&'static str],
    pub guarded: &'static [RangeInclusive<u16>],
}

/// Two databases at one address, a monitored one at another, and nothing closed.
pub const OPEN: Policy = Policy { before: &[], files: &[ORDERS, BILLING, LAB], guarded: &[] };

/// As [`OPEN`], with the tombstones of a removed database: one at the shared address, one at its own.
pub const LEFT_BEHIND: Policy =
    Policy { before: &[LEAVER], files: &[ORDERS, BILLING, LAB, LEAVER_REMOVED], ..OPEN };

/// As [`LEFT_BEHIND`], with guarded ports.
pub const GUARDED: Policy = Policy { guarded: &[5432..=5432, 30_000..=32_767], ..LEFT_BEHIND };

/// A database at its own address, one at every address, and nothing closed.
pub const ANYWHERE: Policy = Policy { before: &[], files: &[ORDERS, ANYWHERE_FILE], guarded: &[] };

const ORDERS: &str = "database_id: orders
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
";

const BILLING: &str = "database_id: billing
endpoints:
  - {address: 192.0.2.10, port: 30093}
  - {address: 192.0.2.10, port: 30093, protocol: udp}
  - {address: '2001:db8:2::10', port: 30093}
  - {address: '2001:db8:2::10', port: 30093, protocol: udp}
rules:
  - {id: shop, type: custom_range, cidr: 198.51.100.0/24}
  - {id: shop6, type: custom_range, cidr: '2001:db8:b::/48'}
  - {id: both, type: custom_range, cidr: 203.0.113.128/25}
  - {id: both6, type: custom_range, cidr: '2001:db8:a:1::/64'}
";

const LAB: &str = "database_id: lab
mode: monitor
endpoints:
  - {address: 192.0.2.20, port: 6432}
  - {address: '2001:db8:2::20', port: 6432}
rules: []
";

const LEAVER: &str = "database_id: leaver
endpoints:
  - {address: 192.0.2.30, port: 7432}
  - {address: 192.0.2.10, port: 7432}
  - {address: 192.0.2.10, port: 7432, protocol: udp}
  - {address: '2001:db8:2::30', port: 7432}
  - {address: '2001:db8:2::10', port: 7432}
  - {address: '2001:db8:2::10', port: 7432, protocol: udp}
rules:
  - {id: all, type: custom_range, cidr: 0.0.0.0/0}
  - {id: all6, type: custom_range, cidr: '::/0'}
";

const LEAVER_REMOVED: &str = "database_id: leaver\nstate: removed\n";

const ANYWHERE_FILE: &str = "database_id: anywhere
endpoints:
  - {port: 6543}
rules:
  - {id: branch, type: custom_range, cidr: 198.18.0.0/15}
  - {id: branch6, type: custom_range, cidr: '2001:db8:c::/48'}
";
