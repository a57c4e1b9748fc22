//! Sessions that end, each beside one that stays.

use std::io::Write as _;
use std::time::Duration;

use firewall_tests::lab::{INTERFACE, Postgres, RuleFile, Session as Client, TestHost, psql};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::raw::Map;
use crate::scene::{
    DATABASE, FRIENDS, KEEP, PORT, RESET, REVOKED, Session, built, count, everyone, friends, listen,
    listeners, scene, server, sessions, stopped, until_counted,
};
use crate::strace::Injected;

const WAIT: Duration = Duration::from_secs(20);

/// Of both families, and of IPv4 at a socket of both.
#[test]
fn session_ends_with_its_rule_and_stays_by_default() {
    for config in [KEEP, RESET] {
        let host = scene(config);
        let listeners = listeners(&host);
        let [allowed, revoked] =
            [FRIENDS, REVOKED].map(|sources| sources.map(|source| sessions(&host, &listeners, source)));
        let (allowed, revoked) = (allowed.as_flattened(), revoked.as_flattened());
        for session in allowed.iter().chain(revoked) {
            assert!(session.answers() && session.is_established(&host));
        }
        host.push(&friends(2));
        host.until_applied(DATABASE, 2);
        if config == RESET {
            revoked.iter().for_each(|session| session.until_reset(&host));
            until_counted(&host, DATABASE, 4);
            let log = host.log();
            for source in REVOKED {
                let words = ["sessions without access reset", "orders", source, "revision=2", "sessions=2"];
                let is_one = |line: &str| words.iter().all(|word| line.contains(word));
                assert!(log.lines().any(is_one), "{source}: not in {log}");
            }
        } else {
            for session in revoked {
                assert!(!session.answers());
                session.assert_open(&host);
            }
            assert_eq!(count(&host, DATABASE), Some(0));
        }
        for session in allowed {
            session.assert_open(&host);
            assert!(session.answers());
        }
    }
}

/// A PostgreSQL backend that waits for its client in a transaction.
#[test]
fn locks_of_a_revoked_session() {
    for config in [KEEP, RESET] {
        let host = scene(config);
        let _postgres = Postgres::start(&host.lab, &host.db, PORT).unwrap();
        let to = server(FRIENDS[0], PORT);
        let mut client = Client::open(&host.outside, to).unwrap();
        let lock = "create table held (); begin; lock table held; select 'locked';";
        assert_eq!(client.ask(lock, WAIT).as_deref(), Some("locked"));
        // The host asks itself, which XDP never sees.
        let question = "select count(*) from pg_locks where relation = 'held'::regclass";
        let locks = || psql(&host.db, to, "require", question).unwrap();
        assert_eq!(locks(), "1");
        host.push(&RuleFile::new(DATABASE, 2).endpoint(&PORT.to_string()).allow("192.0.2.21/32"));
        host.until_applied(DATABASE, 2);
        if config == RESET {
            host.eventually("the lock is free", || locks() == "0");
        } else {
            assert_eq!(locks(), "1");
        }
    }
}

#[test]
fn sessions_of_a_removed_database_end() {
    let host = scene(RESET);
    let listeners = listeners(&host);
    let all = FRIENDS.map(|source| sessions(&host, &listeners, source));
    host.push(&RuleFile::new(DATABASE, 2).removed());
    all.as_flattened().iter().for_each(|session| session.until_reset(&host));
    // The last claimant of the closed destinations.
    until_counted(&host, DATABASE, 4);
}

/// A new revision without the endpoint closes it: by a tombstone, and without a socket filter by the guard alone.
#[test]
fn sessions_at_a_dropped_endpoint_end() {
    for config in [RESET, "revoke_sessions: reset\nsocket_filter: off"] {
        let host = scene(config);
        let listeners = listeners(&host);
        let [dropped, allowed] = sessions(&host, &listeners, FRIENDS[0]);
        host.push(&RuleFile::new(DATABASE, 2).endpoint("30432").allow("192.0.2.20/32"));
        dropped.until_reset(&host);
        allowed.assert_open(&host);
        assert!(allowed.answers());
    }
}

#[test]
fn access_revoked_while_no_agent_ran() {
    for config in [KEEP, RESET] {
        let host = scene(config);
        let listeners = listeners(&host);
        let [allowed, revoked] = [FRIENDS[0], REVOKED[0]].map(|source| sessions(&host, &listeners, source));
        host.stop();
        host.push(&friends(2));
        revoked.iter().for_each(|session| session.assert_open(&host));
        host.start();
        host.until_applied(DATABASE, 2);
        if config == RESET {
            revoked.iter().for_each(|session| session.until_reset(&host));
        } else {
            assert!(!revoked[0].answers());
            revoked.iter().for_each(|session| session.assert_open(&host));
            // The next agent publishes nothing.
            host.stop();
            host.start_with(&["--revoke-sessions", "reset"]);
            revoked.iter().for_each(|session| session.until_reset(&host));
        }
        allowed.iter().for_each(|session| session.assert_open(&host));
    }
}

/// A host that was open has sessions of everyone, which its first attach cuts.
#[test]
fn access_that_the_first_attach_takes() {
    let host = stopped(RESET);
    let listeners = listeners(&host);
    host.push(&friends(1));
    let [allowed, revoked] = [FRIENDS[1], REVOKED[1]].map(|source| sessions(&host, &listeners, source));
    host.start();
    revoked.iter().for_each(|session| session.until_reset(&host));
    allowed.iter().for_each(|session| session.assert_open(&host));
}

/// The session of a source that only the monitor mode let in.
#[test]
fn end_of_monitor_mode() {
    let host = built(TestHost::builder().config(RESET).rules(friends(1).monitor()));
    host.start();
    host.until_applied(DATABASE, 1);
    let listeners = listeners(&host);
    let [allowed, stranger] = [FRIENDS[0], REVOKED[0]].map(|source| sessions(&host, &listeners, source));
    // Another database loses a source meanwhile, with a session.
    let other = |revision, source: &str| RuleFile::new("other", revision).endpoint("30433").allow(source);
    host.push(&other(1, "192.0.2.21/32"));
    host.until_applied("other", 1);
    let listener = listen(&host, "192.0.2.10:30433");
    let revoked = Session::open(&host.outside, REVOKED[0], &listener, server(REVOKED[0], 30_433));
    host.push(&other(2, "192.0.2.20/32"));
    revoked.until_reset(&host);
    stranger.iter().for_each(|session| session.assert_open(&host));
    assert!(stranger[0].answers());
    host.push(&friends(2));
    stranger.iter().for_each(|session| session.until_reset(&host));
    allowed.iter().for_each(|session| session.assert_open(&host));
}

#[test]
fn source_without_a_rule_is_reset_after_attach_only() {
    let host = scene(RESET);
    let listeners = listeners(&host);
    assert_eq!(host.ask(&["detach", "--yes"]).code, Some(0));
    host.push(&friends(2));
    host.until_revision(DATABASE, 2);
    // The host is open.
    let revoked = sessions(&host, &listeners, REVOKED[0]);
    host.push(&RuleFile::new("other", 1).endpoint("30433").allow("192.0.2.20/32"));
    host.until_revision("other", 1);
    assert!(revoked[0].answers());
    revoked.iter().for_each(|session| session.assert_open(&host));
    assert_eq!(host.ask(&["attach"]).code, Some(0));
    revoked.iter().for_each(|session| session.until_reset(&host));
}

/// Strangers had access until the repair.
#[test]
fn sessions_from_before_a_link_is_repaired_end() {
    let host = stopped(RESET);
    host.push(&friends(1));
    host.start();
    host.until_applied(DATABASE, 1);
    let listeners = listeners(&host);
    signal(&host, Signal::SIGSTOP);
    Map::pinned(&host.home.pins().join("links").join(INTERFACE)).detach().unwrap();
    let [allowed, stranger] = [FRIENDS[0], REVOKED[0]].map(|source| sessions(&host, &listeners, source));
    signal(&host, Signal::SIGCONT);
    stranger.iter().for_each(|session| session.until_reset(&host));
    allowed.iter().for_each(|session| session.assert_open(&host));
}

fn signal(host: &TestHost, signal: Signal) {
    kill(Pid::from_raw(host.pid().cast_signed()), signal).unwrap();
}

/// The server has closed it, and waits for the acknowledgement of a client that the firewall refuses.
#[test]
fn orphan_ends_by_itself() {
    let host = scene(RESET);
    let listeners = listeners(&host);
    let [orphan, _other] = sessions(&host, &listeners, REVOKED[0]);
    let _others = sessions(&host, &listeners, REVOKED[1]);
    // Its client no longer answers.
    host.outside.run(&format!("ip address del {}/24 dev eth0", REVOKED[0])).unwrap();
    (&orphan.server).write_all(b"unacknowledged").unwrap();
    drop(orphan.server);
    host.push(&friends(2));
    until_counted(&host, DATABASE, 3);
    let states = host.db.run("ss -H -t -n state fin-wait-1").unwrap();
    assert_eq!(states.lines().count(), 1, "{states}");
}

/// A kernel that destroys no sockets.
#[test]
fn refused_reset_is_a_condition() {
    let host = scene(RESET);
    let listeners = listeners(&host);
    let revoked = sessions(&host, &listeners, REVOKED[0]);
    let reports = |host: &TestHost| host.status()["conditions"].to_string().contains("session_reset");
    assert!(!reports(&host));
    let refusing = Injected::into_thread(host.pid(), "sessions", "sendto", "error=EOPNOTSUPP");
    host.push(&friends(2));
    host.until("a condition", |status| status["conditions"].to_string().contains("CONFIG_INET_DIAG_DESTROY"));
    revoked.iter().for_each(|session| session.assert_open(&host));
    assert_eq!(host.status()["ready"], true);
    drop(refusing);
    // The next attempt.
    revoked.iter().for_each(|session| session.until_reset(&host));
    host.eventually("the condition is cleared", || !reports(&host));
}

/// A session that is opened as soon as the access returns, while the last reset may be under way, stays.
#[test]
fn access_that_returns() {
    let host = scene(RESET);
    let listeners = listeners(&host);
    let allowed = sessions(&host, &listeners, FRIENDS[0]);
    let open = || Session::open(&host.outside, REVOKED[0], &listeners[0], server(REVOKED[0], PORT));
    let mut revoked = open();
    for revision in (2..12).step_by(2) {
        host.push(&friends(revision));
        host.until_revision(DATABASE, revision);
        host.push(&everyone(revision + 1));
        host.until_revision(DATABASE, revision + 1);
        let again = open();
        assert!(again.answers());
        again.assert_open(&host);
        revoked = again;
    }
    host.push(&friends(12));
    revoked.until_reset(&host);
    allowed.iter().for_each(|session| session.assert_open(&host));
}
