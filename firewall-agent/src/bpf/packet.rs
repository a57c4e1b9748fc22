//! The packet for a question: the smallest TCP SYN or UDP datagram. Checksums stay zero: the program does not verify
//! them.

use std::net::IpAddr;

use crate::{rules::Protocol, sync::Question};

const ETHERNET_ADDRESSES: [u8; 12] = [0; 12];
/// Any port that a client may use.
const SOURCE_PORT: u16 = 40_000;
const TTL: u8 = 64;

/// The frame, from the Ethernet header on.
pub(super) fn frame(question: &Question) -> Vec<u8> {
    let (protocol, transport) = transport(question);
    let length = u16::try_from(transport.len()).unwrap_or(u16::MAX);
    let mut frame = ETHERNET_ADDRESSES.to_vec();
    match (question.source, question.destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            frame.extend([0x08, 0x00, 0x45, 0]);
            frame.extend((20 + length).to_be_bytes());
            frame.extend([0, 0, 0, 0, TTL, protocol, 0, 0]);
            frame.extend(source.octets());
            frame.extend(destination.octets());
        }
        (source, destination) => {
            frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
            frame.extend(length.to_be_bytes());
            frame.extend([protocol, TTL]);
            for address in [source, destination] {
                match address {
                    IpAddr::V4(address) => frame.extend(address.to_ipv6_mapped().octets()),
                    IpAddr::V6(address) => frame.extend(address.octets()),
                }
            }
        }
    }
    frame.extend(transport);
    frame
}

fn transport(question: &Question) -> (u8, Vec<u8>) {
    let mut header = SOURCE_PORT.to_be_bytes().to_vec();
    header.extend(question.target.port.to_be_bytes());
    match question.target.protocol {
        Protocol::Tcp => {
            // Sequence and acknowledgement numbers, five words of header, SYN, window, checksum, urgent pointer.
            header.extend([0, 0, 0, 0, 0, 0, 0, 0, 0x50, 0x02, 0xff, 0xff, 0, 0, 0, 0]);
            (6, header)
        }
        Protocol::Udp => {
            header.extend([0, 8, 0, 0]);
            (17, header)
        }
    }
}
