use firewall_common::{
    ADDRESS_INDEX, ANY_FAMILY, ENFORCE, EVERY_ENDPOINT, Endpoint, EndpointKey, MONITOR, NO_RULE, Reason,
    TOMBSTONE, fast_path,
    packet::{Flow, Shape},
};

use super::*;
use crate::fake_maps::{FakeCaches, FakeMaps, empty_caches, flow, key};

const CLIENT: u32 = 7;
const STRANGER: u32 = 8;
const SERVER: u32 = 70;
const PORT: u16 = 5432;
const SLOT: u32 = 3;
/// The default counter of the database, and the counter of its rule.
const DEFAULT: u32 = 20;
const RULE: u32 = 21;

fn database(mode: u32) -> Endpoint {
    Endpoint { slot: SLOT, mode, default_counter: DEFAULT }
}

/// One database at [`SERVER`], which allows [`CLIENT`].
fn maps(mode: u32) -> FakeMaps {
    let mut maps = FakeMaps::with_endpoint(&flow(CLIENT, SERVER, PORT), database(mode));
    maps.allowed.insert((SLOT, CLIENT), RULE);
    maps
}

fn decided(reason: Reason, rule: u32) -> Decision {
    Decision::new(reason, rule)
}

fn uncached(maps: &FakeMaps, shape: Shape, flow: &Flow) -> Decision {
    decide(shape, flow, maps, None::<&mut FakeCaches>, || true)
}

#[test]
fn the_allow_list_and_the_mode_decide_about_a_claimed_port() {
    let from = |source| flow(source, SERVER, PORT);
    for (mode, allowed, refused) in [
        (ENFORCE, decided(Reason::Allowed, RULE), decided(Reason::NoMatch, DEFAULT)),
        (MONITOR, decided(Reason::Allowed, RULE), decided(Reason::WouldDeny, DEFAULT)),
        (TOMBSTONE, decided(Reason::Closed, NO_RULE), decided(Reason::Closed, NO_RULE)),
    ] {
        let maps = maps(mode);
        assert_eq!(uncached(&maps, Shape::Port, &from(CLIENT)), allowed, "mode {mode}");
        assert_eq!(uncached(&maps, Shape::Port, &from(STRANGER)), refused, "mode {mode}");
    }
    // Control: the list of another database.
    let mut maps = maps(ENFORCE);
    maps.allowed = [((SLOT + 1, CLIENT), RULE)].into();
    assert_eq!(uncached(&maps, Shape::Port, &from(CLIENT)).reason(), Reason::NoMatch);
}

#[test]
fn only_marked_ports_are_looked_up() {
    let mut maps = maps(ENFORCE);
    let packet = flow(STRANGER, SERVER, PORT);
    maps.port(&packet).claimed = 0;
    assert_eq!(uncached(&maps, Shape::Port, &packet).reason(), Reason::NotProtected);
    assert_eq!(maps.rows.get(), 0);
    maps.port(&packet).guarded = 1 << (PORT % 64);
    assert_eq!(uncached(&maps, Shape::Port, &packet).reason(), Reason::Closed);
    assert_eq!(
        uncached(&maps, Shape::Port, &flow(STRANGER, SERVER, PORT + 1)).reason(),
        Reason::NotProtected
    );
    // Control: the mark of the port leads to the row.
    maps.port(&packet).claimed = 1 << (PORT % 64);
    assert_eq!(uncached(&maps, Shape::Port, &packet).reason(), Reason::NoMatch);
    assert_eq!(maps.rows.get(), 1);
}

#[test]
fn flags_decide_where_a_guard_is_against_new_connections_only() {
    let mut maps = maps(TOMBSTONE);
    let (tombstone, elsewhere) = (flow(STRANGER, SERVER, PORT), flow(STRANGER, SERVER + 1, PORT));
    let datagram = Flow { protocol: 17, ..elsewhere };
    let judged = |maps: &FakeMaps, flow: &Flow, opens: Option<bool>| {
        let can_open = || opens.expect("the flags are read where nothing depends on them");
        decide(Shape::Port, flow, maps, None::<&mut FakeCaches>, can_open).reason()
    };
    maps.port(&tombstone).guarded = 1 << (PORT % 64);
    assert_eq!(judged(&maps, &elsewhere, None), Reason::Closed, "guarded against every packet");
    maps.new_connections.insert(u32::from(PORT) / 64, !(1 << (PORT % 64)));
    assert_eq!(judged(&maps, &elsewhere, None), Reason::Closed, "the kind of other ports");
    maps.new_connections.insert(u32::from(PORT) / 64, 1 << (PORT % 64));
    assert_eq!(judged(&maps, &elsewhere, Some(true)), Reason::Closed);
    assert_eq!(judged(&maps, &elsewhere, Some(false)), Reason::NotProtected);
    assert_eq!(judged(&maps, &datagram, None), Reason::Closed);
    assert_eq!(judged(&maps, &tombstone, None), Reason::Closed);
    maps.port(&tombstone).guarded = 0;
    assert_eq!(judged(&maps, &elsewhere, None), Reason::NotProtected, "control: without a guard");
}

#[test]
fn a_wildcard_row_applies_where_the_address_has_none() {
    let mut maps = maps(ENFORCE);
    let wildcard = EndpointKey { address: [0; 4], family: ANY_FAMILY, ..key(&flow(0, 0, PORT)) };
    maps.row(wildcard, Endpoint { slot: SLOT + 1, mode: ENFORCE, default_counter: DEFAULT + 10 });
    let at = |server| uncached(&maps, Shape::Port, &flow(STRANGER, server, PORT)).rule();
    assert_eq!(at(SERVER + 1), DEFAULT + 10);
    // Control: the address's own row goes first.
    assert_eq!(at(SERVER), DEFAULT);
}

#[test]
fn shapes_without_a_port_have_their_reasons() {
    let (mut maps, packet) = (maps(ENFORCE), flow(CLIENT, SERVER, 0));
    for (shape, reason) in [
        (Shape::NotIp, Reason::NotIp),
        (Shape::VlanDepth, Reason::VlanDepth),
        (Shape::Malformed, Reason::Malformed),
        (Shape::OtherProtocol, Reason::NotProtected),
        // Without a row of the address index the address is not protected.
        (Shape::Truncated, Reason::NotProtected),
        (Shape::NoPort, Reason::NotProtected),
        (Shape::LaterFragment, Reason::NotProtected),
        (Shape::Unreadable, Reason::NotProtected),
    ] {
        assert_eq!(uncached(&maps, shape, &packet), decided(reason, NO_RULE), "{shape:?}");
    }
    // Control: with one it is.
    let member = |row| EndpointKey { port: row, protocol: ADDRESS_INDEX, ..key(&packet) };
    maps.row(member(0), database(ENFORCE));
    let other = Endpoint { slot: SLOT + 1, mode: ENFORCE, default_counter: DEFAULT + 10 };
    maps.row(member(1), other);
    for (shape, expected) in [
        (Shape::Truncated, decided(Reason::Malformed, NO_RULE)),
        (Shape::NoPort, decided(Reason::NoPort, NO_RULE)),
        // One of the two databases allows the client.
        (Shape::LaterFragment, decided(Reason::Allowed, RULE)),
        (Shape::Unreadable, decided(Reason::NoPort, DEFAULT + 10)),
    ] {
        assert_eq!(uncached(&maps, shape, &packet), expected, "{shape:?}");
    }
    let stranger = flow(STRANGER, SERVER, 0);
    assert_eq!(uncached(&maps, Shape::LaterFragment, &stranger).reason(), Reason::Fragment);
}

#[test]
fn a_blocked_source_is_refused_before_any_rule() {
    const BLOCK: u32 = 77;
    let member = |row| EndpointKey { port: row, protocol: ADDRESS_INDEX, ..key(&flow(0, SERVER, 0)) };
    for (mode, scope, is_blocked) in [
        (ENFORCE, EVERY_ENDPOINT, true),
        (MONITOR, EVERY_ENDPOINT, true),
        (ENFORCE, SLOT, true),
        // Controls: a tombstone is closed to everyone, and a block at another database concerns only that one.
        (TOMBSTONE, EVERY_ENDPOINT, false),
        (ENFORCE, SLOT + 1, false),
    ] {
        let mut maps = maps(mode);
        maps.row(member(0), database(mode));
        let before = uncached(&maps, Shape::Port, &flow(CLIENT, SERVER, PORT));
        maps.blocked.insert((scope, CLIENT), BLOCK);
        let expected = if is_blocked { decided(Reason::Blocked, BLOCK) } else { before };
        let packet = flow(CLIENT, SERVER, PORT);
        assert_eq!(uncached(&maps, Shape::Port, &packet), expected, "mode {mode}, scope {scope}");
        let mut caches = empty_caches();
        for _ in 0..2 {
            assert_eq!(decide(Shape::Port, &packet, &maps, Some(&mut caches), || true), expected);
        }
        if mode != TOMBSTONE {
            for shape in [Shape::LaterFragment, Shape::Unreadable] {
                let expected = if is_blocked { expected.reason() } else { Reason::Allowed };
                assert_eq!(uncached(&maps, shape, &packet).reason(), expected, "{shape:?}");
            }
        }
    }
}

#[test]
fn a_later_fragment_passes_where_one_database_allows_and_does_not_block_the_source() {
    let mut maps = maps(ENFORCE);
    let member = |row| EndpointKey { port: row, protocol: ADDRESS_INDEX, ..key(&flow(0, SERVER, 0)) };
    maps.row(member(0), database(ENFORCE));
    maps.row(member(1), Endpoint { slot: SLOT + 1, mode: ENFORCE, default_counter: DEFAULT + 10 });
    maps.allowed.insert((SLOT + 1, CLIENT), RULE + 1);
    maps.blocked.insert((SLOT, CLIENT), 77);
    let packet = flow(CLIENT, SERVER, 0);
    assert_eq!(uncached(&maps, Shape::LaterFragment, &packet), decided(Reason::Allowed, RULE + 1));
    assert_eq!(uncached(&maps, Shape::Unreadable, &packet).reason(), Reason::Blocked);
    // Control: blocked at both.
    maps.blocked.insert((EVERY_ENDPOINT, CLIENT), 78);
    assert_eq!(uncached(&maps, Shape::LaterFragment, &packet), decided(Reason::Blocked, 78));
}

/// A flood from a blocked network has ever new sources.
#[test]
fn a_blocked_source_evicts_no_valid_entry() {
    let (mut maps, mut caches) = (maps(ENFORCE), empty_caches());
    for source in 0x100..0x8000 {
        maps.blocked.insert((EVERY_ENDPOINT, source), 77);
    }
    decide(Shape::Port, &flow(CLIENT, SERVER, PORT), &maps, Some(&mut caches), || true);
    let is_cached = |caches: &FakeCaches| caches.verdicts.iter().any(|entry| entry.flow.source[0] == CLIENT);
    for source in 0x100..0x8000 {
        decide(Shape::Port, &flow(source, SERVER, PORT), &maps, Some(&mut caches), || true);
    }
    assert!(is_cached(&caches));
    // Control: sources that take a lookup in the trie do.
    maps.blocked.clear();
    maps.false_positives = (0x100..0x8000).collect();
    for source in 0x100..0x8000 {
        decide(Shape::Port, &flow(source, SERVER, PORT), &maps, Some(&mut caches), || true);
    }
    assert!(!is_cached(&caches));
}

/// With a block list, each look at it costs a lookup: refused sources take the entries of each other.
#[test]
fn a_refused_source_is_cached_in_a_flood_beside_a_block_list() {
    for (is_listed, is_cached) in [(true, true), (false, false)] {
        let (mut maps, mut caches) = (maps(ENFORCE), empty_caches());
        if is_listed {
            maps.blocked.insert((EVERY_ENDPOINT, 0x99), 77);
        }
        for source in (0x100..0x8000).chain([STRANGER]) {
            decide(Shape::Port, &flow(source, SERVER, PORT), &maps, Some(&mut caches), || true);
        }
        let has_it = caches.verdicts.iter().any(|entry| entry.flow.source[0] == STRANGER);
        assert_eq!(has_it, is_cached, "listed: {is_listed}");
    }
}

#[test]
fn caches_change_no_verdict_and_save_lookups() {
    for mode in [ENFORCE, MONITOR, TOMBSTONE] {
        let (maps, mut caches) = (maps(mode), empty_caches());
        for source in [CLIENT, STRANGER] {
            let packet = flow(source, SERVER, PORT);
            let expected = uncached(&maps, Shape::Port, &packet);
            assert_eq!(
                decide(Shape::Port, &packet, &maps, Some(&mut caches), || true),
                expected,
                "mode {mode}: first"
            );
            let lookups = (maps.rows.get(), maps.searches.get());
            assert_eq!(
                decide(Shape::Port, &packet, &maps, Some(&mut caches), || true),
                expected,
                "mode {mode}: again"
            );
            assert_eq!((maps.rows.get(), maps.searches.get()), lookups, "mode {mode}: from the cache");
        }
        // Control: without caches each packet takes a lookup.
        let before = maps.rows.get();
        uncached(&maps, Shape::Port, &flow(CLIENT, SERVER, PORT));
        assert_eq!(maps.rows.get(), before + 1);
    }
}

/// A later fragment between the addresses of a flow: without port and protocol.
fn fragment(source: u32) -> Flow {
    Flow { port: 0, protocol: 0, ..flow(source, SERVER, 0) }
}

#[test]
fn the_cache_changes_no_verdict_about_a_later_fragment() {
    for (mode, refused) in [(ENFORCE, Reason::Fragment), (MONITOR, Reason::WouldDeny)] {
        let (mut maps, mut caches) = (maps(mode), empty_caches());
        maps.row(EndpointKey { port: 0, protocol: ADDRESS_INDEX, ..key(&fragment(0)) }, database(mode));
        for (source, reason) in [(CLIENT, Reason::Allowed), (STRANGER, refused)] {
            let mut judge = |maps: &FakeMaps, flow: &Flow, shape| {
                let lookups = maps.rows.get();
                let decision = decide(shape, flow, maps, Some(&mut caches), || true);
                (decision, maps.rows.get() - lookups)
            };
            let expected = uncached(&maps, Shape::LaterFragment, &fragment(source));
            assert_eq!(expected.reason(), reason);
            assert_eq!(judge(&maps, &fragment(source), Shape::LaterFragment).0, expected, "first");
            assert_eq!(
                judge(&maps, &fragment(source), Shape::LaterFragment),
                (expected, 0),
                "from the cache"
            );
            // A packet with a port between the same addresses, and an unreadable one, have a verdict of their own.
            let (with_port, lookups) = judge(&maps, &flow(source, SERVER, PORT), Shape::Port);
            assert_eq!(with_port, uncached(&maps, Shape::Port, &flow(source, SERVER, PORT)));
            assert_ne!(lookups, 0);
            assert_ne!(judge(&maps, &fragment(source), Shape::Unreadable).1, 0);
            // Control: a new generation.
            maps.generation += 2;
            assert_ne!(judge(&maps, &fragment(source), Shape::LaterFragment).1, 0);
        }
    }
}

/// A flood of fragments from ever new sources takes empty entries only; addresses without a database take none.
#[test]
fn a_refused_later_fragment_evicts_no_valid_entry() {
    let (mut maps, mut caches) = (maps(ENFORCE), empty_caches());
    let is_cached = |caches: &FakeCaches| caches.verdicts.iter().any(|entry| entry.flow.source[0] == CLIENT);
    let flood = |maps: &FakeMaps, caches: &mut FakeCaches| {
        for source in 0x100..0x8000 {
            decide(Shape::LaterFragment, &fragment(source), maps, Some(caches), || true);
        }
    };
    flood(&maps, &mut caches);
    assert!(caches.verdicts.iter().all(|entry| entry.generation == 0), "no database");
    maps.row(EndpointKey { port: 0, protocol: ADDRESS_INDEX, ..key(&fragment(0)) }, database(ENFORCE));
    decide(Shape::Port, &flow(CLIENT, SERVER, PORT), &maps, Some(&mut caches), || true);
    flood(&maps, &mut caches);
    assert!(is_cached(&caches));
    // Control: admitted fragments do.
    maps.allowed.extend((0x100..0x8000).map(|source| ((SLOT, source), RULE)));
    flood(&maps, &mut caches);
    assert!(!is_cached(&caches));
}

#[test]
fn new_generation_invalidates_every_cached_verdict() {
    let (mut maps, mut caches) = (maps(ENFORCE), empty_caches());
    let packet = flow(CLIENT, SERVER, PORT);
    assert_eq!(decide(Shape::Port, &packet, &maps, Some(&mut caches), || true).reason(), Reason::Allowed);
    maps.allowed.clear();
    // Control: within the generation the old verdict stays.
    assert_eq!(decide(Shape::Port, &packet, &maps, Some(&mut caches), || true).reason(), Reason::Allowed);
    maps.generation += 2;
    assert_eq!(decide(Shape::Port, &packet, &maps, Some(&mut caches), || true).reason(), Reason::NoMatch);
}

#[test]
fn during_a_publish_nothing_is_read_from_or_written_to_the_caches() {
    let (mut maps, mut caches) = (maps(ENFORCE), empty_caches());
    let packet = flow(CLIENT, SERVER, PORT);
    maps.generation += 1;
    decide(Shape::Port, &packet, &maps, Some(&mut caches), || true);
    let filled = |caches: &FakeCaches| {
        let verdicts = caches.verdicts.iter().filter(|entry| entry.generation != 0).count();
        (verdicts, caches.endpoints.iter().filter(|entry| entry.generation != 0).count())
    };
    assert_eq!(filled(&caches), (0, 0));
    // Control: after the publish they are filled, each only when its acceleration is on.
    maps.generation += 1;
    for (off, expected) in [(fast_path::ALL, (0, 0)), (fast_path::VERDICTS, (0, 1)), (0, (1, 1))] {
        maps.off = off;
        decide(Shape::Port, &packet, &maps, Some(&mut caches), || true);
        assert_eq!(filled(&caches), expected, "off: {off}");
    }
}

#[test]
fn a_refusal_without_a_trie_lookup_evicts_no_valid_entry() {
    let mut maps = maps(ENFORCE);
    // The index that the hash of a flow gives: the only entry that its verdict fills.
    let entry_of = |maps: &FakeMaps, source: u32| {
        let mut probed = empty_caches();
        decide(Shape::Port, &flow(source, SERVER, PORT), maps, Some(&mut probed), || true);
        probed.verdicts.iter().position(|entry| entry.generation != 0).unwrap()
    };
    let own = entry_of(&maps, CLIENT);
    let collides = |source: &u32| *source != CLIENT && entry_of(&maps, *source) == own;
    let stranger = (0x100..).find(collides).unwrap();
    let mut caches = empty_caches();
    for source in [CLIENT, stranger] {
        decide(Shape::Port, &flow(source, SERVER, PORT), &maps, Some(&mut caches), || true);
    }
    assert_eq!(caches.verdicts[own].flow.source[0], CLIENT, "the stranger was refused by the prefilter");
    // Control: a refusal by the trie takes the entry.
    maps.false_positives.push(stranger);
    decide(Shape::Port, &flow(stranger, SERVER, PORT), &maps, Some(&mut caches), || true);
    assert_eq!(caches.verdicts[own].flow.source[0], stranger);
}
