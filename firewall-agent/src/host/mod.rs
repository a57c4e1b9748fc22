//! Facts and services of the host: clock, limits, memory, interfaces, listeners, mounts, packet rewriting by other
//! rules, service manager.

pub mod cgroup;
pub mod clock;
pub mod iptables;
pub mod limits;
pub mod listeners;
pub mod memory;
#[cfg(feature = "program")]
pub(crate) mod mount;
#[cfg(feature = "program")]
pub mod netlink;
#[cfg(feature = "program")]
pub mod nftables;
#[cfg(feature = "program")]
mod notify;
#[cfg(feature = "program")]
pub(crate) mod retry;
pub mod sysctl;

#[cfg(feature = "program")]
pub use self::notify::Notifier;
