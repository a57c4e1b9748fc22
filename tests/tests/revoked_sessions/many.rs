//! A thousand sessions.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::scene::{
    DATABASE, FRIENDS, PORT, RESET, REVOKED, Session, friends, listeners, scene, server, until_counted,
};

/// Of a thousand sessions exactly the revoked half ends.
#[test]
fn half_of_a_thousand_sessions() {
    // Two sockets for each session.
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, soft.max(hard.min(8192)), hard).unwrap();
    let host = scene(RESET);
    let listeners = listeners(&host);
    let open = |number: usize| {
        let sources = [FRIENDS, REVOKED][number % 2];
        let family = number / 2 % 2;
        Session::open(&host.outside, sources[family], &listeners[family], server(sources[family], PORT))
    };
    let all: Vec<Session> = (0..1_000).map(open).collect();
    host.push(&friends(2));
    let (revoked, allowed): (Vec<_>, Vec<_>) =
        all.iter().enumerate().partition(|(number, _)| number % 2 == 1);
    until_counted(&host, DATABASE, 500);
    for (number, session) in &revoked {
        assert!(session.error().is_some(), "{number}");
    }
    for (number, session) in &allowed {
        assert!(session.error().is_none() && session.answers(), "{number}");
    }
    // No later pass ends another one.
    host.push(&friends(3).allow("203.0.113.0/24"));
    host.until_applied(DATABASE, 3);
    host.push(&friends(4));
    host.until_applied(DATABASE, 4);
    until_counted(&host, DATABASE, 500);
    assert!(allowed.iter().all(|(_, session)| session.error().is_none() && session.answers()));
}
