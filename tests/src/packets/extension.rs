//! Headers between the IP header and the transport: IPv6 extension headers, and AH in either family.

use super::protocol;

/// One header of a chain. Its first byte, the type of the next header, is filled in when the chain is joined.
#[derive(Clone, Debug)]
pub struct Extension {
    kind: u8,
    bytes: Vec<u8>,
}

impl Extension {
    /// Returns hop-by-hop or destination options, padded to a multiple of 8 bytes.
    pub fn options(kind: u8, options: &[u8]) -> Self {
        let mut bytes = vec![0, 0];
        bytes.extend(options);
        match (8 - bytes.len() % 8) % 8 {
            0 => {}
            1 => bytes.push(0),
            room => {
                bytes.extend([1, room as u8 - 2]);
                bytes.resize(bytes.len() + room - 2, 0);
            }
        }
        bytes[1] = (bytes.len() / 8 - 1) as u8;
        Self { kind, bytes }
    }

    /// Returns a routing header; `body` has a length of 4 plus a multiple of 8.
    pub fn routing(routing_type: u8, segments_left: u8, body: &[u8]) -> Self {
        let mut bytes = vec![0, (body.len() / 8) as u8, routing_type, segments_left];
        bytes.extend(body);
        Self { kind: protocol::ROUTING, bytes }
    }

    /// Returns a fragment header; `offset` is in bytes and a multiple of 8.
    pub fn fragment(offset: usize, more: bool, id: u32) -> Self {
        let mut bytes = vec![0, 0];
        bytes.extend((offset as u16 | u16::from(more)).to_be_bytes());
        bytes.extend(id.to_be_bytes());
        Self { kind: protocol::FRAGMENT, bytes }
    }

    /// Returns an authentication header with an integrity value of `icv` bytes, a multiple of 4.
    pub fn authentication(icv: usize) -> Self {
        let mut bytes = vec![0; 12 + icv];
        bytes[1] = (bytes.len() / 4 - 2) as u8;
        bytes[7] = 1;
        bytes[11] = 1;
        Self { kind: protocol::AUTHENTICATION, bytes }
    }

    /// Overrides the length in the second byte.
    pub fn stating(mut self, length: u8) -> Self {
        self.bytes[1] = length;
        self
    }
}

/// Returns the bytes of `chain` in front of content of type `last`, and the type that announces them.
pub(super) fn join(chain: &[Extension], last: u8) -> (u8, Vec<u8>) {
    let mut bytes = Vec::new();
    for (at, extension) in chain.iter().enumerate() {
        let next = chain.get(at + 1).map_or(last, |after| after.kind);
        let mut own = extension.bytes.clone();
        if let Some(first) = own.first_mut() {
            *first = next;
        }
        bytes.extend(own);
    }
    (chain.first().map_or(last, |first| first.kind), bytes)
}
