pub mod demo;
pub mod lab;
pub mod packets;
