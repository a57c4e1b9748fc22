//! Evidence that a packet arrived: the answer of the destination socket.

use firewall_tests::packets::{ethertype, flag, protocol};

const ETHERNET: usize = 14;
const IPV6: usize = 40;

/// Returns the tag of the segment that `frame` answers: a listening socket acknowledges a SYN, and answers any other
/// segment with ACK by a reset with that number.
pub fn answered_tag(frame: &[u8]) -> Option<u32> {
    let tcp = tcp_of(frame)?;
    let (sequence, acknowledgement) = (word(tcp, 4)?, word(tcp, 8)?);
    let flags = *tcp.get(13)?;
    if flags & flag::RST != 0 {
        Some(sequence)
    } else if flags & (flag::SYN | flag::ACK) == flag::SYN | flag::ACK {
        Some(acknowledgement.wrapping_sub(1))
    } else {
        None
    }
}

/// Returns the tag of a datagram with this payload.
pub fn datagram_tag(payload: &[u8]) -> Option<u32> {
    word(payload, 0)
}

fn tcp_of(frame: &[u8]) -> Option<&[u8]> {
    let packet = frame.get(ETHERNET..)?;
    match u16::from_be_bytes(frame[12..14].try_into().ok()?) {
        ethertype::IPV4 if *packet.get(9)? == protocol::TCP => {
            packet.get(usize::from(packet[0] & 0x0f) * 4..)
        }
        ethertype::IPV6 if *packet.get(6)? == protocol::TCP => packet.get(IPV6..),
        _ => None,
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}
