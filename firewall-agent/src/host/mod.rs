//! Facts about the host: its clock, its service manager.

pub mod clock;
