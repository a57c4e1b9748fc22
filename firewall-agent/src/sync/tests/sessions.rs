//! Sessions as table rows, and on random published states beside the verdicts of packets.

use std::net::{Ipv6Addr, SocketAddr};

use super::*;
use crate::sync::{Database, Endpoints, Guards, Listeners, RefusedBy, Session, SessionJudge, Stamp, Table};

const ORDERS: DatabaseSlot = DatabaseSlot(0);

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn session(local: &str, peer: &str) -> Session {
    Session { local: address(local), peer: address(peer) }
}

/// Listeners at every address of every family, at each port.
fn everywhere(ports: &[u16]) -> Listeners {
    let mut listeners = Listeners::default();
    for port in ports {
        listeners.add(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), *port), false);
        listeners.add(SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), *port), false);
    }
    listeners
}

/// A database in this mode with the first entry's destination, and a tombstone at port 5433.
fn live(mode: Mode, to: &str, sources: &[&str]) -> Live {
    let stamp = Stamp { revision: 7, generation: 1, applied_at: Timestamp::UNIX_EPOCH, digest: [0; 32] };
    let database = Database {
        id: "orders".parse().unwrap(),
        name: String::new(),
        default_counter: ORDERS.default_counter(),
        floor: 7,
        stamp: Some(stamp),
        sources: Arc::new(sources.iter().map(|net| (net.parse().unwrap(), CounterId(300))).collect()),
    };
    let open = TableEntry::Open { slot: ORDERS, mode, default_counter: ORDERS.default_counter() };
    let endpoints: Endpoints =
        [(to.parse().unwrap(), open), ("*:5433".parse().unwrap(), TableEntry::Tombstone)]
            .into_iter()
            .collect();
    let guarded = Guards::from(Ports::from([5432, 5433, 5434]));
    Live {
        databases: [(ORDERS, database)].into(),
        table: Table::new(endpoints, &guarded),
        guarded,
        ..Live::default()
    }
}

fn judge(live: &Live) -> SessionJudge {
    SessionJudge::new(live, &Arc::default(), &BTreeSet::new())
}

fn refuses(judge: &SessionJudge, listeners: &Listeners, local: &str, peer: &str) -> bool {
    judge.refusal(&session(local, peer), listeners).is_some()
}

#[test]
fn session_is_refused_as_its_packets() {
    let sources = ["198.51.100.0/24", "2001:db8:7::/64"];
    let judge = judge(&live(Mode::Enforce, "*:5432", &sources));
    let listeners = everywhere(&[5432, 5433, 5434, 8080]);
    for (local, peer, expected) in [
        ("192.0.2.10:5432", "198.51.100.20:40000", false),
        ("192.0.2.10:5432", "203.0.113.5:40000", true),
        ("[2001:db8:2::10]:5432", "[2001:db8:7::20]:40000", false),
        ("[2001:db8:2::10]:5432", "[2001:db8:8::20]:40000", true),
        // At a socket of both families.
        ("[::ffff:192.0.2.10]:5432", "[::ffff:198.51.100.20]:40000", false),
        ("[::ffff:192.0.2.10]:5432", "[::ffff:203.0.113.5]:40000", true),
        // A tombstone refuses everyone.
        ("192.0.2.10:5433", "198.51.100.20:40000", true),
        ("[2001:db8:2::10]:5433", "[2001:db8:7::20]:40000", true),
        // A port that is only guarded: translation may have led there.
        ("192.0.2.10:5434", "203.0.113.5:40000", false),
        ("192.0.2.10:8080", "203.0.113.5:40000", false),
    ] {
        assert_eq!(refuses(&judge, &listeners, local, peer), expected, "{peer} → {local}");
    }
    let by = |local| judge.refusal(&session(local, "203.0.113.5:40000"), &listeners);
    let orders = RefusedBy { database: Some("orders".parse().unwrap()), revision: Some(7) };
    assert_eq!(by("192.0.2.10:5432"), Some(orders));
    assert_eq!(by("192.0.2.10:5433"), Some(RefusedBy { database: None, revision: None }));
    assert_eq!(judge.ports(), [5432, 5433].into());
}

#[test]
fn monitor_mode_and_unknown_lists_refuse_no_session() {
    let listeners = everywhere(&[5432]);
    let (local, peer) = ("192.0.2.10:5432", "203.0.113.5:40000");
    let enforced = live(Mode::Enforce, "*:5432", &[]);
    assert!(refuses(&judge(&enforced), &listeners, local, peer), "the control");
    let watched = judge(&live(Mode::Monitor, "*:5432", &[]));
    assert!(!refuses(&watched, &listeners, local, peer));
    assert_eq!(watched.ports(), [5433].into());
    let mut unknown = enforced.clone();
    unknown.databases.get_mut(&ORDERS).unwrap().stamp = None;
    assert!(!refuses(&judge(&unknown), &listeners, local, peer));
    unknown.databases.clear();
    assert!(!refuses(&judge(&unknown), &listeners, local, peer));
}

#[test]
fn exact_destination_decides_before_the_wildcard() {
    let mut live = live(Mode::Enforce, "192.0.2.10:5433", &["198.51.100.0/24"]);
    let (listeners, peer) = (everywhere(&[5433]), "198.51.100.20:40000");
    assert!(!refuses(&judge(&live), &listeners, "192.0.2.10:5433", peer));
    assert!(refuses(&judge(&live), &listeners, "192.0.2.11:5433", peer));
    // An endpoint of UDP is none of TCP.
    let udp: Destination = "192.0.2.11:5434/udp".parse().unwrap();
    live.table.endpoints.insert(udp, TableEntry::Tombstone);
    assert!(!refuses(&judge(&live), &everywhere(&[5434]), "192.0.2.11:5434", peer));
}

#[test]
fn destination_that_waits_for_the_store_refuses_no_session() {
    let live = live(Mode::Enforce, "*:5432", &[]);
    let (listeners, local, peer) = (everywhere(&[5433]), "192.0.2.10:5433", "198.51.100.20:40000");
    assert!(refuses(&judge(&live), &listeners, local, peer), "the control");
    for withheld in ["*:5433", "192.0.2.10:5433"] {
        let withheld = [withheld.parse().unwrap()].into();
        let judge = SessionJudge::new(&live, &Arc::default(), &withheld);
        assert!(!refuses(&judge, &listeners, local, peer), "{withheld:?}");
    }
}

#[test]
fn closed_destination_has_the_database_that_claimed_it() {
    let live = live(Mode::Enforce, "*:5432", &[]);
    let mut claims = ClaimedDestinations::default();
    claims.insert("*:5433".parse().unwrap(), Some("gone".parse().unwrap()));
    // A guarded port needs no tombstone. An unprotected one is open again.
    for claim in ["192.0.2.10:5434", "192.0.2.10:8080"] {
        claims.insert(claim.parse().unwrap(), Some("gone".parse().unwrap()));
    }
    let judge = SessionJudge::new(&live, &Arc::new(claims), &BTreeSet::new());
    let listeners = everywhere(&[5433, 5434, 8080]);
    let by = |local| {
        let by = judge.refusal(&session(local, "198.51.100.20:40000"), &listeners)?;
        Some(by.database?.to_string())
    };
    let found = ["192.0.2.10:5433", "192.0.2.10:5434", "192.0.2.11:5434", "192.0.2.10:8080"].map(by);
    assert_eq!(found, [Some("gone".to_owned()), Some("gone".to_owned()), None, None]);
    assert_eq!(judge.ports(), [5432, 5433, 5434].into());
}

#[test]
fn session_without_its_listener_stays() {
    let judge = judge(&live(Mode::Enforce, "*:5432", &[]));
    let v4 = ["192.0.2.10:5432", "203.0.113.5:40000"];
    let v6 = ["[2001:db8:2::10]:5432", "[2001:db8:7::20]:40000"];
    let mapped = ["[::ffff:192.0.2.10]:5432", "[::ffff:203.0.113.5]:40000"];
    for (listener, v6_only, accepted) in [
        ("192.0.2.10:5432", false, [true, false, false]),
        ("192.0.2.11:5432", false, [false; 3]),
        ("0.0.0.0:5432", false, [true, false, false]),
        ("0.0.0.0:5433", false, [false; 3]),
        ("[::]:5432", false, [false, true, true]),
        ("[::]:5432", true, [false, true, false]),
        ("[2001:db8:2::10]:5432", true, [false, true, false]),
        ("[::ffff:192.0.2.10]:5432", false, [false, false, true]),
    ] {
        let mut listeners = Listeners::default();
        listeners.add(address(listener), v6_only);
        let found = [v4, v6, mapped].map(|[local, peer]| refuses(&judge, &listeners, local, peer));
        assert_eq!(found, accepted, "{listener} {v6_only}");
    }
    assert!(!refuses(&judge, &Listeners::default(), v4[0], v4[1]));
}

/// A session at a claimed destination is refused if and only if its packets are.
#[test]
fn sessions_and_packets_meet_the_same_verdict() {
    let (mut rng, mut plane) = (Rng::with_seed(17), FakeDataPlane::default());
    let (mut refused, mut passing) = (0, 0);
    for round in 1..=500 {
        let desired = random(&mut rng, round);
        assert!(run(&desired, &mut plane), "round {round}");
        let judge = SessionJudge::new(&plane.live, &desired.closed, &BTreeSet::new());
        let listeners = everywhere(&PORTS);
        for to in ADDRESSES.iter().flat_map(|address| PORTS.map(|port| destination(*address, port))) {
            let Some(address) = to.address else { continue };
            for source in SOURCES.map(|source| source.parse::<IpAddr>().unwrap()) {
                if source.is_ipv4() != address.is_ipv4() {
                    continue;
                }
                let session = Session {
                    local: SocketAddr::new(address, to.port),
                    peer: SocketAddr::new(source, 40_000),
                };
                let endpoints = &plane.live.table.endpoints;
                let is_claimed = [to, to.everywhere()].iter().any(|to| {
                    let is_guarded = plane.live.guarded.contains(to.port);
                    endpoints.contains_key(to) || is_guarded && desired.closed.contains(to)
                });
                let expected = is_claimed && !passes(&plane.live, source, &to);
                let found = judge.refusal(&session, &listeners).is_some();
                assert_eq!(found, expected, "round {round}: {source} → {to}");
                *(if found { &mut refused } else { &mut passing }) += 1;
            }
        }
        plane = plane.recovered();
    }
    assert!(refused > 1_000 && passing > 1_000, "{refused} refused, {passing} not");
}

#[test]
fn publish_revokes_if_a_list_loses_a_prefix_or_the_table_changes() {
    let (mut plane, mut live) = (FakeDataPlane::default(), Live::default());
    let to = destination(ADDRESSES[0], PORTS[0]);
    let base = DesiredDatabase { mode: Mode::Enforce, ..database(&mut Rng::with_seed(5), 1, vec![to]) };
    let mut revokes = |revision, mode, sources: &[&str]| {
        let mut wanted = DesiredDatabase { revision, mode, set: RuleSet::default(), ..base.clone() };
        let key = CounterKey::Rule("r".parse().unwrap());
        wanted.counters.insert(key.clone(), (CounterKind::Custom, String::new()));
        for source in sources {
            wanted.set.prefixes.v4.insert(source.parse().unwrap(), key.clone());
        }
        let databases = BTreeMap::from([("a".parse().unwrap(), wanted.into())]);
        let desired = Desired { databases, monitor: true, ..Desired::default() };
        publish(&desired, &mut live, &mut plane, Timestamp::UNIX_EPOCH).revoked
    };
    let (one, two) = ("192.0.2.1/32", "192.0.2.2/32");
    assert!(revokes(1, Mode::Enforce, &[one]), "the port was open before");
    assert!(!revokes(1, Mode::Enforce, &[one]));
    assert!(!revokes(2, Mode::Enforce, &[one, two]));
    assert!(!revokes(3, Mode::Enforce, &[one, two]), "only the revision");
    assert!(revokes(4, Mode::Enforce, &[two]));
    assert!(revokes(5, Mode::Enforce, &[]));
    revokes(6, Mode::Monitor, &[]);
    assert!(revokes(7, Mode::Enforce, &[]));
}
