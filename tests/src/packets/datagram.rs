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
        match &self.network {
            Network::V4(header) => {
                let (kind, content) = self.joined(&header.extensions);
                header.frame(kind, &content)
            }
            Network::V6(header) => {
                let (kind, content) = self.joined(&header.extensions);
                header.frame(kind, &content)
            }
        }
    }

    /// Builds the packet as fragments, in order, split at `cuts`: byte offsets into the fragmentable part, ascending,
    /// multiples of 8.
    pub fn fragments(&self, cuts: &[usize]) -> Vec<Vec<u8>> {
        match &self.network {
            Network::V4(header) => {
                let (kind, content) = self.joined(&header.extensions);
                split(&content, cuts, |offset, more, bytes| {
                    header.clone().fragment(offset, more).frame(kind, bytes)
                })
            }
            Network::V6(header) => {
                let (every, inner) = header.extensions.split_at(header.unfragmentable);
                let (kind, content) = self.joined(inner);
                split(&content, cuts, |offset, more, bytes| {
                    let fragment = Extension::fragment(offset, more, header.id);
                    let (first, mut headers) = join(&[every, &[fragment]].concat(), kind);
                    headers.extend(bytes);
                    header.frame(first, &headers)
                })
            }
        }
    }

    /// Returns the fragments of [`Datagram::fragments`] at these indexes, in any order and number.
    pub fn fragments_sent(&self, cuts: &[usize], order: &[usize]) -> Vec<Vec<u8>> {
        let pieces = self.fragments(cuts);
        order.iter().map(|at| pieces[*at].clone()).collect()
    }

    /// Returns the extension headers `chain` and the segment with its checksum, as bytes, and the type that announces
    /// them.
    fn joined(&self, chain: &[Extension]) -> (u8, Vec<u8>) {
        let (kind, mut content) = join(chain, self.segment.protocol);
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
        content.extend(bytes);
        (kind, content)
    }

    fn pseudo_header(&self) -> Vec<u8> {
        let mut pseudo = match &self.network {
            Network::V4(header) => [header.source, header.destination].concat(),
            Network::V6(header) => [header.source, header.destination].concat(),
        };
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

fn split(content: &[u8], cuts: &[usize], piece: impl Fn(usize, bool, &[u8]) -> Vec<u8>) -> Vec<Vec<u8>> {
    let starts = [0].into_iter().chain(cuts.iter().copied());
    let ends = cuts.iter().copied().chain([content.len()]);
    starts.zip(ends).map(|(start, end)| piece(start, end < content.len(), &content[start..end])).collect()
}
