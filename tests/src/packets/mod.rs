//! Raw Ethernet frames, valid or malformed on purpose.
//!
//! Libraries refuse to build malformed packets; this builder can override every length, type and checksum. Fields that
//! are not overridden are correct: a real stack accepts a frame built without tricks.
//!
//! ```
//! use firewall_tests::packets::frame;
//! let (source, destination) = ("198.51.100.7".parse().unwrap(), "192.0.2.10".parse().unwrap());
//! let syn = frame().vlan(0).ipv4(source, destination).options(&[1, 1, 1, 1]).tcp(40_000, 30_092).build();
//! assert_eq!(syn.len(), 14 + 4 + 24 + 20);
//! ```

mod checksum;
pub mod corpus;
mod datagram;
mod ethernet;
mod extension;
mod ipv4;
mod ipv6;
mod transport;
mod wire;

pub use datagram::Datagram;
pub use ethernet::{Ethernet, Mac, ethertype, frame};
pub use extension::Extension;
pub use ipv4::Ipv4;
pub use ipv6::Ipv6;
pub use transport::{Segment, Tcp, Udp, flag, protocol};
pub use wire::{Wire, link_address};
