//! The disk: reading, scanning, watching, replacing, locking, and the last good files.

pub mod cgroup;
pub mod iptables;
pub mod listeners;
pub mod lock;
pub mod read;
pub mod scan;
pub mod socket;
pub mod store;
pub mod sysctl;
pub mod watch;
pub mod write;
