//! The rows of the verdict table, for TCP and UDP, in both families and all modes.

use firewall_tests::lab::{RuleFile, TestHost};

use crate::scene::{
    DATABASE, FILTERED, FRIENDS, LINK, MODES, OPEN, PORT, SIDE, STRANGERS, arrives, destination, endpoints,
    friends, is_served, judged, listen, receive, refused, restart, rules, scene,
};

/// Checks who is served, in both protocols and families: the friend, and the stranger.
fn check(host: &TestHost, port: u16, friend: bool, stranger: bool) {
    let (listener, socket) = (listen(&host.db, port), receive(&host.db, port));
    for family in 0..2 {
        let to = destination(SIDE[family], port);
        for (source, expected) in [(FRIENDS[family], friend), (STRANGERS[family], stranger)] {
            let served = is_served(&listener, &host.outside, source, to);
            assert_eq!(served, expected, "TCP {source} → {to}: {:#}", host.status()["socket_counters"]);
            assert_eq!(arrives(&socket, &host.outside, source, to), expected, "UDP {source} → {to}");
        }
    }
}

#[test]
fn endpoint_admits_the_sources_that_its_database_allows() {
    let host = scene(rules(1));
    for mode in MODES {
        restart(&host, mode, &[]);
        host.until_applied(DATABASE, 1);
        let before = refused(&host, LINK);
        check(&host, PORT, true, mode != "enforce");
        assert_eq!(refused(&host, LINK) > before, mode != "off", "{mode}");
    }
}

#[test]
fn database_in_monitor_mode_admits_and_counts() {
    let host =
        crate::scene::built(TestHost::builder().config("allow_monitor: true").rules(rules(1).monitor()));
    restart(&host, "enforce", &[]);
    host.until_applied(DATABASE, 1);
    check(&host, PORT, true, true);
    assert_eq!(refused(&host, LINK), 0);
    assert!(judged(&host, LINK, &["would_deny"]) > 0);
}

#[test]
fn internal_ranges_are_allowed() {
    let file =
        rules(1).internal_range("198.51.100.66/32", "nodes").internal_range("2001:db8:7::66/128", "nodes");
    let host = scene(file);
    restart(&host, "enforce", &[]);
    host.until_applied(DATABASE, 1);
    check(&host, PORT, true, true);
    assert_eq!(refused(&host, LINK), 0);
}

#[test]
fn tombstone_is_closed_to_everybody() {
    let host = scene(rules(1));
    restart(&host, "enforce", &[]);
    host.until_applied(DATABASE, 1);
    // Port 6000 is not guarded: only its tombstones protect it.
    host.push(&endpoints(rules(2), 6000));
    host.until_applied(DATABASE, 2);
    check(&host, 6000, true, false);
    host.push(&rules(3));
    host.until_applied(DATABASE, 3);
    check(&host, 6000, false, false);
}

/// Another database admits the source at the addresses that no file claims, by its rules or by monitor mode.
#[test]
fn tombstone_at_a_guarded_port_is_closed_to_the_sources_of_other_databases() {
    let other = |revision| friends(RuleFile::new("other", revision).endpoint("192.0.2.10:30001"));
    let host = crate::scene::built(
        TestHost::builder().config("allow_monitor: true").rules(rules(1)).rules(other(1)),
    );
    restart(&host, "enforce", &[]);
    host.until_applied(DATABASE, 1);
    host.push(&RuleFile::new(DATABASE, 2).removed());
    host.until("the database is gone", |status| status["databases"].as_array().unwrap().len() == 1);
    check(&host, PORT, false, false);
    host.push(&other(2).monitor());
    host.until_applied("other", 2);
    check(&host, PORT, false, false);
    // Control: where no file ever claimed the destination.
    check(&host, 30_002, true, true);
}

/// No file claims an address of the second link: the database cannot be told, and every source that one of them allows
/// passes.
#[test]
fn guarded_port_at_an_unclaimed_address_asks_every_database() {
    let claimed = |id: &str, revision, port: u16| {
        FILTERED.iter().fold(RuleFile::new(id, revision), |file, address| {
            let to = destination(address, port).to_string();
            file.endpoint(&to).udp_endpoint(&to)
        })
    };
    let second = claimed("billing", 1, 30_001).allow("203.0.113.0/24");
    let host = crate::scene::built(
        TestHost::builder()
            .config("allow_monitor: true")
            .rules(friends(claimed(DATABASE, 1, PORT)))
            .rules(second.clone()),
    );
    for mode in MODES {
        restart(&host, mode, &[]);
        host.until_applied(DATABASE, 1);
        host.until_applied("billing", 1);
        for port in [PORT, 30_001, 30_002] {
            check(&host, port, true, mode != "enforce");
        }
    }
    // One database in monitor mode is enough.
    host.push(&claimed("billing", 2, 30_001).allow("203.0.113.0/24").monitor());
    host.until_applied("billing", 2);
    check(&host, 30_002, true, true);
    assert!(judged(&host, LINK, &["would_deny"]) > 0);
    host.push(&claimed("billing", 3, 30_001).allow("203.0.113.0/24"));
    host.until_applied("billing", 3);
    check(&host, 30_002, true, false);
}

/// At a socket a port that is closed to new connections only is as any guarded one.
#[test]
fn guard_against_new_connections_only_is_judged_as_any() {
    let host = crate::scene::built(
        TestHost::builder()
            .guarded_ports(&["5432", "{ports: 30000-32767, new_connections_only: true}"])
            .rules(rules(1)),
    );
    for mode in MODES {
        restart(&host, mode, &[]);
        host.until_applied(DATABASE, 1);
        check(&host, 30_002, true, mode != "enforce");
    }
}

#[test]
fn guarded_port_without_a_database_is_closed() {
    let host = crate::scene::built(TestHost::builder());
    restart(&host, "enforce", &[]);
    check(&host, PORT, false, false);
}

/// A port without protection, and one that is an endpoint's at another address and is not guarded.
#[test]
fn port_that_nothing_protects_at_the_address_is_not_judged() {
    let elsewhere = FILTERED.iter().fold(rules(1), |file, address| {
        let to = destination(address, 6_001).to_string();
        file.endpoint(&to).udp_endpoint(&to)
    });
    let host = scene(elsewhere);
    restart(&host, "enforce", &[]);
    host.until_applied(DATABASE, 1);
    check(&host, OPEN, true, true);
    check(&host, 6_001, true, true);
    assert_eq!(judged(&host, LINK, &["allowed", "no_match", "closed"]), 0);
}
