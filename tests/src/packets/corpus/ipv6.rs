//! IPv6 tricks: odd but accepted fields, extension headers, long chains, fragments.

use super::Promise::{MayDrop, MustPass};
use super::gather::Gatherer;
use crate::packets::{Datagram, Extension, Ipv6, protocol};

/// Offset of the next-header field of a fragment header that follows the fixed header of an untagged frame.
const NEXT_HEADER_OF_FRAGMENT: usize = 14 + 40;
const SKIPPED_WHEN_UNKNOWN: [u8; 4] = [0x1e, 2, 0, 0];
const ROUTER_ALERT: [u8; 4] = [5, 2, 0, 0];

pub(super) fn add(gatherer: &mut Gatherer<'_>) {
    for limit in [0, 1, 255] {
        gatherer.ipv6(MustPass, &format!("hop limit {limit}"), |ip| ip.hop_limit(limit));
    }
    gatherer.ipv6(MustPass, "every bit of the traffic class", |ip| ip.traffic_class(0xff));
    gatherer.ipv6(MustPass, "every bit of the flow label", |ip| ip.flow_label(0xf_ffff));
    gatherer.ipv6(MustPass, "hop-by-hop", |ip| ip.hop_by_hop(&[]));
    gatherer.ipv6(MustPass, "hop-by-hop with router alert", |ip| ip.hop_by_hop(&ROUTER_ALERT));
    gatherer.ipv6(MustPass, "hop-by-hop with an unknown option", |ip| ip.hop_by_hop(&SKIPPED_WHEN_UNKNOWN));
    gatherer.ipv6(MustPass, "hop-by-hop of 2048 bytes", |ip| ip.hop_by_hop(&long_options()));
    gatherer.ipv6(MustPass, "hop-by-hop with payload length 0", |ip| ip.hop_by_hop(&[]).payload_length(0));
    gatherer.ipv6(MustPass, "hop-by-hop and destination options with payload length 0", |ip| {
        ip.hop_by_hop(&[]).destination_options(&[]).payload_length(0)
    });
    gatherer.ipv6(MustPass, "destination options with an unknown option", |ip| {
        ip.destination_options(&SKIPPED_WHEN_UNKNOWN)
    });
    gatherer
        .ipv6(MustPass, "destination options of 2048 bytes", |ip| ip.destination_options(&long_options()));
    for kind in [0, 253] {
        gatherer.ipv6(MustPass, &format!("routing header of type {kind}, used up"), |ip| ip.routing(kind, 0));
    }
    gatherer.ipv6(MustPass, "atomic fragment", |ip| ip.fragment(0, false));
}

/// A kernel built with Mobile IPv6, as Debian's are, refuses its routing header unless it leads to this host. Linux 7.2
/// refuses longer chains, which 6.18 walks to their end.
pub(super) fn add_disputed(gatherer: &mut Gatherer<'_>) {
    gatherer.ipv6(MustPass, "routing header of type 2, used up", |ip| ip.routing(2, 0));
    for count in [16, 24, 32, 48, 60] {
        gatherer.ipv6(MayDrop, &format!("{count} destination options"), |ip| destination_options(ip, count));
    }
}

pub(super) fn add_chains(gatherer: &mut Gatherer<'_>) {
    for count in 1..=8 {
        gatherer.ipv6(MustPass, &format!("{count} destination options"), |ip| destination_options(ip, count));
    }
    for count in [9, 10, 12] {
        gatherer.ipv6(MayDrop, &format!("{count} destination options"), |ip| destination_options(ip, count));
    }
    gatherer.ipv6(MustPass, "four destination options of 2048 bytes", |ip| {
        (0..4).fold(ip, |ip, _| ip.destination_options(&long_options()))
    });
    gatherer.ipv6(MustPass, "one header of each kind", |ip| {
        ip.hop_by_hop(&[])
            .destination_options(&[])
            .routing(253, 0)
            .fragment(0, false)
            .destination_options(&[])
    });
    gatherer.ipv6(MustPass, "atomic fragment after destination options", |ip| {
        ip.destination_options(&[]).fragment(0, false)
    });
    gatherer.ipv6(MustPass, "atomic fragment before destination options", |ip| {
        ip.fragment(0, false).destination_options(&[])
    });
    gatherer.ipv6(MustPass, "atomic fragment as the eighth header", |ip| {
        destination_options(ip, 7).fragment(0, false)
    });
    gatherer.ipv6(MayDrop, "atomic fragment as the ninth header", |ip| {
        destination_options(ip, 8).fragment(0, false)
    });
    gatherer.ipv6(MustPass, "eight headers of three kinds", |ip| {
        destination_options(ip.hop_by_hop(&[]), 3)
            .routing(253, 0)
            .destination_options(&[])
            .routing(0, 0)
            .fragment(0, false)
    });
    gatherer.ipv6(MayDrop, "hop-by-hop and eight destination options", |ip| {
        destination_options(ip.hop_by_hop(&[]), 8)
    });
}

pub(super) fn add_fragments(gatherer: &mut Gatherer<'_>) {
    for (name, cuts, order) in FRAGMENTS {
        gatherer.ipv6_frames(MustPass, name, |ip| ip, |datagram| datagram.fragments_sent(cuts, order));
    }
    gatherer.ipv6_cut(MustPass, "fragments after destination options", &[24], |ip| {
        ip.destination_options(&[]).fragmentable()
    });
    gatherer.ipv6_cut(MustPass, "fragments after hop-by-hop and routing headers", &[24], |ip| {
        ip.hop_by_hop(&[]).routing(253, 0).fragmentable()
    });
    gatherer.ipv6_cut(MustPass, "fragments of destination options", &[32], |ip| ip.destination_options(&[]));
    gatherer.ipv6_frames(
        MustPass,
        "fragments of destination options, backwards",
        |ip| ip.destination_options(&[]),
        |datagram| datagram.fragments_sent(&[32], &[1, 0]),
    );
    gatherer.ipv6_cut(MustPass, "fragments of a chain of seven destination options", &[80], |ip| {
        destination_options(ip, 7)
    });
    gatherer.ipv6_cut(MayDrop, "fragments of a chain of eight destination options", &[88], |ip| {
        destination_options(ip, 8)
    });
    let later_called = |next: u8| {
        move |datagram: Datagram| {
            let mut frames = datagram.fragments(&[24]);
            frames[1][NEXT_HEADER_OF_FRAGMENT] = next;
            frames
        }
    };
    for (name, next) in
        [("no next header", protocol::NO_NEXT), ("ICMPv6", protocol::ICMPV6), ("ESP", protocol::ESP)]
    {
        let name = format!("later fragment that says {name}");
        gatherer.ipv6_frames(MustPass, &name, |ip| ip, later_called(next));
    }
}

const FRAGMENTS: &[(&str, &[usize], &[usize])] = &[
    ("first fragment of 24 bytes", &[24], &[0, 1]),
    ("first fragment of 24 bytes, sent last", &[24], &[1, 0]),
    ("first fragment of 32 bytes", &[32], &[0, 1]),
    ("three fragments", &[24, 32], &[0, 1, 2]),
    ("three fragments, last first", &[24, 32], &[2, 1, 0]),
    ("three fragments, first in the middle", &[24, 32], &[1, 0, 2]),
    ("first fragment twice", &[24], &[0, 0, 1]),
    ("last fragment twice", &[24], &[1, 1, 0]),
];

fn destination_options(ip: Ipv6, count: usize) -> Ipv6 {
    (0..count).fold(ip, |ip, _| ip.extension(Extension::options(protocol::DESTINATION_OPTIONS, &[])))
}

/// Options that fill a header of 2048 bytes: eight unknown ones that every stack skips, since the kernel counts options
/// and distrusts padding.
fn long_options() -> Vec<u8> {
    let lengths = [255, 255, 255, 255, 255, 255, 255, 245];
    lengths.iter().flat_map(|length| [vec![0x1e, *length], vec![0; usize::from(*length)]].concat()).collect()
}
