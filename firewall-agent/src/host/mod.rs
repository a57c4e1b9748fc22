//! Facts about the host: its clock, its service manager.

pub mod clock;
mod notify;

pub use self::notify::Notifier;
