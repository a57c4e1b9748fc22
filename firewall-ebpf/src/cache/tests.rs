use bytemuck::Zeroable as _;
use firewall_common::{ENFORCE, NO_RULE};

use super::*;
use crate::fake_maps::{GENERATION, flow};

const RULE: u32 = 0x00ab_cdef;

/// An IPv6 packet with different words everywhere.
fn v6() -> Flow {
    Flow { source: [1, 2, 3, 4], destination: [5, 6, 7, 8], family: IPV6, ..flow(0, 0, 5432) }
}

/// The packet, changed in one field at a time.
fn neighbours(packet: Flow) -> Vec<Flow> {
    let words = if packet.family == IPV6 { 4 } else { 1 };
    let mut others = Vec::new();
    for word in 0..words {
        let (mut source, mut destination) = (packet, packet);
        source.source[word] ^= 1 << 31;
        destination.destination[word] ^= 1 << 31;
        others.extend([source, destination]);
    }
    others.extend([Flow { port: packet.port ^ 1, ..packet }, Flow { protocol: 17, ..packet }]);
    others.push(Flow { family: packet.family ^ 2, ..packet });
    others
}

#[test]
fn entry_matches_only_its_flow_and_generation() {
    for packet in [flow(1, 2, 5432), v6()] {
        let mut entry = CachedVerdict::zeroed();
        assert_eq!(decision(&entry, &packet, GENERATION), None, "an empty entry");
        store(&mut entry, &packet, GENERATION, Decision::new(Reason::Allowed, RULE));
        for other in neighbours(packet) {
            assert_eq!(decision(&entry, &other, GENERATION), None, "{other:?}");
        }
        assert_eq!(decision(&entry, &packet, GENERATION + 2), None);
        assert_eq!([GENERATION + 2, GENERATION].map(|now| staleness(&entry, now)), [1, 0]);
        // Control: for its own flow it does.
        assert_eq!(decision(&entry, &packet, GENERATION), Some(Decision::new(Reason::Allowed, RULE)));
    }
}

#[test]
fn cached_reason_is_returned_with_its_rule() {
    let packet = flow(1, 2, 5432);
    for (reason, rule) in
        [(Reason::Allowed, RULE), (Reason::NoMatch, RULE), (Reason::WouldDeny, 1), (Reason::Closed, NO_RULE)]
    {
        let mut entry = CachedVerdict::zeroed();
        store(&mut entry, &packet, GENERATION, Decision::new(reason, rule));
        assert_eq!(decision(&entry, &packet, GENERATION), Some(Decision::new(reason, rule)));
    }
    // Control: a damaged number is a refusal.
    let damaged = CachedVerdict { flow: packet, answer: u32::MAX, generation: GENERATION };
    assert!(!decision(&damaged, &packet, GENERATION).unwrap().passes());
}

#[test]
fn endpoint_entry_is_independent_of_the_source() {
    let endpoint = Endpoint { slot: 1, mode: ENFORCE, default_counter: 2 };
    for packet in [flow(1, 2, 5432), v6()] {
        let mut entry = CachedEndpoint::zeroed();
        store_endpoint(&mut entry, &packet, GENERATION, &endpoint);
        assert_eq!(entry.endpoint, endpoint);
        for other in neighbours(packet) {
            let same = (other.destination, other.port, other.protocol, other.family)
                == (packet.destination, packet.port, packet.protocol, packet.family);
            assert_eq!(is_endpoint_of(&entry, &other, GENERATION), same, "{other:?}");
        }
        assert!(!is_endpoint_of(&entry, &packet, GENERATION + 2));
        // Control.
        assert!(is_endpoint_of(&entry, &packet, GENERATION));
    }
}
