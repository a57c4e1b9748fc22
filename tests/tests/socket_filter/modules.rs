//! Ways that need modules which not every kernel has: `cargo xtask kernels` runs these tests in guests with Debian's.

use std::cell::Cell;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Instant;

use firewall_tests::lab::{Host, TestHost};
use firewall_tests::packets::{Tcp, Wire, flag, frame};

use crate::bypasses::{BYPASS, Bypass, check, plant, served_by_mode};
use crate::scene::{FILTERED, PORT, REFUSED, built, listen, rules};

/// Lengths of headers, in bytes.
const ETHERNET: usize = 14;
const IPV4: usize = 20;

/// An address of the host that no file claims.
const UNCLAIMED: &str = "10.7.7.7";

/// XDP sees packets of ESP, which have no port.
#[test]
#[ignore = "needs xfrm_user and esp4"]
fn ipsec_that_ends_on_the_host() {
    check(&Bypass {
        db: &[
            "modprobe -a xfrm_user esp4",
            "ip xfrm state add src 192.0.2.20 dst 192.0.2.10 proto esp spi 20 mode transport auth hmac(sha1) 0x11 enc \
             cbc(aes) 0x00112233445566778899aabbccddeeff",
            "ip xfrm state add src 192.0.2.66 dst 192.0.2.10 proto esp spi 66 mode transport auth hmac(sha1) 0x11 enc \
             cbc(aes) 0x00112233445566778899aabbccddeeff",
        ],
        outside: &[
            "ip xfrm state add src 192.0.2.20 dst 192.0.2.10 proto esp spi 20 mode transport auth hmac(sha1) 0x11 enc \
             cbc(aes) 0x00112233445566778899aabbccddeeff",
            "ip xfrm state add src 192.0.2.66 dst 192.0.2.10 proto esp spi 66 mode transport auth hmac(sha1) 0x11 enc \
             cbc(aes) 0x00112233445566778899aabbccddeeff",
            "ip xfrm policy add src 192.0.2.20 dst 192.0.2.10 dir out tmpl src 192.0.2.20 dst 192.0.2.10 proto esp mode \
             transport",
            "ip xfrm policy add src 192.0.2.66 dst 192.0.2.10 dir out tmpl src 192.0.2.66 dst 192.0.2.10 proto esp mode \
             transport",
        ],
        to: (FILTERED[0], PORT),
        ..BYPASS
    });
}

/// The route of a label that ends here leads to the loopback interface: the packet arrives again, over `lo`.
#[test]
#[ignore = "needs mpls_router and mpls_iptunnel"]
fn mpls_that_ends_on_the_host() {
    check(&Bypass {
        db: &[
            "modprobe -a mpls_router",
            "ip address add 10.7.7.7/32 dev lo",
            "sysctl -w net.mpls.platform_labels=1000",
            "sysctl -w net.mpls.conf.eth0.input=1",
            "sysctl -w net.ipv4.conf.all.rp_filter=0",
            "sysctl -w net.ipv4.conf.lo.rp_filter=0",
            "ip -f mpls route add 100 dev lo",
        ],
        outside: &[
            "modprobe -a mpls_router mpls_iptunnel",
            "ip route add 10.7.7.7/32 encap mpls 100 via 192.0.2.10 dev eth0",
        ],
        to: (UNCLAIMED, PORT),
        interface: "lo",
        ..BYPASS
    });
}

#[test]
#[ignore = "needs a kernel with lightweight tunnels of segment routing"]
fn segment_routing_that_ends_on_the_host() {
    check(&Bypass {
        db: &[
            "ip address add 10.7.7.7/32 dev lo",
            "sysctl -w net.ipv6.conf.all.seg6_enabled=1",
            "sysctl -w net.ipv6.conf.eth0.seg6_enabled=1",
            "ip -6 route add 2001:db8:99::1/128 encap seg6local action End.DX4 nh4 10.7.7.7 dev eth0",
        ],
        outside: &[
            "ip -6 route add 2001:db8:99::1/128 via 2001:db8:2::10 dev eth0",
            "ip route add 10.7.7.7/32 encap seg6 mode encap segs 2001:db8:99::1 dev eth0",
        ],
        to: (UNCLAIMED, PORT),
        ..BYPASS
    });
}

/// The packets keep the protocol and the ports of the UDP header that was taken off.
#[test]
#[ignore = "needs fou"]
fn foo_over_udp() {
    let host = built(TestHost::builder().rules(rules(1)));
    let bypass = Bypass {
        db: &["modprobe -a fou", "ip fou add port 7777 ipproto 6"],
        to: (FILTERED[0], PORT),
        ..BYPASS
    };
    plant(&host, &bypass);
    let _listener = listen(&host.db, PORT);
    let ports = Cell::new(40_000);
    served_by_mode(&host, &bypass, &|source, to| {
        ports.set(ports.get() + 1);
        is_answered(&host.outside, (source, ports.get()), to)
    });
}

/// Returns whether the listener answers a SYN inside a datagram.
fn is_answered(from: &Host, source: (&str, u16), to: SocketAddr) -> bool {
    let addresses = [source.0, FILTERED[0]].map(|address| address.parse::<Ipv4Addr>().unwrap());
    let syn = frame().ipv4(addresses[0], addresses[1]).carrying(Tcp::syn(source.1, to.port())).build();
    let wire = {
        let _inside = from.enter().unwrap();
        Wire::open("eth0").unwrap()
    };
    from.udp((source.0, 0)).unwrap().send_to(&syn[ETHERNET + IPV4..], (FILTERED[0], 7777)).unwrap();
    let deadline = Instant::now() + REFUSED;
    let ports = [to.port(), source.1].map(u16::to_be_bytes).concat();
    let is_answer = |frame: &[u8]| {
        let segment = frame.get(ETHERNET + IPV4..).unwrap_or_default();
        segment.starts_with(&ports) && segment.get(13) == Some(&(flag::SYN | flag::ACK))
    };
    while let Some(frame) = wire.receive(deadline).unwrap() {
        if is_answer(&frame) {
            return true;
        }
    }
    false
}
