//! Facts about the host: its clock, its limits, its service manager.

pub mod clock;
pub mod limits;
#[cfg(feature = "program")]
mod notify;

#[cfg(feature = "program")]
pub use self::notify::Notifier;
