//! File system access: reading, scanning, watching, replacing, locking, and the last-good store.

pub mod beneath;
pub mod cgroup;
pub mod dirs;
pub mod file_events;
pub mod iptables;
pub mod listeners;
pub mod lock;
pub mod read;
pub mod reader;
pub mod scan;
pub mod socket;
pub mod status_file;
pub mod store;
pub mod store_writer;
pub mod sysctl;
pub mod verify;
pub mod watch;
