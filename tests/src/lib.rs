//! Code shared by tests, demo and benchmarks: packets, and throw-away hosts to send them to.

pub mod bench;
pub mod demo;
pub mod documents;
pub mod lab;
pub mod packets;
