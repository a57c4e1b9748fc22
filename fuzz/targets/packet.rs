//! Arbitrary bytes as a frame: parsing yields a shape, and the flow's values occur in the frame.

#![no_main]

use firewall_common::packet::{Flow, PacketBytes, Shape, parse};
use firewall_common::{IPV4, IPV6};
use libfuzzer_sys::fuzz_target;

struct Frame<'a>(&'a [u8]);

impl PacketBytes for Frame<'_> {
    fn frame_len(&self) -> usize {
        self.0.len()
    }

    fn read_fixed<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        self.0.get(offset..)?.first_chunk().copied()
    }

    fn read_at<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        self.read_fixed(offset)
    }

    fn words<const N: usize>(&self, offset: usize) -> Option<[u32; N]> {
        let mut words = [0; N];
        for (at, word) in words.iter_mut().enumerate() {
            *word = u32::from_ne_bytes(self.read_fixed(offset + 4 * at)?);
        }
        Some(words)
    }
}

fuzz_target!(|bytes: &[u8]| {
    let mut flow = Flow::default();
    if parse(&Frame(bytes), &mut flow) == Shape::Port {
        assert!(flow.family == IPV4 || flow.family == IPV6);
        assert!(flow.protocol == 6 || flow.protocol == 17);
        let contains = |wanted: &[u8]| bytes.windows(wanted.len()).any(|part| part == wanted);
        assert!(contains(&flow.port.to_ne_bytes()));
        assert!(contains(&flow.destination[0].to_ne_bytes()) && contains(&flow.source[0].to_ne_bytes()));
    }
});
