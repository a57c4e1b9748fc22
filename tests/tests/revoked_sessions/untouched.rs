//! Sessions that never end, each beside one that does.

use std::net::SocketAddr;
use std::time::Duration;

use firewall_tests::lab::{RuleFile, TestHost, eventually};
use socket2::{Domain, Socket, Type};

use crate::scene::{
    DATABASE, FRIENDS, MAPPED, PORT, RESET, REVOKED, Session, everyone, friends, listen, listen_at,
    listeners, scene, server, sessions,
};

const BOUND: Duration = Duration::from_secs(20);

/// Revokes the access of the other sources, and waits until their sessions have ended.
fn revoke(host: &TestHost, revoked: &[Session]) {
    host.push(&friends(2));
    revoked.iter().for_each(|session| session.until_reset(host));
}

/// Clients on the database host itself, which no rule allows.
#[test]
fn sessions_inside_the_host() {
    let host = scene(RESET);
    let listeners = listeners(&host);
    let own = [
        ("192.0.2.10", &listeners[0], "192.0.2.10:5432"),
        ("127.0.0.1", &listeners[2], "127.0.0.1:30432"),
        ("192.0.2.10", &listeners[2], "192.0.2.10:30432"),
        ("::1", &listeners[2], "[::1]:30432"),
        ("2001:db8:2::10", &listeners[1], "[2001:db8:2::10]:5432"),
    ];
    let own =
        own.map(|(source, listener, to)| Session::open(&host.db, source, listener, to.parse().unwrap()));
    revoke(&host, &sessions(&host, &listeners, REVOKED[0]));
    for session in &own {
        session.assert_open(&host);
        assert!(session.answers());
    }
}

/// Connections that the host opened from the port of an endpoint: without a listener there, and with one at another
/// address only.
#[test]
fn connections_that_the_host_opened() {
    let host = scene(RESET);
    let listeners = listeners(&host);
    let with = |file: RuleFile| file.endpoint("30433").endpoint("30434");
    // XDP refuses answers to the port of an endpoint without a rule for their source.
    host.push(&with(everyone(2)));
    host.until_applied(DATABASE, 2);
    let stranger = listen_at(&host.outside, "192.0.2.21:0");
    let connections = [30_433, 30_434].map(|port| {
        let socket = {
            let _inside = host.db.enter().unwrap();
            Socket::new(Domain::IPV4, Type::STREAM, None).unwrap()
        };
        socket.bind(&SocketAddr::new("192.0.2.10".parse().unwrap(), port).into()).unwrap();
        socket.connect_timeout(&stranger.local_addr().unwrap().into(), BOUND).unwrap();
        let (client, _) = eventually(BOUND, "accepted", || stranger.accept().ok()).unwrap();
        socket.set_nonblocking(true).unwrap();
        Session { client, server: socket.into() }
    });
    let _other = listen(&host, "127.0.0.2:30434");
    let revoked = sessions(&host, &listeners, REVOKED[0]);
    host.push(&with(friends(3)));
    revoked.iter().for_each(|session| session.until_reset(&host));
    connections.iter().for_each(|session| session.assert_open(&host));
}

/// A listener that is gone: the host may have opened the session itself.
#[test]
fn session_without_its_listener() {
    let host = scene(RESET);
    let [v4, v6, both] = listeners(&host);
    let open = |listener, port| Session::open(&host.outside, REVOKED[0], listener, server(REVOKED[0], port));
    let (alone, revoked) = (open(&v4, PORT), open(&both, MAPPED));
    drop((v4, v6));
    revoke(&host, &[revoked]);
    alone.assert_open(&host);
}

/// A session over an interface that is not filtered: XDP never sees its packets.
#[test]
fn session_over_another_interface() {
    let host = scene(RESET);
    let ends = [
        host.db.end("side0", &["198.51.100.10/24", "2001:db8:7::10/64"]),
        host.outside.end("side0", &["198.51.100.20/24", "2001:db8:7::20/64"]),
    ];
    let [db, outside] = ends;
    host.lab.link(db, outside).unwrap();
    let listener = listen(&host, "[::]:30432");
    let to = "198.51.100.10:30432".parse().unwrap();
    let side = Session::open(&host.outside, "198.51.100.20", &listener, to);
    let revoked = Session::open(&host.outside, REVOKED[0], &listener, server(REVOKED[0], MAPPED));
    let friend = Session::open(&host.outside, FRIENDS[0], &listener, server(FRIENDS[0], MAPPED));
    revoke(&host, &[revoked]);
    side.assert_open(&host);
    assert!(side.answers());
    assert!(friend.answers());
}
