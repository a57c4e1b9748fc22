use std::cell::{Cell, UnsafeCell};
use std::collections::BTreeMap;

use bytemuck::Zeroable as _;
use firewall_common::{
    ADDRESS_INDEX, ENFORCE, EVERY_DATABASE, Endpoint, EndpointKey, MONITOR, NO_RULE, packet::Shape,
};

use super::*;
use crate::fake_maps::{FakeCaches, FakeMaps, GENERATION, empty_caches, flow, key};

/// The allowed source, with its rule counter, and a stranger.
const FRIEND: u32 = 1;
const STRANGER: u32 = 2;
const RULE: u32 = 40;
/// The endpoint's address, and an address that no file claims.
const ADDRESS: u32 = 10;
const TRANSLATED: u32 = 11;
const PORT: u16 = 5432;
/// A port without a mark, in another word.
const OTHER: u16 = 9000;
const DATABASE: Endpoint = Endpoint { slot: 3, mode: ENFORCE, default_counter: 7 };
const CLOSED: Endpoint = Endpoint { slot: 0, mode: TOMBSTONE, default_counter: NO_RULE };

struct FakeSocket {
    state: SocketState,
    port: u16,
    mark: UnsafeCell<SocketMark>,
    /// The kernel has memory for the mark.
    has_memory: bool,
    listens: bool,
    is_local: bool,
    lookups: Cell<u32>,
}

impl Socket<'static> for FakeSocket {
    fn state(&self) -> SocketState {
        self.state
    }

    fn port(&self) -> u16 {
        self.port.to_be()
    }

    fn mark(&self) -> Option<&'static mut SocketMark> {
        // SAFETY: the decision asks once for each packet, and the test reads the mark after it.
        self.has_memory.then(|| unsafe { &mut *self.mark.get() })
    }

    fn stored_mark(&self) -> Option<&'static SocketMark> {
        self.mark().map(|mark| &*mark)
    }

    fn may_be_local(&self) -> bool {
        self.is_local
    }

    fn is_local(&self, _: &Flow) -> bool {
        self.is_local
    }

    fn has_listener(&self, _: &Flow) -> bool {
        self.lookups.set(self.lookups.get() + 1);
        self.listens
    }
}

impl FakeSocket {
    fn new(state: SocketState) -> Self {
        let mark = UnsafeCell::new(SocketMark::zeroed());
        Self {
            state,
            port: PORT,
            mark,
            has_memory: true,
            listens: false,
            is_local: false,
            lookups: Cell::new(0),
        }
    }

    fn session(role: u32) -> Self {
        let session = Self::new(SocketState::Session);
        session.change(|mark| mark.role = role);
        session
    }

    fn change(&self, change: impl FnOnce(&mut SocketMark)) {
        change(self.mark().unwrap());
    }

    fn role(&self) -> u32 {
        self.mark().unwrap().role
    }
}

/// The verdicts over maps in memory, without caches.
struct FakeVerdicts<'a>(&'a FakeMaps);

impl Verdicts for FakeVerdicts<'_> {
    fn by_port(&self, flow: &Flow, mark: Option<&mut SocketMark>) -> Decision {
        by_port(flow, self.0, Some(&mut empty_caches()), mark)
    }

    fn by_own_port(&self, flow: &Flow, mark: Option<&mut SocketMark>) -> Decision {
        by_own_port(flow, self.0, Some(&mut empty_caches()), mark)
    }
}

/// A host with one database at (ADDRESS, PORT), in this mode, and PORT guarded.
fn host(mode: u32) -> FakeMaps {
    let database = Endpoint { mode, ..DATABASE };
    let mut maps = FakeMaps::with_endpoint(&flow(0, ADDRESS, PORT), database);
    let bit = 1 << (PORT % 64);
    *maps.port(&flow(0, 0, PORT)) = PortWord { claimed: bit, guarded: bit };
    maps.allowed.insert((DATABASE.slot, FRIEND), RULE);
    maps.row(EVERY_DATABASE, database);
    maps
}

/// The kind of a guard is for interfaces: a session that a listener accepted is judged at its socket.
#[test]
fn a_guard_against_new_connections_only_is_one_against_every_packet_at_a_socket() {
    let mut maps = host(ENFORCE);
    maps.new_connections.insert(u32::from(PORT) / 64, u64::MAX);
    for (source, reason) in [(STRANGER, Reason::Closed), (FRIEND, Reason::Allowed)] {
        for socket in [FakeSocket::new(SocketState::Listener), FakeSocket::session(ACCEPTED)] {
            assert_eq!(judged(&maps, flow(source, TRANSLATED, PORT), &socket), reason);
        }
    }
    // Control: the host's own connection is left alone.
    let own = FakeSocket::session(OUTGOING);
    assert_eq!(judged(&maps, flow(STRANGER, TRANSLATED, PORT), &own), Reason::NotProtected);
}

fn decided(maps: &FakeMaps, flow: Flow, socket: &FakeSocket) -> Decision {
    let mut judged = flow;
    let decision = decide_at_socket(Shape::Port, &mut judged, socket, maps, &FakeVerdicts(maps));
    assert_eq!(judged, flow, "the flow stays as it is");
    decision
}

fn judged(maps: &FakeMaps, flow: Flow, socket: &FakeSocket) -> Reason {
    decided(maps, flow, socket).reason()
}

/// A packet to the endpoint.
fn claimed(source: u32) -> Flow {
    flow(source, ADDRESS, PORT)
}

/// A packet to the guarded port at an address that no file claims.
fn translated(source: u32) -> Flow {
    flow(source, TRANSLATED, PORT)
}

fn listener() -> FakeSocket {
    FakeSocket::new(SocketState::Listener)
}

#[test]
fn endpoint_decides_as_on_an_interface() {
    let maps = host(ENFORCE);
    let allowed = Decision::new(Reason::Allowed, RULE);
    assert_eq!(decided(&maps, claimed(FRIEND), &listener()), allowed);
    let refused = Decision::new(Reason::NoMatch, DATABASE.default_counter);
    assert_eq!(decided(&maps, claimed(STRANGER), &listener()), refused);
    assert_eq!(judged(&host(MONITOR), claimed(STRANGER), &listener()), Reason::WouldDeny);
    let mut maps = host(ENFORCE);
    maps.row(key(&claimed(0)), CLOSED);
    assert_eq!(judged(&maps, claimed(FRIEND), &listener()), Reason::Closed);
    assert_eq!(
        judged(&maps, flow(STRANGER, ADDRESS, OTHER), &FakeSocket { port: OTHER, ..listener() }),
        LEFT_ALONE.reason()
    );
}

#[test]
fn every_database_decides_where_no_file_claims_the_destination() {
    let maps = host(ENFORCE);
    let allowed = Decision::new(Reason::Allowed, RULE);
    assert_eq!(decided(&maps, translated(FRIEND), &listener()), allowed);
    assert_eq!(decided(&maps, translated(STRANGER), &listener()), Decision::without_rule(Reason::Closed));
    let monitored = Decision::new(Reason::WouldDeny, DATABASE.default_counter);
    assert_eq!(decided(&host(MONITOR), translated(STRANGER), &listener()), monitored);
    // Without a database everything is closed.
    let mut maps = host(ENFORCE);
    maps.table = Some(BTreeMap::new());
    assert_eq!(judged(&maps, translated(FRIEND), &listener()), Reason::Closed);
    maps.table = None;
    assert_eq!(judged(&maps, translated(FRIEND), &listener()), Reason::Closed);
    // A port that is not guarded is judged only at its endpoints.
    let mut maps = host(ENFORCE);
    maps.port(&claimed(0)).guarded = 0;
    assert_eq!(judged(&maps, translated(STRANGER), &listener()), Reason::NotProtected);
    assert_eq!(judged(&maps, claimed(STRANGER), &listener()), Reason::NoMatch);
}

#[test]
fn sessions_of_a_listener_are_judged_and_the_hosts_own_are_not() {
    let (maps, listener) = (host(ENFORCE), listener());
    judged(&maps, claimed(FRIEND), &listener);
    assert_eq!(listener.role(), ACCEPTED);
    assert_eq!(judged(&maps, claimed(STRANGER), &FakeSocket::session(ACCEPTED)), Reason::NoMatch);
    let opening = FakeSocket::new(SocketState::Opening);
    assert_eq!(judged(&maps, claimed(STRANGER), &opening), Reason::NotProtected);
    assert_eq!(opening.role(), OUTGOING);
    assert_eq!(judged(&maps, claimed(STRANGER), &FakeSocket::session(OUTGOING)), Reason::NotProtected);
    // At an unprotected port nothing is marked.
    let opening = FakeSocket { port: OTHER, ..FakeSocket::new(SocketState::Opening) };
    assert_eq!(judged(&maps, flow(STRANGER, ADDRESS, OTHER), &opening), Reason::NotProtected);
    assert_eq!(opening.role(), UNMARKED);
}

#[test]
fn session_older_than_the_filter_is_judged_at_an_endpoint_or_behind_a_listener() {
    let maps = host(ENFORCE);
    for (packet, listens, reason, role) in [
        (claimed(STRANGER), false, Reason::NoMatch, ACCEPTED),
        (claimed(STRANGER), true, Reason::NoMatch, ACCEPTED),
        (translated(STRANGER), false, Reason::NotProtected, PRESUMED_OUTGOING),
        (translated(STRANGER), true, Reason::Closed, ACCEPTED),
    ] {
        let old = FakeSocket { listens, ..FakeSocket::session(UNMARKED) };
        for _ in 0..2 {
            assert_eq!((judged(&maps, packet, &old), old.role()), (reason, role), "{packet:?} {listens}");
        }
        assert!(old.lookups.get() <= 1, "the mark stays");
        // Without memory for the mark the kernel is asked for each packet.
        let unmarked = FakeSocket { listens, has_memory: false, ..FakeSocket::session(UNMARKED) };
        assert_eq!(judged(&maps, packet, &unmarked), reason, "{packet:?} {listens}");
    }
    // A tombstone is no endpoint.
    let mut maps = host(ENFORCE);
    maps.row(key(&claimed(0)), CLOSED);
    let old = FakeSocket::session(UNMARKED);
    assert_eq!(judged(&maps, claimed(STRANGER), &old), Reason::NotProtected);
    // A presumption ends with an endpoint there, and a certainty does not.
    let maps = host(ENFORCE);
    assert_eq!(judged(&maps, claimed(STRANGER), &old), Reason::NoMatch);
    assert_eq!(judged(&maps, claimed(STRANGER), &FakeSocket::session(OUTGOING)), Reason::NotProtected);
}

/// It has no port by which an endpoint or a listener could be found.
#[test]
fn unreadable_packet_of_an_older_session_is_judged_and_marks_nothing() {
    let mut maps = host(ENFORCE);
    maps.row(EndpointKey { port: 0, protocol: ADDRESS_INDEX, ..key(&claimed(0)) }, DATABASE);
    let old = FakeSocket::session(UNMARKED);
    let mut unreadable = flow(STRANGER, ADDRESS, 0);
    let decision = decide_at_socket(Shape::Unreadable, &mut unreadable, &old, &maps, &FakeVerdicts(&maps));
    assert_eq!((decision.reason(), old.role()), (Reason::NoPort, UNMARKED));
    assert_eq!(judged(&maps, claimed(STRANGER), &old), Reason::NoMatch);
}

#[test]
fn connected_datagram_socket_is_judged_at_an_endpoint_only() {
    let maps = host(ENFORCE);
    let [one, any] = [SocketState::Connected, SocketState::Unconnected].map(FakeSocket::new);
    assert_eq!(judged(&maps, translated(STRANGER), &any), Reason::Closed);
    assert_eq!(judged(&maps, translated(STRANGER), &one), Reason::NotProtected);
    assert_eq!(judged(&maps, claimed(STRANGER), &one), Reason::NoMatch);
}

#[test]
fn packet_for_another_port_than_the_sockets_needs_both() {
    let other = || FakeSocket { port: OTHER, ..listener() };
    // A proxy from an unprotected port to the database's, and the other way round.
    let maps = host(ENFORCE);
    assert_eq!(judged(&maps, flow(STRANGER, ADDRESS, OTHER), &listener()), Reason::NoMatch);
    assert_eq!(judged(&maps, flow(FRIEND, ADDRESS, OTHER), &listener()), Reason::Allowed);
    assert_eq!(judged(&maps, claimed(STRANGER), &other()), Reason::NoMatch);
    assert_eq!(judged(&maps, claimed(FRIEND), &other()), Reason::Allowed);
    // Two databases, of which one allows the source.
    let mut maps = host(ENFORCE);
    maps.port(&flow(0, 0, OTHER)).claimed = u64::MAX;
    let second = Endpoint { slot: 4, mode: ENFORCE, default_counter: 8 };
    maps.row(EndpointKey { port: OTHER.to_be(), ..key(&claimed(0)) }, second);
    assert_eq!(judged(&maps, flow(FRIEND, ADDRESS, OTHER), &listener()), Reason::NoMatch);
    assert_eq!(judged(&maps, claimed(FRIEND), &other()), Reason::NoMatch);
    // In monitor mode the second admits the source and the first still refuses it.
    let monitored = Endpoint { mode: MONITOR, ..second };
    maps.row(EndpointKey { port: OTHER.to_be(), ..key(&claimed(0)) }, monitored);
    assert_eq!(judged(&maps, flow(STRANGER, ADDRESS, OTHER), &listener()), Reason::NoMatch);
    assert_eq!(judged(&maps, claimed(STRANGER), &other()), Reason::NoMatch);
    assert_eq!(judged(&maps, claimed(FRIEND), &other()), Reason::WouldDeny);
}

#[test]
fn session_asks_every_database_once_in_a_generation() {
    let (mut maps, session) = (host(ENFORCE), FakeSocket::session(ACCEPTED));
    let ask = |maps: &FakeMaps, expected| {
        let before = maps.searches.get();
        assert_eq!(judged(maps, translated(FRIEND), &session), expected);
        maps.searches.get() - before
    };
    assert_eq!([(); 3].map(|()| ask(&maps, Reason::Allowed)), [1, 0, 0]);
    maps.allowed.clear();
    maps.false_positives = vec![FRIEND];
    maps.generation = GENERATION + 2;
    assert_eq!([(); 2].map(|()| ask(&maps, Reason::Closed)), [1, 0], "a revoked rule counts at once");
    // During a publish nothing is stored.
    maps.generation = GENERATION + 3;
    assert_eq!([(); 2].map(|()| ask(&maps, Reason::Closed)), [1, 1]);
    // An answer that another CPU wrote between generation and check does not count.
    maps.generation = GENERATION + 4;
    ask(&maps, Reason::Closed);
    session.change(|mark| mark.answer = Reason::Allowed.answer(RULE));
    assert_eq!(ask(&maps, Reason::Closed), 1);
}

#[test]
fn session_is_admitted_from_an_allowed_packet_to_the_next_generation() {
    for packet in [claimed, translated] {
        let (mut maps, session) = (host(ENFORCE), FakeSocket::session(ACCEPTED));
        assert!(!is_admitted(&session, &maps), "before the first packet");
        judged(&maps, packet(FRIEND), &session);
        assert!(is_admitted(&session, &maps));
        for generation in [GENERATION + 1, GENERATION + 2] {
            maps.generation = generation;
            assert!(!is_admitted(&session, &maps), "generation {generation}");
        }
        // During a publish no session is admitted.
        maps.generation = GENERATION + 3;
        judged(&maps, packet(FRIEND), &session);
        assert!(!is_admitted(&session, &maps));
        maps.generation = GENERATION + 4;
        judged(&maps, packet(FRIEND), &session);
        assert!(is_admitted(&session, &maps), "control");
    }
}

#[test]
fn only_an_allowed_session_is_admitted() {
    let admits = |maps: &FakeMaps, packet: Flow, socket: FakeSocket| {
        judged(maps, packet, &socket);
        is_admitted(&socket, maps)
    };
    let session = || FakeSocket::session(ACCEPTED);
    let (enforcing, monitoring) = (host(ENFORCE), host(MONITOR));
    assert!(admits(&enforcing, claimed(FRIEND), session()), "control");
    assert!(!admits(&enforcing, claimed(STRANGER), session()));
    assert!(!admits(&monitoring, claimed(STRANGER), session()), "it is counted as would_deny");
    assert!(!admits(&enforcing, claimed(FRIEND), FakeSocket { is_local: true, ..session() }));
    assert!(!admits(&enforcing, claimed(STRANGER), FakeSocket::session(OUTGOING)));
    assert!(!admits(&enforcing, flow(FRIEND, ADDRESS, OTHER), FakeSocket { port: OTHER, ..session() }));
    // The verdict about the socket's own port depends on bits that change without a generation.
    assert!(!admits(&enforcing, claimed(FRIEND), FakeSocket { port: OTHER, ..session() }));
    for state in [SocketState::Listener, SocketState::Unconnected, SocketState::Connected] {
        assert!(!admits(&enforcing, claimed(FRIEND), FakeSocket::new(state)), "{state:?}");
    }
}

/// A server can disconnect an accepted session and listen on its socket: the sessions of that listener inherit its mark.
#[test]
fn socket_that_was_an_admitted_session_passes_nothing_on() {
    let maps = host(ENFORCE);
    for state in [SocketState::Listener, SocketState::Opening] {
        let mut socket = FakeSocket::session(ACCEPTED);
        judged(&maps, claimed(FRIEND), &socket);
        socket.state = state;
        judged(&maps, claimed(STRANGER), &socket);
        socket.state = SocketState::Session;
        assert!(!is_admitted(&socket, &maps), "{state:?}");
    }
}

#[test]
fn unreadable_chain_needs_every_database_at_the_address() {
    let mut maps = host(ENFORCE);
    let decide = |maps: &FakeMaps, mut packet: Flow| {
        let verdicts = FakeVerdicts(maps);
        decide_at_socket(Shape::Unreadable, &mut packet, &listener(), maps, &verdicts).reason()
    };
    assert_eq!(decide(&maps, claimed(STRANGER)), Reason::NotProtected, "nothing at the address");
    maps.row(EndpointKey { port: 0, protocol: ADDRESS_INDEX, ..key(&claimed(0)) }, DATABASE);
    assert_eq!(decide(&maps, claimed(FRIEND)), Reason::Allowed);
    assert_eq!(decide(&maps, claimed(STRANGER)), Reason::NoPort);
}

/// The probe program's question: a new connection, without caches.
#[test]
fn packet_without_a_socket_is_judged_as_at_a_listener() {
    let maps = host(ENFORCE);
    let ask = |shape, flow: Flow| decide_at_any_socket(shape, &flow, &maps, None::<&mut FakeCaches>).reason();
    assert_eq!(ask(Shape::Port, claimed(STRANGER)), Reason::NoMatch);
    assert_eq!(ask(Shape::Port, translated(FRIEND)), Reason::Allowed);
    assert_eq!(ask(Shape::Port, translated(STRANGER)), Reason::Closed);
    assert_eq!(ask(Shape::OtherProtocol, claimed(STRANGER)), Reason::NotProtected);
}

#[test]
fn packets_of_the_host_itself_are_left_alone() {
    let maps = host(ENFORCE);
    for flow in [claimed(STRANGER), translated(STRANGER)] {
        let local = FakeSocket { is_local: true, ..listener() };
        assert_eq!(judged(&maps, flow, &local), Reason::NotProtected);
        assert_ne!(judged(&maps, flow, &listener()), Reason::NotProtected);
    }
}
