//! Facts about the host: its clock, its service manager.

pub mod clock;
#[cfg(feature = "program")]
mod notify;

#[cfg(feature = "program")]
pub use self::notify::Notifier;
