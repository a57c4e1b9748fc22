//! Benchmarks against the agent's target figures, on throw-away hosts; run by `cargo xtask bench`, never by a test.

pub mod propagation;

mod machine;

pub use machine::Machine;
