//! Sockets and packets that the filter leaves alone: traffic of the host itself is never cut.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd as _;
use std::time::Duration;

use firewall_tests::lab::{Host, TestHost, eventually, rounds};
use socket2::{Domain, Protocol, Socket, Type};

use crate::scene::{
    DATABASE, FILTERED, LINK, MODES, OPEN, PORT, SIDE, STRANGERS, arrives, connect, destination, is_served,
    judged, listen, receive, refused, restart, rules, scene,
};

const WAIT: Duration = Duration::from_secs(5);
/// A guarded port that no file claims, TCP or UDP.
const GUARDED: u16 = 30_500;

fn enforcing() -> TestHost {
    let host = scene(rules(1));
    restart(&host, "enforce", &[]);
    host.until_applied(DATABASE, 1);
    host
}

/// A socket of the database host, bound to an address of the second link.
fn bound(host: &TestHost, family: usize, kind: Type, port: u16) -> Socket {
    let domain = if family == 0 { Domain::IPV4 } else { Domain::IPV6 };
    let _inside = host.db.enter().unwrap();
    let socket = Socket::new(domain, kind, None).unwrap();
    socket.set_reuse_address(true).unwrap();
    socket.bind(&destination(SIDE[family], port).into()).unwrap();
    socket.set_read_timeout(Some(WAIT)).unwrap();
    socket
}

/// A server of a stranger, which answers one connection with what it got.
fn echo(host: &TestHost, family: usize, port: u16) -> (SocketAddr, std::thread::JoinHandle<()>) {
    let listener = host.outside.listen((STRANGERS[family], port)).unwrap();
    let at = listener.local_addr().unwrap();
    let serve = move |listener: TcpListener| {
        let (mut client, _) = listener.accept().unwrap();
        let mut got = [0; 3];
        while client.read_exact(&mut got).is_ok() {
            client.write_all(&got).unwrap();
        }
    };
    (at, std::thread::spawn(move || serve(listener)))
}

fn asks(stream: &mut TcpStream) -> bool {
    stream.write_all(b"ask").unwrap();
    stream.read_exact(&mut [0; 3]).is_ok()
}

#[test]
fn connections_that_the_host_opens_from_a_protected_port() {
    let (host, mut revision) = (enforcing(), 1);
    for family in 0..2 {
        // From the port of an endpoint, and from a port that is only guarded.
        for port in [PORT, GUARDED] {
            let (server, ends) = echo(&host, family, 0);
            let client = bound(&host, family, Type::STREAM, port);
            client.connect_timeout(&server.into(), WAIT).unwrap();
            let mut client = TcpStream::from(client);
            assert!(asks(&mut client), "{port}");
            // Also after a publish.
            revision += 1;
            host.push(&rules(revision));
            host.until_revision(DATABASE, revision);
            assert!(asks(&mut client), "{port}");
            drop(client);
            ends.join().unwrap();
        }
    }
    assert_eq!(refused(&host, LINK), 0);
    // Control: a connection of the stranger itself.
    let listener = listen(&host.db, PORT);
    assert!(!is_served(&listener, &host.outside, STRANGERS[0], destination(SIDE[0], PORT)));
}

/// Ten thousand connections of the host's own, from the whole guarded range.
#[test]
fn many_connections_of_the_host() {
    let host = scene(rules(1));
    host.db.set("net/ipv4/ip_local_port_range", "30000 32767").unwrap();
    host.db.set("net/ipv4/tcp_tw_reuse", "1").unwrap();
    let listeners: Vec<TcpListener> =
        (0..10).map(|_| host.outside.listen((STRANGERS[0], 0)).unwrap()).collect();
    for mode in MODES {
        restart(&host, mode, &[]);
        host.until_applied(DATABASE, 1);
        for listener in &listeners {
            for _ in 0..rounds(1_000, 1_000) {
                let at = listener.local_addr().unwrap();
                let client = host.db.connect(at, WAIT).unwrap();
                listener.accept().unwrap();
                // A reset leaves no TIME_WAIT, of which the range would be full.
                socket2::SockRef::from(&client).set_linger(Some(Duration::ZERO)).unwrap();
            }
        }
        assert_eq!(refused(&host, LINK), 0, "{mode}");
    }
}

/// The prefix of one address.
fn host_prefix(address: &str) -> String {
    format!("{address}/{}", if address.contains(':') { 128 } else { 32 })
}

/// Name resolution, time, downloads, replication and a container behind NAT, with servers that no rule allows.
#[test]
fn services_of_the_host_in_every_mode() {
    // The other node's sockets are judged, too: here both hosts belong to one control group.
    let own = SIDE.map(host_prefix);
    let host = scene(own.iter().fold(rules(1), |file, own| file.allow(own)));
    let pod = host.lab.host("pod").unwrap();
    host.lab.link(host.db.end("pod0", &["10.88.0.1/24"]), pod.end("eth0", &["10.88.0.66/24"])).unwrap();
    pod.run("ip route add default via 10.88.0.1").unwrap();
    for line in [
        "nft add table ip planted",
        "nft add chain ip planted post { type nat hook postrouting priority 100 ; }",
        "nft add rule ip planted post oifname side0 masquerade fully-random",
    ] {
        host.db.run(line).unwrap();
    }
    host.db.forward().unwrap();
    for mode in MODES {
        restart(&host, mode, &[]);
        host.until_applied(DATABASE, 1);
        for (family, stranger) in STRANGERS.into_iter().enumerate() {
            for (client, server) in [(0, 53), (123, 123)] {
                let server = host.outside.udp((stranger, server)).unwrap();
                let client = host.db.udp((SIDE[family], client)).unwrap();
                for one in [&client, &server] {
                    one.set_read_timeout(Some(WAIT)).unwrap();
                }
                client.send_to(b"?", server.local_addr().unwrap()).unwrap();
                let (_, from) = server.recv_from(&mut [0]).unwrap();
                server.send_to(b"!", from).unwrap();
                client.recv_from(&mut [0]).unwrap();
            }
            let clients = [(&host.db, 80), (&host.db, PORT), (&pod, 443)];
            // The container has no address of IPv6.
            for (client, port) in clients.into_iter().take(3 - family) {
                let (server, ends) = echo(&host, family, port);
                let mut client = client.connect(server, WAIT).unwrap();
                assert!((0..100).all(|_| asks(&mut client)), "{mode}: {port}");
                drop(client);
                ends.join().unwrap();
            }
        }
        for interface in [LINK, "pod0", "eth0"] {
            assert_eq!(refused(&host, interface), 0, "{mode}: {interface}");
        }
    }
    // Control: the same stranger as a client.
    let listener = listen(&host.db, PORT);
    assert!(!is_served(&listener, &host.outside, STRANGERS[0], destination(SIDE[0], PORT)));
}

#[test]
fn connected_datagram_socket_at_a_guarded_port() {
    let host = enforcing();
    for (family, stranger) in STRANGERS.into_iter().enumerate() {
        let server = host.outside.udp((stranger, 0)).unwrap();
        server.set_read_timeout(Some(WAIT)).unwrap();
        let client = bound(&host, family, Type::DGRAM, GUARDED);
        client.connect(&server.local_addr().unwrap().into()).unwrap();
        client.send(b"?").unwrap();
        let (_, from) = server.recv_from(&mut [0]).unwrap();
        server.send_to(b"!", from).unwrap();
        assert_eq!((&client).read(&mut [0; 1]).unwrap(), 1);
    }
    assert_eq!(refused(&host, LINK), 0);
    // Control: at the port of an endpoint, and a socket without a peer.
    let server = host.outside.udp((STRANGERS[0], 0)).unwrap();
    let client = bound(&host, 0, Type::DGRAM, PORT);
    client.set_read_timeout(Some(Duration::from_millis(150))).unwrap();
    client.connect(&server.local_addr().unwrap().into()).unwrap();
    server.send_to(b"!", destination(SIDE[0], PORT)).unwrap();
    assert!((&client).read(&mut [0; 1]).is_err());
    let open = receive(&host.db, GUARDED);
    assert!(!arrives(&open, &host.outside, STRANGERS[0], destination(SIDE[0], GUARDED)));
}

#[test]
fn guarded_port_without_a_listener_answers_as_before() {
    let host = enforcing();
    let refusal = || {
        let to = destination(SIDE[0], GUARDED);
        host.outside.connect(to, WAIT).unwrap_err().downcast::<std::io::Error>().unwrap().kind()
    };
    // No socket, no filter: the host itself refuses.
    assert_eq!(refusal(), std::io::ErrorKind::ConnectionRefused);
}

#[test]
fn raw_sockets_and_icmp() {
    let host = enforcing();
    for (family, domain, icmp, request) in [
        (0, Domain::IPV4, Protocol::ICMPV4, [8, 0, 0xf7, 0xff, 0, 0, 0, 0]),
        (1, Domain::IPV6, Protocol::ICMPV6, [128, 0, 0, 0, 0, 0, 0, 0]),
    ] {
        let raw = |on: &Host, protocol| {
            let _inside = on.enter().unwrap();
            let socket = Socket::new(domain, Type::RAW, Some(protocol)).unwrap();
            socket.set_read_timeout(Some(WAIT)).unwrap();
            socket
        };
        let tcp = raw(&host.db, Protocol::TCP);
        assert!(connect(&host.outside, STRANGERS[family], destination(SIDE[family], PORT)).is_none());
        assert!((&tcp).read(&mut [0; 128]).is_ok(), "the raw socket gets the packet");
        let (there, here) = (raw(&host.db, icmp), raw(&host.outside, icmp));
        here.bind(&destination(STRANGERS[family], 0).into()).unwrap();
        here.send_to(&request, &destination(SIDE[family], 0).into()).unwrap();
        assert!((&there).read(&mut [0; 128]).is_ok(), "the request");
        assert!((&here).read(&mut [0; 128]).is_ok(), "the host's answer");
    }
}

#[test]
fn loopback_unless_configured() {
    let host = enforcing();
    let (listener, socket) = (listen(&host.db, PORT), receive(&host.db, PORT));
    let local = || {
        ["127.0.0.1", "::1", SIDE[0], SIDE[1]].map(|at| {
            let (source, to) = (if at.contains(':') { "::1" } else { "127.0.0.1" }, destination(at, PORT));
            (is_served(&listener, &host.db, source, to), arrives(&socket, &host.db, source, to))
        })
    };
    assert_eq!(local(), [(true, true); 4]);
    // From one address of the host to another one.
    let between = || {
        [0, 1].map(|family| {
            let (source, to) = (FILTERED[family], destination(SIDE[family], PORT));
            (is_served(&listener, &host.db, source, to), arrives(&socket, &host.db, source, to))
        })
    };
    assert_eq!(between(), [(true, true); 2]);
    assert_eq!(host.status()["socket_filter"]["loopback"], false);
    restart(&host, "enforce", &["--socket-filter-loopback"]);
    host.until_applied(DATABASE, 1);
    assert_eq!(local(), [(false, false); 4]);
    assert_eq!(between(), [(false, false); 2]);
    assert!(refused(&host, "lo") > 0);
    assert_eq!(host.status()["socket_filter"]["loopback"], true);
}

#[test]
fn syn_cookies_and_fast_open() {
    let host = enforcing();
    host.db.set("net/ipv4/tcp_syncookies", "2").unwrap();
    let listener = listen(&host.db, PORT);
    for family in 0..2 {
        let to = destination(SIDE[family], PORT);
        for (source, served) in [(crate::scene::FRIENDS[family], true), (STRANGERS[family], false)] {
            assert_eq!(is_served(&listener, &host.outside, source, to), served, "{source}");
        }
    }
    host.db.set("net/ipv4/tcp_syncookies", "1").unwrap();
    // Data in the first packet, with and without a cookie.
    for on in [&host.db, &host.outside] {
        on.set("net/ipv4/tcp_fastopen", "0x603").unwrap();
    }
    for _ in 0..2 {
        while listener.accept().is_ok() {}
        for (source, served) in [(crate::scene::FRIENDS[0], true), (STRANGERS[0], false)] {
            assert_eq!(opens_fast(&host, source, destination(SIDE[0], PORT), &listener), served, "{source}");
        }
    }
    assert!(judged(&host, LINK, &["no_match"]) > 0);
}

/// Sends data with the first packet of a connection; returns whether the listener gets it.
fn opens_fast(host: &TestHost, source: &str, to: SocketAddr, listener: &TcpListener) -> bool {
    let client = {
        let _inside = host.outside.enter().unwrap();
        Socket::new(Domain::IPV4, Type::STREAM, None).unwrap()
    };
    client.bind(&SocketAddr::new(source.parse().unwrap(), 0).into()).unwrap();
    client.set_nonblocking(true).unwrap();
    let to: socket2::SockAddr = to.into();
    // SAFETY: the address and the byte live across the call.
    let sent = unsafe {
        libc::sendto(
            client.as_raw_fd(),
            b"?".as_ptr().cast(),
            1,
            libc::MSG_FASTOPEN | libc::MSG_NOSIGNAL,
            to.as_ptr().cast(),
            to.len(),
        )
    };
    let error = std::io::Error::last_os_error();
    assert!(sent == 1 || error.raw_os_error() == Some(libc::EINPROGRESS), "{error}");
    let accepted = eventually(Duration::from_millis(200), "accepted", || listener.accept().ok());
    let Ok((server, _)) = accepted else { return false };
    server.set_nonblocking(false).unwrap();
    server.set_read_timeout(Some(WAIT)).unwrap();
    if sent != 1 {
        client.set_nonblocking(false).unwrap();
        client.send(b"?").unwrap();
    }
    (&server).read_exact(&mut [0]).is_ok()
}

/// A connection inside the host to a second address, for which the kernel chooses the first as source. Its reset comes when
/// the socket of the client is gone.
#[test]
fn reset_inside_the_host() {
    let host = enforcing();
    host.db.run(&format!("ip address add 198.51.100.11/24 dev {LINK}")).unwrap();
    let listener = host.db.listen(("198.51.100.11", GUARDED)).unwrap();
    let client = host.db.connect(listener.local_addr().unwrap(), WAIT).unwrap();
    let (mut server, from) = listener.accept().unwrap();
    assert_eq!(from.ip().to_string(), SIDE[0], "the control");
    server.write_all(b"unread").unwrap();
    socket2::SockRef::from(&client).set_linger(Some(Duration::ZERO)).unwrap();
    drop(client);
    server.set_read_timeout(Some(WAIT)).unwrap();
    let error = server.read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    assert_eq!(refused(&host, "lo"), 0);
}

/// The port was opened before anything protected it.
#[test]
fn unprotected_port() {
    let host = enforcing();
    let listener = listen(&host.db, OPEN);
    assert!(is_served(&listener, &host.outside, STRANGERS[0], destination(SIDE[0], OPEN)));
}
