//! IPv4 tricks: options, odd but accepted fields, fragments.

use super::Promise::MustPass;
use super::gather::Gatherer;
use crate::packets::Datagram;

const NOP: u8 = 1;

pub(super) fn add(gatherer: &mut Gatherer<'_>) {
    for words in 6..=15 {
        gatherer
            .ipv4(MustPass, &format!("header of {words} words"), |ip| ip.options(vec![NOP; 4 * (words - 5)]));
    }
    for (name, options) in OPTIONS {
        gatherer.ipv4(MustPass, name, |ip| ip.options(*options));
    }
    for (name, kind) in [("loose", 131), ("strict", 137)] {
        // The reply retraces the route; its one hop is therefore the source itself.
        let name = format!("{name} source route, used up");
        gatherer.ipv4(MustPass, &name, |ip| {
            let hop = ip.source;
            ip.options([&[NOP, kind, 7, 8], &hop[..]].concat())
        });
    }
    for ttl in [0, 1, 255] {
        gatherer.ipv4(MustPass, &format!("time to live {ttl}"), |ip| ip.ttl(ttl));
    }
    gatherer.ipv4(MustPass, "every bit of the service field", |ip| ip.tos(0xff));
    gatherer.ipv4(MustPass, "congestion experienced", |ip| ip.tos(0x03));
    gatherer.ipv4(MustPass, "reserved flag", |ip| ip.reserved_flag());
    gatherer.ipv4(MustPass, "reserved flag and don't fragment", |ip| ip.reserved_flag().dont_fragment());
    gatherer.ipv4(MustPass, "identification 0, don't fragment", |ip| ip.dont_fragment().id(0));
}

const OPTIONS: &[(&str, &[u8])] = &[
    ("end of list", &[0]),
    ("end of list and garbage", &[0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
    ("record route, one free place", &[7, 7, 4, 0, 0, 0, 0]),
    ("record route, full", &[7, 7, 8, 192, 0, 2, 1]),
    ("record route, nine free places", &{
        let mut option = [0; 39];
        (option[0], option[1], option[2]) = (7, 39, 4);
        option
    }),
    ("timestamps", &[68, 12, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
    ("timestamps with addresses", &[68, 12, 5, 1, 0, 0, 0, 0, 0, 0, 0, 0]),
    ("timestamps, full", &[68, 8, 9, 0, 0, 0, 0, 1]),
    ("router alert", &[148, 4, 0, 0]),
    ("router alert between NOPs", &[NOP, 148, 4, 0, 0, NOP, NOP, NOP]),
    ("security", &[130, 11, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
    ("stream identifier", &[136, 4, 0, 1]),
    ("experimental option", &[158, 4, 0xde, 0xad]),
    ("unknown option of 40 bytes", &{
        let mut option = [0xee; 40];
        (option[0], option[1]) = (0x9d, 40);
        option
    }),
    (
        "options holding the header of another packet",
        &[158, 20, 0x9c, 0x40, 0x00, 0x50, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 0x02, 0xfa, 0xf0, 0, 0],
    ),
];

pub(super) fn add_fragments(gatherer: &mut Gatherer<'_>) {
    for (name, cuts, order) in FRAGMENTS {
        gatherer.ipv4_frames(MustPass, name, |ip| ip, |datagram| datagram.fragments_sent(cuts, order));
    }
    let cut_at_8 = |datagram: Datagram| datagram.fragments(&[8]);
    gatherer.ipv4_frames(MustPass, "fragments with options", |ip| ip.options([NOP; 8]), cut_at_8);
    gatherer.ipv4_frames(
        MustPass,
        "fragments with 40 bytes of options",
        |ip| ip.options([NOP; 40]),
        cut_at_8,
    );
    gatherer.ipv4_frames(MustPass, "fragments with don't fragment", |ip| ip.dont_fragment(), cut_at_8);
    gatherer.ipv4_frames(MustPass, "fragments with the reserved flag", |ip| ip.reserved_flag(), cut_at_8);
    gatherer.ipv4_frames(MustPass, "fragments with time to live 1", |ip| ip.ttl(1), cut_at_8);
    let padded = |datagram: Datagram| {
        let mut frames = datagram.fragments(&[8]);
        frames.iter_mut().for_each(|frame| frame.resize(frame.len().max(60), 0));
        frames
    };
    gatherer.ipv4_frames(MustPass, "fragments padded to 60 bytes", |ip| ip, padded);
}

/// Name, cut offsets, and the order in which the fragments are sent.
type Cutting = (&'static str, &'static [usize], &'static [usize]);

const FRAGMENTS: &[Cutting] = &[
    ("first fragment of 8 bytes", &[8], &[0, 1]),
    ("first fragment of 8 bytes, sent last", &[8], &[1, 0]),
    ("first fragment of 16 bytes", &[16], &[0, 1]),
    ("first fragment of 16 bytes, sent last", &[16], &[1, 0]),
    ("first fragment of 32 bytes", &[32], &[0, 1]),
    ("three fragments", &[8, 24], &[0, 1, 2]),
    ("three fragments, last first", &[8, 24], &[2, 1, 0]),
    ("three fragments, first in the middle", &[8, 24], &[1, 0, 2]),
    ("fragments of 8 bytes each", &[8, 16, 24, 32], &[0, 1, 2, 3, 4]),
    ("fragments of 8 bytes each, backwards", &[8, 16, 24, 32], &[4, 3, 2, 1, 0]),
    ("first fragment twice", &[8], &[0, 0, 1]),
    ("last fragment twice", &[8], &[1, 1, 0]),
];
