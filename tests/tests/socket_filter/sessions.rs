//! Sessions that outlive a change: older than the filter, and with a rule that is revoked.

use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use firewall_tests::lab::{RuleFile, TestHost, eventually};

use crate::scene::{
    DATABASE, FILTERED, FRIENDS, LINK, PORT, SIDE, STRANGERS, answers, built, connect, destination, listen,
    refused, restart, rules, scene,
};

const WAIT: Duration = Duration::from_secs(10);
/// A guarded port that no file claims.
const GUARDED: u16 = 30_500;

/// A session of a client with a listener of the host.
fn session(host: &TestHost, source: &str, port: u16) -> (TcpStream, TcpStream) {
    accepted(host, &listen(&host.db, port), source, port)
}

fn accepted(host: &TestHost, listener: &TcpListener, source: &str, port: u16) -> (TcpStream, TcpStream) {
    let family = usize::from(source.contains(':'));
    let client = connect(&host.outside, source, destination(SIDE[family], port)).unwrap();
    let (server, _) = eventually(WAIT, "accepted", || listener.accept().ok()).unwrap();
    server.set_nonblocking(false).unwrap();
    assert!(answers(&client, &server));
    (client, server)
}

#[test]
fn session_ends_with_its_rule_at_an_endpoint_and_behind_translation() {
    for friend in FRIENDS {
        let host = scene(rules(1));
        restart(&host, "enforce", &[]);
        host.until_applied(DATABASE, 1);
        // The second is at a guarded port that no file claims: every database is asked.
        let sessions = [PORT, GUARDED].map(|port| session(&host, friend, port));
        host.push(&crate::scene::endpoints(RuleFile::new(DATABASE, 2), PORT).allow("203.0.113.0/24"));
        host.until_applied(DATABASE, 2);
        for (client, server) in &sessions {
            assert!(!answers(client, server));
        }
        assert!(refused(&host, LINK) > 0);
        // The rule returns before the session has timed out.
        host.push(&rules(3));
        host.until_applied(DATABASE, 3);
        for (_, server) in &sessions {
            use std::io::Read as _;
            server.set_read_timeout(Some(WAIT)).unwrap();
            let mut server = server;
            server.read_exact(&mut [0]).unwrap();
        }
    }
}

#[test]
fn session_older_than_the_filter_is_judged_at_an_endpoint() {
    let host = scene(rules(1));
    restart(&host, "off", &[]);
    host.until_applied(DATABASE, 1);
    let listener = listen(&host.db, PORT);
    let [friend, stranger] =
        [FRIENDS[0], STRANGERS[0]].map(|source| accepted(&host, &listener, source, PORT));
    restart(&host, "enforce", &[]);
    host.until_applied(DATABASE, 1);
    assert!(answers(&friend.0, &friend.1));
    assert!(!answers(&stranger.0, &stranger.1));
}

#[test]
fn session_older_than_the_filter_is_judged_behind_a_listener() {
    // No file claims an address of the second link.
    let file = |revision| {
        let file = RuleFile::new(DATABASE, revision).allow("198.51.100.20/32");
        FILTERED.iter().fold(file, |file, address| file.endpoint(&destination(address, PORT).to_string()))
    };
    let host = built(TestHost::builder().rules(file(1)));
    restart(&host, "off", &[]);
    host.until_applied(DATABASE, 1);
    // Of the first the listener is gone: it could be the host's own.
    let left = session(&host, STRANGERS[0], GUARDED);
    let accepted = session(&host, STRANGERS[0], GUARDED + 1);
    let friend = session(&host, FRIENDS[0], GUARDED + 2);
    let _listeners = [GUARDED + 1, GUARDED + 2].map(|port| listen(&host.db, port));
    restart(&host, "enforce", &[]);
    host.until_applied(DATABASE, 1);
    assert!(answers(&left.0, &left.1));
    assert!(!answers(&accepted.0, &accepted.1));
    assert!(answers(&friend.0, &friend.1));
    // A database moves to the destination of the session that was presumed to be the host's own.
    host.push(&file(2).endpoint(&destination(SIDE[0], GUARDED).to_string()));
    host.until_applied(DATABASE, 2);
    assert!(!answers(&left.0, &left.1));
}

/// A connection that the host opened before the filter, from a port that is only guarded.
#[test]
fn connection_of_the_host_older_than_the_filter_is_left_alone() {
    let host = scene(rules(1));
    restart(&host, "off", &[]);
    let server = host.outside.listen((STRANGERS[0], 0)).unwrap();
    host.db.set("net/ipv4/ip_local_port_range", "30600 30600").unwrap();
    let client = host.db.connect(server.local_addr().unwrap(), WAIT).unwrap();
    assert_eq!(client.local_addr().unwrap().port(), 30_600);
    let (server, _) = server.accept().unwrap();
    restart(&host, "enforce", &[]);
    assert!(answers(&server, &client), "an answer from the stranger");
    assert_eq!(refused(&host, LINK), 0);
}
