//! The payload of an IP packet: TCP, UDP, ICMP or any other protocol.

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
#[derive(Clone, Debug)]
pub struct Tcp {
    ports: (u16, u16),
    sequence: u32,
    acknowledgement: u32,
    data_offset: Option<u8>,
    reserved: u8,
    flags: u8,
    window: u16,
    checksum: Option<u16>,
    urgent: u16,
    options: Vec<u8>,
    payload: Vec<u8>,
}

impl Tcp {
    pub fn syn(source: u16, destination: u16) -> Self {
        Self {
            ports: (source, destination),
            sequence: 1,
            acknowledgement: 0,
            data_offset: None,
            reserved: 0,
            flags: flag::SYN,
            window: 64_240,
            checksum: None,
            urgent: 0,
            options: Vec::new(),
            payload: Vec::new(),
        }
    }

    pub fn sequence(mut self, sequence: u32) -> Self {
        self.sequence = sequence;
        self
    }

    pub fn acknowledgement(mut self, acknowledgement: u32) -> Self {
        self.acknowledgement = acknowledgement;
        self
    }

    /// Overrides the header length, in words of 4 bytes, 0 to 15.
    pub fn data_offset(mut self, words: u8) -> Self {
        self.data_offset = Some(words);
        self
    }

    /// Sets the four reserved bits after the header length.
    pub fn reserved(mut self, bits: u8) -> Self {
        self.reserved = bits;
        self
    }

    pub fn flags(mut self, flags: u8) -> Self {
        self.flags = flags;
        self
    }

    pub fn window(mut self, window: u16) -> Self {
        self.window = window;
        self
    }

    /// Overrides the checksum.
    pub fn checksum(mut self, checksum: u16) -> Self {
        self.checksum = Some(checksum);
        self
    }

    pub fn urgent(mut self, pointer: u16) -> Self {
        self.urgent = pointer;
        self
    }

    /// Sets the TCP options, padded with end-of-list bytes to a multiple of 4.
    pub fn options(mut self, options: &[u8]) -> Self {
        self.options = options.to_vec();
        self.options.resize(options.len().next_multiple_of(4), 0);
        self
    }

    pub fn payload(mut self, payload: &[u8]) -> Self {
        self.payload = payload.to_vec();
        self
    }
}

impl From<Tcp> for Segment {
    fn from(tcp: Tcp) -> Self {
        let words = tcp.data_offset.unwrap_or(5 + (tcp.options.len() / 4) as u8);
        let mut bytes = Vec::with_capacity(20 + tcp.options.len() + tcp.payload.len());
        bytes.extend(tcp.ports.0.to_be_bytes());
        bytes.extend(tcp.ports.1.to_be_bytes());
        bytes.extend(tcp.sequence.to_be_bytes());
        bytes.extend(tcp.acknowledgement.to_be_bytes());
        bytes.extend([words << 4 | tcp.reserved & 0x0f, tcp.flags]);
        bytes.extend(tcp.window.to_be_bytes());
        bytes.extend(tcp.checksum.unwrap_or(0).to_be_bytes());
        bytes.extend(tcp.urgent.to_be_bytes());
        bytes.extend(tcp.options);
        bytes.extend(tcp.payload);
        let computed = Checksum { at: 16, pseudo_header: true };
        Self { protocol: protocol::TCP, bytes, checksum: tcp.checksum.is_none().then_some(computed) }
    }
}

/// A UDP datagram.
#[derive(Clone, Debug)]
pub struct Udp {
    ports: (u16, u16),
    length: Option<u16>,
    checksum: Option<u16>,
    payload: Vec<u8>,
}

impl Udp {
    pub fn new(source: u16, destination: u16) -> Self {
        Self { ports: (source, destination), length: None, checksum: None, payload: Vec::new() }
    }

    /// Overrides the length field, in bytes.
    pub fn length(mut self, length: u16) -> Self {
        self.length = Some(length);
        self
    }

    /// Overrides the checksum; 0 means "no checksum".
    pub fn checksum(mut self, checksum: u16) -> Self {
        self.checksum = Some(checksum);
        self
    }

    pub fn payload(mut self, payload: &[u8]) -> Self {
        self.payload = payload.to_vec();
        self
    }
}

impl From<Udp> for Segment {
    fn from(udp: Udp) -> Self {
        let length = udp.length.unwrap_or(8 + udp.payload.len() as u16);
        let mut bytes = Vec::with_capacity(8 + udp.payload.len());
        bytes.extend(udp.ports.0.to_be_bytes());
        bytes.extend(udp.ports.1.to_be_bytes());
        bytes.extend(length.to_be_bytes());
        bytes.extend(udp.checksum.unwrap_or(0).to_be_bytes());
        bytes.extend(udp.payload);
        let computed = Checksum { at: 6, pseudo_header: true };
        Self { protocol: protocol::UDP, bytes, checksum: udp.checksum.is_none().then_some(computed) }
    }
}
