//! Hostile clients take nothing from the others.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use crate::setup::{Http as _, TCP, exchange, listening};

#[test]
fn malformed_and_oversized_requests_are_refused_cheaply() {
    let host = listening();
    let long = "a".repeat(20_000);
    let many = "X: y\r\n".repeat(1000);
    for (what, text, refused) in [
        ("a long path", format!("GET /{long} HTTP/1.1\r\nHost: a\r\n\r\n"), &[414, 431][..]),
        ("a long header", format!("GET /healthz HTTP/1.1\r\nHost: {long}\r\n\r\n"), &[431]),
        ("many headers", format!("GET /healthz HTTP/1.1\r\nHost: a\r\n{many}\r\n"), &[431]),
        ("no HTTP", "\x16\x03\x01\x02\r\n\r\n".to_owned(), &[400]),
        ("another version", "GET /healthz HTTP/9.9\r\n\r\n".to_owned(), &[400]),
        (
            "a body without end",
            format!("POST /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999\r\n\r\n{long}"),
            &[405],
        ),
    ] {
        let stream = UnixStream::connect(host.socket()).unwrap();
        let reply = exchange(stream, &text);
        // The server may cut the connection during the write.
        assert!(reply.as_ref().is_none_or(|reply| refused.contains(&reply.code)), "{what}: {reply:?}");
        assert_eq!(host.get("/healthz").code, 200, "after {what}");
    }
}

#[test]
fn silent_and_incomplete_requests_time_out() {
    let host = listening();
    let mut silent = UnixStream::connect(host.socket()).unwrap();
    let mut slow = UnixStream::connect(host.socket()).unwrap();
    slow.write_all(b"GET /healthz HTTP/1.1\r\n").unwrap();
    let started = Instant::now();
    for client in [&mut silent, &mut slow] {
        client.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let mut rest = Vec::new();
        client.read_to_end(&mut rest).unwrap();
        assert!(!rest.starts_with(b"HTTP/1.1 200"), "{rest:?}");
    }
    assert!(started.elapsed() < Duration::from_secs(30), "cut off after {:?}", started.elapsed());
}

#[test]
fn full_listener_does_not_affect_others_and_recovers() {
    let host = listening();
    host.eventually("TCP is served", || host.get_by_tcp("/healthz").is_some());
    let files = || std::fs::read_dir(format!("/proc/{}/fd", host.pid())).unwrap().count();
    let before = files();
    let crowd: Vec<_> = (0..100).map(|_| host.db.connect(TCP, Duration::from_secs(5)).unwrap()).collect();
    let mut most = 0;
    for _ in 0..20 {
        assert_eq!(host.get("/healthz").code, 200);
        most = most.max(files());
    }
    assert!(most <= before + 40, "{most} files are open, {before} were");
    drop(crowd);
    host.eventually("it recovers", || host.get_by_tcp("/healthz").is_some_and(|reply| reply.code == 200));
}
