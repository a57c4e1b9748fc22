//! Facts and services of the host: clock, limits, memory, service manager.

pub mod clock;
pub mod limits;
pub mod memory;
#[cfg(feature = "program")]
mod notify;

#[cfg(feature = "program")]
pub use self::notify::Notifier;
