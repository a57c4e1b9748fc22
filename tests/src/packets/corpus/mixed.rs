//! Tricks that combine several layers.

use super::Promise::{MayDrop, MustPass};
use super::gather::Gatherer;
use crate::packets::Ethernet;

const NOP: u8 = 1;

pub(super) fn add(gatherer: &mut Gatherer<'_>) {
    let tagged = |frame: Ethernet| frame.service_vlan(0).vlan(0);
    let deep = |frame: Ethernet| (0..5).fold(frame, |frame, _| frame.vlan(0));
    gatherer.ipv4(MustPass, "tags and 40 bytes of options", |ip| ip.reframed(tagged).options([NOP; 40]));
    gatherer.ipv4_frames(
        MustPass,
        "fragments in tags, with options, backwards",
        |ip| ip.reframed(tagged).options([NOP; 40]),
        |datagram| datagram.fragments_sent(&[8, 16], &[2, 1, 0]),
    );
    gatherer.ipv4_frames(
        MayDrop,
        "fragments in five tags",
        |ip| ip.reframed(deep),
        |datagram| datagram.fragments(&[8]),
    );
    gatherer.ipv4_frames(
        MayDrop,
        "fragments of which only the first is in five tags",
        |ip| ip,
        |datagram| {
            let tag = [0x81, 0, 0, 0].repeat(5);
            let mut frames = datagram.fragments(&[8]);
            frames[0].splice(12..12, tag);
            frames
        },
    );
    gatherer.ipv6(MustPass, "tags and a chain of eight headers", |ip| {
        let ip = ip.reframed(tagged).hop_by_hop(&[]);
        (0..6).fold(ip, |ip, _| ip.destination_options(&[])).fragment(0, false)
    });
    gatherer.ipv6_frames(
        MustPass,
        "fragments in tags, after options, backwards",
        |ip| ip.reframed(tagged).destination_options(&[]).fragmentable().destination_options(&[]),
        |datagram| datagram.fragments_sent(&[32], &[1, 0]),
    );
    gatherer.ipv6(MustPass, "hop-by-hop with payload length 0, in tags, before options", |ip| {
        ip.reframed(tagged).hop_by_hop(&[]).destination_options(&[]).payload_length(0)
    });
    gatherer.ipv6(MayDrop, "nine destination options in five tags", |ip| {
        (0..9).fold(ip.reframed(deep), |ip, _| ip.destination_options(&[]))
    });
}
