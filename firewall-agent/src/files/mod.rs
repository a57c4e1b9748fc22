//! The disk: reading, scanning, replacing, locking.

pub mod lock;
pub mod read;
pub mod scan;
pub mod write;
