//! Benchmarks against the agent's target figures, on throw-away hosts; run by `cargo xtask bench` and
//! `cargo xtask soak`, never by a test.

pub mod propagation;
pub mod soak;

mod machine;
mod output;
mod process;

pub use machine::Machine;
pub use output::{NOISY, say, verdict, write_report};
pub use process::{cpu_time, resident};
