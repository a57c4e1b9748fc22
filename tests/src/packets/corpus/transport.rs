//! TCP and UDP tricks: flags, options, sizes, odd but accepted fields.

use super::Promise::MustPass;
use super::gather::Gatherer;
use crate::packets::flag::{ACK, CWR, ECE, FIN, PSH, SYN, URG};

/// Payload that fills a packet of 1,500 bytes, and of 9,000, after 40 bytes of IPv6 and 20 of options.
const FULL: usize = 1_500 - 40 - 40;
const JUMBO: usize = 9_000 - 40 - 40;

pub(super) fn add_tcp(gatherer: &mut Gatherer<'_>) {
    for (name, flags) in FLAGS {
        gatherer.tcp(MustPass, name, |tcp| tcp.flags(*flags));
    }
    for (name, options) in OPTIONS {
        gatherer.tcp(MustPass, name, |tcp| tcp.options(*options));
    }
    gatherer.tcp(MustPass, "urgent pointer", |tcp| tcp.flags(SYN | URG).urgent(1));
    gatherer.tcp(MustPass, "urgent pointer without its flag", |tcp| tcp.urgent(0xffff));
    gatherer.tcp(MustPass, "every reserved bit", |tcp| tcp.reserved(0x0f));
    gatherer.tcp(MustPass, "window 0", |tcp| tcp.window(0));
    gatherer.tcp(MustPass, "data in the SYN", |tcp| tcp.payload(b"data"));
    gatherer.tcp(MustPass, "data that fills 1,500 bytes", |tcp| tcp.payload([b'.'; FULL]));
    gatherer.tcp(MustPass, "data that fills 9,000 bytes", |tcp| tcp.payload([b'.'; JUMBO]));
    for port in [0, 53, 5_432] {
        gatherer.tcp(MustPass, &format!("source port {port}"), |tcp| tcp.source_port(port));
    }
}

/// Flag sets that a listening socket answers, those with ACK by a reset.
const FLAGS: &[(&str, u8)] = &[
    ("SYN asking for congestion notification", SYN | ECE | CWR),
    ("SYN with push", SYN | PSH),
    ("SYN with urgent", SYN | URG),
    ("SYN with push, urgent and both congestion bits", SYN | PSH | URG | ECE | CWR),
    ("ACK", ACK),
    ("ACK with push", ACK | PSH),
    ("ACK with urgent", ACK | URG),
    ("ACK with FIN", ACK | FIN),
    ("SYN with ACK", SYN | ACK),
    ("FIN, push, urgent and ACK", FIN | PSH | URG | ACK),
];

const OPTIONS: &[(&str, &[u8])] = &[
    ("no options", &[]),
    ("40 bytes of NOP", &[1; 40]),
    ("40 bytes of end of list", &[0; 40]),
    ("40 bytes of an unknown option", &{
        let mut option = [0; 40];
        (option[0], option[1]) = (253, 40);
        option
    }),
    ("option of length 0", &[2, 0, 0, 0]),
    ("option longer than the header", &[8, 40, 0, 0]),
    ("asking for a fast-open cookie", &[34, 2, 1, 1]),
    ("fast-open cookie never given", &[34, 10, 1, 2, 3, 4, 5, 6, 7, 8, 1, 1]),
];

pub(super) fn add_udp(gatherer: &mut Gatherer<'_>) {
    gatherer.udp4(MustPass, "no checksum", |udp| udp.checksum(0));
    gatherer.udp4(MustPass, "length short of the packet", |udp| udp.length(8 + 4).checksum(0));
    gatherer.udp(MustPass, "four bytes", |udp| udp.resized(4));
    gatherer.udp6(MustPass, "length 0", |udp| udp.length(0));
    for (name, length) in [("data that fills 1,500 bytes", FULL), ("data that fills 9,000 bytes", JUMBO)] {
        gatherer.udp(MustPass, name, |udp| udp.resized(length));
    }
    for port in [0, 53, 5_432] {
        gatherer.udp(MustPass, &format!("source port {port}"), |udp| udp.source_port(port));
    }
}
