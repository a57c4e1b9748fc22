//! What tests, demo and benchmarks share: packets, and throw-away hosts to send them to.

pub mod bench;
pub mod demo;
pub mod lab;
pub mod packets;
