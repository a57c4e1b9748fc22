//! Ways to a guarded port that no XDP program sees: planted, and closed by the socket filter.

use std::net::{SocketAddr, TcpListener};

use firewall_tests::lab::{Host, TestHost};
use socket2::{Domain, Socket, Type};

use crate::scene::{
    DATABASE, FILTERED, FRIENDS, LINK, MODES, OPEN, PORT, SIDE, STRANGERS, arrives_from, built, connect_from,
    destination, is_served, listen, receive, refused, restart, rules,
};

/// One bypass, and a client's two addresses on it.
pub struct Bypass {
    /// Command lines on the database host, and on the outside host.
    pub db: &'static [&'static str],
    pub outside: &'static [&'static str],
    pub friend: &'static str,
    pub stranger: &'static str,
    pub to: (&'static str, u16),
    /// Interface of the packets at the socket.
    pub interface: &'static str,
    pub xdp_mode: &'static str,
}

/// Over the filtered interface, to a port that nothing protects.
pub const BYPASS: Bypass = Bypass {
    db: &[],
    outside: &[],
    friend: "192.0.2.20",
    stranger: "192.0.2.66",
    to: (FILTERED[0], OPEN),
    interface: "eth0",
    xdp_mode: "native",
};

/// Each bypass must let the stranger in without the filter: the control.
pub fn check(bypass: &Bypass) {
    let host = built(TestHost::builder().xdp_mode(bypass.xdp_mode).rules(rules(1)));
    plant(&host, bypass);
    let listener = listen(&host.db, PORT);
    served_by_mode(&host, bypass, &|source, to| is_served(&listener, &host.outside, source, to));
}

pub fn plant(host: &TestHost, bypass: &Bypass) {
    let run = |on: &Host, lines: &[&str]| lines.iter().for_each(|line| _ = on.run(line).unwrap());
    run(&host.db, bypass.db);
    run(&host.outside, bypass.outside);
}

/// The friend must be served in every mode, the stranger but for `enforce`, and counted but for `off`.
pub fn served_by_mode(host: &TestHost, bypass: &Bypass, is_served: &dyn Fn(&str, SocketAddr) -> bool) {
    let to = destination(bypass.to.0, bypass.to.1);
    for mode in MODES {
        restart(host, mode, &[]);
        host.until_applied(DATABASE, 1);
        // An address of a new link is not always usable at once.
        host.eventually("the friend is served", || is_served(bypass.friend, to));
        let before = refused(host, bypass.interface);
        let stranger = is_served(bypass.stranger, to);
        let counters = &host.status()["socket_counters"];
        assert_eq!(stranger, mode != "enforce", "{mode}: {counters:#}\n{}", host.log());
        let counted = refused(host, bypass.interface) > before;
        assert_eq!(counted, mode != "off", "{mode}: {counters:#}");
        assert!(is_served(bypass.friend, to), "{mode}: {counters:#}");
    }
}

#[test]
fn interface_that_is_not_filtered() {
    let [v4, v6] = [0, 1].map(|family| Bypass {
        friend: FRIENDS[family],
        stranger: STRANGERS[family],
        to: (SIDE[family], PORT),
        interface: LINK,
        ..BYPASS
    });
    check(&v4);
    check(&v6);
}

#[test]
fn tunnel_that_ends_on_the_host() {
    check(&Bypass {
        db: &[
            "ip link add vx0 type vxlan id 7 dstport 4789 local 192.0.2.10 remote 192.0.2.20",
            "ip link set vx0 up",
            "ip address add 10.9.0.10/24 dev vx0",
        ],
        outside: &[
            "ip link add vx0 type vxlan id 7 dstport 4789 local 192.0.2.20 remote 192.0.2.10",
            "ip link set vx0 up",
            "ip address add 10.9.0.20/24 dev vx0",
            "ip address add 10.9.0.66/24 dev vx0",
        ],
        friend: "10.9.0.20",
        stranger: "10.9.0.66",
        to: ("10.9.0.10", PORT),
        interface: "vx0",
        ..BYPASS
    });
}

#[test]
fn translation_to_the_endpoint() {
    check(&Bypass {
        db: &[
            "nft add table ip planted",
            "nft add chain ip planted pre { type nat hook prerouting priority -100 ; }",
            "nft add rule ip planted pre tcp dport 8432 redirect to :5432",
        ],
        ..BYPASS
    });
}

#[test]
fn translation_to_an_address_that_no_file_claims() {
    check(&Bypass {
        db: &[
            "ip address add 10.7.7.7/32 dev lo",
            "nft add table ip planted",
            "nft add chain ip planted pre { type nat hook prerouting priority -100 ; }",
            "nft add rule ip planted pre tcp dport 8432 dnat to 10.7.7.7:5432",
        ],
        ..BYPASS
    });
}

#[test]
fn translation_of_the_other_family() {
    check(&Bypass {
        db: &[
            "nft add table ip6 planted",
            "nft add chain ip6 planted pre { type nat hook prerouting priority -100 ; }",
            "nft add rule ip6 planted pre tcp dport 8432 redirect to :5432",
        ],
        friend: "2001:db8:2::20",
        stranger: "2001:db8:2::66",
        to: (FILTERED[1], OPEN),
        ..BYPASS
    });
}

#[test]
fn stateless_rewriting_of_the_port() {
    check(&Bypass {
        db: &[
            "nft add table ip planted",
            "nft add chain ip planted in { type filter hook prerouting priority -300 ; }",
            "nft add rule ip planted in tcp dport 8432 tcp dport set 5432",
            "nft add chain ip planted out { type filter hook postrouting priority 300 ; }",
            "nft add rule ip planted out tcp sport 5432 tcp sport set 8432",
        ],
        ..BYPASS
    });
}

/// Addresses that only a route makes local.
#[test]
fn route_of_the_type_local() {
    check(&Bypass {
        db: &["ip route add local 203.0.113.0/24 dev lo"],
        outside: &["ip route add 203.0.113.0/24 via 198.51.100.10"],
        friend: FRIENDS[0],
        stranger: STRANGERS[0],
        to: ("203.0.113.7", PORT),
        interface: LINK,
        ..BYPASS
    });
}

/// In generic mode a packet that another interface redirected passes the program.
#[test]
fn redirection_to_an_interface_in_generic_mode() {
    check(&Bypass {
        db: &[
            "tc qdisc add dev side0 clsact",
            "tc filter add dev side0 ingress protocol ip u32 match ip dport 5432 0xffff action mirred ingress redirect dev eth0",
        ],
        friend: FRIENDS[0],
        stranger: STRANGERS[0],
        to: (SIDE[0], PORT),
        xdp_mode: "generic",
        ..BYPASS
    });
}

/// Packets of the outside that arrive over `lo` are not the host's own.
const TO_LOOPBACK: Bypass = Bypass {
    db: &[
        "tc qdisc add dev side0 clsact",
        "tc filter add dev side0 ingress protocol ip u32 match ip dport 5432 0xffff action mirred ingress redirect dev lo",
        "sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.lo.rp_filter=0",
    ],
    friend: FRIENDS[0],
    stranger: STRANGERS[0],
    to: (SIDE[0], PORT),
    interface: "lo",
    ..BYPASS
};

#[test]
fn redirection_to_the_loopback_interface() {
    check(&TO_LOOPBACK);
}

/// The sender chooses a port at which the host has sockets for every address: those sent nothing.
#[test]
fn redirection_to_the_loopback_interface_from_a_port_of_the_host() {
    let host = built(TestHost::builder().rules(rules(1)));
    plant(&host, &TO_LOOPBACK);
    let (listener, socket) = (listen(&host.db, PORT), receive(&host.db, PORT));
    let to = destination(SIDE[0], PORT);
    for mode in MODES {
        restart(&host, mode, &[]);
        host.until_applied(DATABASE, 1);
        for (source, is_served) in [(FRIENDS[0], true), (STRANGERS[0], mode != "enforce")] {
            while listener.accept().is_ok() {}
            let connected = connect_from(&host.outside, destination(source, PORT), to).is_some();
            let arrived = arrives_from(&socket, &host.outside, (source, PORT), to);
            assert_eq!((connected, arrived), (is_served, is_served), "{mode}: {source}");
        }
    }
}

/// A socket that another port's packets are steered to.
#[test]
fn transparent_proxy() {
    let bypass = Bypass {
        db: &[
            "nft add table ip planted",
            "nft add chain ip planted pre { type filter hook prerouting priority -150 ; }",
            "nft add rule ip planted pre tcp dport 8432 tproxy to :5432 meta mark set 1 accept",
            "ip rule add fwmark 1 lookup 100",
            "ip route add local 0.0.0.0/0 dev lo table 100",
        ],
        ..BYPASS
    };
    let host = built(TestHost::builder().rules(rules(1)));
    plant(&host, &bypass);
    let listener = {
        let _inside = host.db.enter().unwrap();
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.set_ip_transparent_v4(true).unwrap();
        socket.set_reuse_address(true).unwrap();
        socket.bind(&destination("0.0.0.0", PORT).into()).unwrap();
        socket.listen(16).unwrap();
        TcpListener::from(socket)
    };
    listener.set_nonblocking(true).unwrap();
    served_by_mode(&host, &bypass, &|source, to| is_served(&listener, &host.outside, source, to));
}

/// From a container, which shares no filtered interface with the host.
#[test]
fn client_in_a_container_of_the_host() {
    let host = built(TestHost::builder().rules(rules(1)));
    let pod = host.lab.host("pod").unwrap();
    let addresses = ["10.88.0.20/24", "10.88.0.66/24"];
    host.lab.link(host.db.end("pod0", &["10.88.0.1/24"]), pod.end("eth0", &addresses)).unwrap();
    let listener = listen(&host.db, PORT);
    let bypass = Bypass {
        friend: "10.88.0.20",
        stranger: "10.88.0.66",
        to: ("10.88.0.1", PORT),
        interface: "pod0",
        ..BYPASS
    };
    served_by_mode(&host, &bypass, &|source, to| is_served(&listener, &pod, source, to));
}

/// The database runs in a container behind a bridge, and its port is published.
#[test]
fn database_in_a_container() {
    let host = built(TestHost::builder().rules(rules(1)));
    let pod = host.lab.host("pod").unwrap();
    host.db.run("ip link add br0 type bridge").unwrap();
    host.lab.link(host.db.end("pod0", &[]), pod.end("cont0", &["10.88.0.2/24"])).unwrap();
    for line in [
        "ip link set pod0 master br0",
        "ip link set br0 up",
        "ip address add 10.88.0.1/24 dev br0",
        "nft add table ip planted",
        "nft add chain ip planted pre { type nat hook prerouting priority -100 ; }",
        "nft add rule ip planted pre tcp dport 8432 dnat to 10.88.0.2:5432",
    ] {
        host.db.run(line).unwrap();
    }
    host.db.forward().unwrap();
    pod.route_by(&["10.88.0.1"]).unwrap();
    // The interface of the packets at the socket is the container's, with its index there.
    let index = pod.run("ip -o link show cont0").unwrap();
    let index: u32 = index.split(':').next().unwrap().parse().unwrap();
    let on_host = host.db.run("ip -o link show").unwrap();
    let named = on_host.lines().find(|line| line.starts_with(&format!("{index}:")));
    let name = named.map_or_else(
        || format!("index {index}"),
        |line| line.split([':', '@']).nth(1).unwrap().trim().to_owned(),
    );
    let listener = listen(&pod, PORT);
    let bypass = Bypass { interface: Box::leak(name.into_boxed_str()), ..BYPASS };
    served_by_mode(&host, &bypass, &|source, to| is_served(&listener, &host.outside, source, to));
}
