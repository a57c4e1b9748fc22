//! A whole IP packet: computes checksums, lengths and fragments.

use super::checksum::internet_checksum;
use super::extension::join;
use super::{Extension, Ipv4, Ipv6, Segment};

#[derive(Clone, Debug)]
pub(super) enum Network {
    V4(Ipv4),
    V6(Ipv6),
}

/// An IP packet, ready to be built as one frame or as several fragments.
#[derive(Clone, Debug)]
pub struct Datagram {
    network: Network,
    segment: Segment,
}

impl Datagram {
    pub(super) fn new(network: Network, segment: Segment) -> Self {
        Self { network, segment }
    }

    /// Builds the packet as one frame.
    pub fn build(&self) -> Vec<u8> {
        let segment = self.sealed_segment();
        match &self.network {
            Network::V4(header) => frame_v4(header, &header.extensions, self.segment.protocol, &segment),
            Network::V6(header) => frame_v6(header, &header.extensions, self.segment.protocol, &segment),
        }
    }

    /// Builds the packet as fragments, in order, split at `cuts`: byte offsets into the fragmentable part, ascending,
    /// multiples of 8.
    pub fn fragments(&self, cuts: &[usize]) -> Vec<Vec<u8>> {
        match &self.network {
            Network::V4(header) => {
                let (kind, content) = self.joined(&header.extensions);
                let piece =
                    |offset, more, bytes: &[u8]| header.clone().fragment(offset, more).frame(kind, bytes);
                split(&content, cuts, piece)
            }
            Network::V6(header) => {
                let (every, inner) = header.extensions.split_at(header.unfragmentable);
                let (kind, content) = self.joined(inner);
                let piece = |offset, more, bytes: &[u8]| {
                    let mut chain = every.to_vec();
                    chain.push(Extension::fragment(offset, more, header.id));
                    frame_v6(header, &chain, kind, bytes)
                };
                split(&content, cuts, piece)
            }
        }
    }

    /// Returns the fragments of [`Datagram::fragments`] at these indexes, in any order and number.
    pub fn fragments_sent(&self, cuts: &[usize], order: &[usize]) -> Vec<Vec<u8>> {
        let pieces = self.fragments(cuts);
        order.iter().map(|at| pieces[*at].clone()).collect()
    }

    /// Returns the extension headers `chain` and the segment, as bytes, and the type that announces them.
    fn joined(&self, chain: &[Extension]) -> (u8, Vec<u8>) {
        let (kind, mut content) = join(chain, self.segment.protocol);
        content.extend(self.sealed_segment());
        (kind, content)
    }

    /// Returns the segment's bytes with its checksum set.
    fn sealed_segment(&self) -> Vec<u8> {
        let mut bytes = self.segment.bytes.clone();
        if let Some(field) = self.segment.checksum {
            let pseudo = if field.pseudo_header { self.pseudo_header() } else { Vec::new() };
            let sum = match internet_checksum(&[&pseudo, &bytes]) {
                // A UDP checksum of zero means "no checksum"; elsewhere 0 and 0xffff are equivalent.
                0 => 0xffff,
                sum => sum,
            };
            bytes[field.at..field.at + 2].copy_from_slice(&sum.to_be_bytes());
        }
        bytes
    }

    fn pseudo_header(&self) -> Vec<u8> {
        let mut pseudo = Vec::with_capacity(40);
        match &self.network {
            Network::V4(header) => {
                pseudo.extend(header.source.octets());
                pseudo.extend(header.destination.octets());
            }
            Network::V6(header) => {
                pseudo.extend(header.source.octets());
                pseudo.extend(header.destination.octets());
            }
        }
        // The pseudo-headers of the two families differ in form, but not in their sum.
        pseudo.extend((self.segment.bytes.len() as u32).to_be_bytes());
        pseudo.extend([0, 0, 0, self.segment.protocol]);
        pseudo
    }
}

impl From<Datagram> for Vec<u8> {
    fn from(datagram: Datagram) -> Self {
        datagram.build()
    }
}

fn frame_v4(header: &Ipv4, chain: &[Extension], last: u8, segment: &[u8]) -> Vec<u8> {
    let (kind, mut content) = join(chain, last);
    content.extend(segment);
    header.frame(kind, &content)
}

fn frame_v6(header: &Ipv6, chain: &[Extension], last: u8, segment: &[u8]) -> Vec<u8> {
    let (kind, mut content) = join(chain, last);
    content.extend(segment);
    header.frame(kind, &content)
}

fn split(content: &[u8], cuts: &[usize], piece: impl Fn(usize, bool, &[u8]) -> Vec<u8>) -> Vec<Vec<u8>> {
    let starts = [0].into_iter().chain(cuts.iter().copied());
    let ends = cuts.iter().copied().chain([content.len()]);
    starts.zip(ends).map(|(start, end)| piece(start, end < content.len(), &content[start..end])).collect()
}
