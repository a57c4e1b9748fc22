//! File system access: reading, scanning, watching, replacing, locking, and the last-good store.

pub mod beneath;
pub mod dirs;
#[cfg(feature = "program")]
pub mod event_log;
pub mod file_content;
pub mod file_events;
pub mod file_reader;
pub mod hourly_files;
pub mod lock;
#[cfg(feature = "program")]
pub mod owner;
pub mod read;
pub mod read_cache;
pub mod scan;
pub mod signature_verifier;
pub mod socket;
pub mod status_file;
pub mod store;
pub mod store_writer;
pub mod watch;
