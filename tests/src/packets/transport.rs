//! The payload of an IP packet: TCP, UDP, ICMP or any other protocol.

use derive_setters::Setters;

/// Numbers of the protocol and next-header fields.
pub mod protocol {
    pub const HOP_BY_HOP: u8 = 0;
    pub const ICMP: u8 = 1;
    pub const TCP: u8 = 6;
    pub const UDP: u8 = 17;
    pub const ROUTING: u8 = 43;
    pub const FRAGMENT: u8 = 44;
    pub const ESP: u8 = 50;
    pub const AUTHENTICATION: u8 = 51;
    pub const ICMPV6: u8 = 58;
    pub const NO_NEXT: u8 = 59;
    pub const DESTINATION_OPTIONS: u8 = 60;
    pub const SCTP: u8 = 132;
    pub const UDP_LITE: u8 = 136;
}

/// TCP flags.
pub mod flag {
    pub const FIN: u8 = 0x01;
    pub const SYN: u8 = 0x02;
    pub const RST: u8 = 0x04;
    pub const PSH: u8 = 0x08;
    pub const ACK: u8 = 0x10;
    pub const URG: u8 = 0x20;
    pub const ECE: u8 = 0x40;
    pub const CWR: u8 = 0x80;
}

/// The bytes above the IP header, with the parameters of their checksum.
#[derive(Clone, Debug)]
pub struct Segment {
    pub(super) protocol: u8,
    pub(super) bytes: Vec<u8>,
    pub(super) checksum: Option<Checksum>,
}

/// Offset of a checksum, in bytes from the start of the segment, and whether it covers the pseudo-header.
#[derive(Clone, Copy, Debug)]
pub(super) struct Checksum {
    pub at: usize,
    pub pseudo_header: bool,
}

impl Segment {
    /// Returns a segment of any protocol with these bytes unchanged.
    pub fn raw(protocol: u8, bytes: &[u8]) -> Self {
        Self { protocol, bytes: bytes.to_vec(), checksum: None }
    }

    /// Returns an ICMP (`protocol::ICMP`) or ICMPv6 message; `body` follows the checksum.
    pub fn icmp(protocol: u8, message: u8, code: u8, body: &[u8]) -> Self {
        let mut bytes = vec![message, code, 0, 0];
        bytes.extend(body);
        let pseudo_header = protocol == protocol::ICMPV6;
        Self { protocol, bytes, checksum: Some(Checksum { at: 2, pseudo_header }) }
    }
}

/// A TCP segment, by default a SYN without options.
#[derive(Clone, Debug, Default, Setters)]
#[setters(strip_option)]
pub struct Tcp {
    source_port: u16,
    destination_port: u16,
    sequence: u32,
    acknowledgement: u32,
    /// The header length, in words of 4 bytes, 0 to 15; the right one unless set.
    data_offset: Option<u8>,
    /// The four reserved bits after the header length.
    reserved: u8,
    flags: u8,
    window: u16,
    /// The checksum; the right one unless set.
    checksum: Option<u16>,
    urgent: u16,
    /// The TCP options, padded with end-of-list bytes to a multiple of 4.
    #[setters(into)]
    options: Vec<u8>,
    #[setters(into)]
    payload: Vec<u8>,
}

impl Tcp {
    pub fn syn(source_port: u16, destination_port: u16) -> Self {
        let ports = Self { source_port, destination_port, ..Self::default() };
        ports.sequence(1).flags(flag::SYN).window(64_240)
    }
}

impl From<Tcp> for Segment {
    fn from(tcp: Tcp) -> Self {
        let length = 20 + tcp.options.len().next_multiple_of(4);
        let words = tcp.data_offset.unwrap_or((length / 4) as u8);
        let mut bytes = [tcp.source_port, tcp.destination_port].map(u16::to_be_bytes).concat();
        bytes.extend([tcp.sequence, tcp.acknowledgement].map(u32::to_be_bytes).concat());
        bytes.extend([words << 4 | tcp.reserved & 0x0f, tcp.flags]);
        bytes.extend([tcp.window, tcp.checksum.unwrap_or(0), tcp.urgent].map(u16::to_be_bytes).concat());
        bytes.extend(tcp.options);
        bytes.resize(length, 0);
        bytes.extend(tcp.payload);
        let computed = Checksum { at: 16, pseudo_header: true };
        Self { protocol: protocol::TCP, bytes, checksum: tcp.checksum.is_none().then_some(computed) }
    }
}

/// A UDP datagram.
#[derive(Clone, Debug, Default, Setters)]
#[setters(strip_option)]
pub struct Udp {
    source_port: u16,
    destination_port: u16,
    /// The length field, in bytes; the right one unless set.
    length: Option<u16>,
    /// The checksum; the right one unless set, and 0 for "no checksum".
    checksum: Option<u16>,
    #[setters(into)]
    payload: Vec<u8>,
}

impl Udp {
    pub fn new(source_port: u16, destination_port: u16) -> Self {
        Self { source_port, destination_port, ..Self::default() }
    }

    /// Truncates the payload to this length in bytes, or pads it.
    pub fn resized(mut self, length: usize) -> Self {
        self.payload.resize(length, b'.');
        self
    }
}

impl From<Udp> for Segment {
    fn from(udp: Udp) -> Self {
        let length = udp.length.unwrap_or(8 + udp.payload.len() as u16);
        let fields = [udp.source_port, udp.destination_port, length, udp.checksum.unwrap_or(0)];
        let mut bytes = fields.map(u16::to_be_bytes).concat();
        bytes.extend(udp.payload);
        let computed = Checksum { at: 6, pseudo_header: true };
        Self { protocol: protocol::UDP, bytes, checksum: udp.checksum.is_none().then_some(computed) }
    }
}
