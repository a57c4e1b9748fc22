//! The loaded program with two databases in force, one of them in monitor mode.

use std::net::Ipv4Addr;

use firewall_agent::sync::CounterId;
use firewall_common::fast_path;
use firewall_tests::lab::RuleFile;

use crate::kernel::LoadedFirewall;

pub const SERVER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 10);
pub const OFFICE: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 7);
pub const ORDERS: u16 = 30_092;
pub const MONITORED: u16 = 30_200;

pub fn in_force() -> LoadedFirewall {
    in_force_with(fast_path::ALL)
}

pub fn in_force_with(accelerations: u32) -> LoadedFirewall {
    let orders = RuleFile::new("orders", 1)
        .endpoint("192.0.2.10:30092")
        .endpoint("[2001:db8:2::10]:30092")
        .allow("203.0.113.0/24");
    let monitored = RuleFile::new("watched", 1).monitor().endpoint("192.0.2.11:30200");
    let mut loaded = LoadedFirewall::new(accelerations);
    loaded.put_in_force(&[orders, monitored], &[5_432..=5_432, 30_000..=32_767]);
    loaded
}

/// Returns the default counter of a database.
pub fn default_counter(loaded: &LoadedFirewall, database: &str) -> CounterId {
    let one = loaded.live.databases.values().find(|one| one.id.as_str() == database);
    one.unwrap().default_counter
}
