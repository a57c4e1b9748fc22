//! Facts and services of the host: interfaces, drivers, packet rewriting by other rules, listeners, settings, mounts, memory,
//! clock, limits, service manager.

pub mod allocator;
#[cfg(feature = "program")]
pub mod boot;
#[cfg(feature = "program")]
pub mod cgroup;
pub mod clock;
#[cfg(feature = "program")]
pub mod driver;
#[cfg(feature = "program")]
pub mod interface_names;
#[cfg(feature = "program")]
pub mod iptables;
pub mod limits;
#[cfg(feature = "program")]
pub mod listeners;
#[cfg(feature = "program")]
pub(crate) mod mount;
#[cfg(feature = "program")]
pub mod netlink;
#[cfg(feature = "program")]
pub mod nftables;
#[cfg(feature = "program")]
mod notifier;
#[cfg(feature = "program")]
pub(crate) mod retry;
#[cfg(feature = "program")]
pub(crate) mod stacked;
pub mod sysctl;
#[cfg(feature = "program")]
mod xtables;

#[cfg(feature = "program")]
pub use self::notifier::Notifier;
