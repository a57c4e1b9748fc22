//! Two databases at one address: a source that one of them allows gains nothing at the other, at a tombstone or at a
//! guarded port, in any form of packet.

use firewall_common::Reason;

use crate::disguises::{disguises, later_fragments, unreadable};
use crate::frames::{BOTH, OFFICE, STRANGER};
use crate::judge::in_force;
use crate::policy::{GUARDED, LEFT_BEHIND, OPEN};

/// The database that the office may reach.
const ORDERS_PORT: u16 = 30_092;
/// The other database at the address.
const BILLING_PORT: u16 = 30_093;
const TOMBSTONE_PORT: u16 = 7432;

#[test]
fn source_of_one_database_has_no_access_to_others_or_closed_ports() {
    let mut tried = 0;
    for (what, policy, ports) in [
        ("guards and tombstones", GUARDED, &[BILLING_PORT, TOMBSTONE_PORT, 5432, 30_094][..]),
        ("tombstones", LEFT_BEHIND, &[BILLING_PORT, TOMBSTONE_PORT]),
        ("nothing closed", OPEN, &[BILLING_PORT]),
    ] {
        let loaded = in_force(&policy);
        for port in ports {
            for (name, frame) in disguises(OFFICE, *port) {
                let outcome = loaded.judge(&frame, None);
                assert!(!outcome.reason.passes(), "{what}: {name}: {outcome:?}");
                tried += 1;
            }
        }
    }
    assert!(tried > 1_000, "only {tried} frames were tried");
}

#[test]
fn unlisted_source_passes_nowhere_and_unreadable_needs_all_ports_open() {
    for (policy, every_port_is_open) in [(GUARDED, false), (LEFT_BEHIND, false), (OPEN, true)] {
        let loaded = in_force(&policy);
        for (name, frame) in disguises(STRANGER, BILLING_PORT) {
            assert!(!loaded.judge(&frame, None).reason.passes(), "{name}");
        }
        // A packet without a readable port may be for a port that is closed to everyone.
        let reason = if every_port_is_open { Reason::Allowed } else { Reason::NoPort };
        for (name, frame) in unreadable(BOTH, BILLING_PORT) {
            assert_eq!(loaded.judge(&frame, None).reason, reason, "{name}");
        }
        for (name, frame) in unreadable(OFFICE, ORDERS_PORT) {
            assert_eq!(loaded.judge(&frame, None).reason, Reason::NoPort, "{name}");
        }
    }
}

#[test]
fn later_fragment_is_judged_by_source_regardless_of_its_payload() {
    for policy in [GUARDED, LEFT_BEHIND, OPEN] {
        let loaded = in_force(&policy);
        for port in [ORDERS_PORT, BILLING_PORT, TOMBSTONE_PORT, 5432] {
            for (source, right) in
                [(OFFICE, Reason::Allowed), (BOTH, Reason::Allowed), (STRANGER, Reason::Fragment)]
            {
                for (name, frame) in later_fragments(source, port) {
                    assert_eq!(loaded.judge(&frame, None).reason, right, "{name} from {}", source.0);
                }
            }
        }
    }
}

#[test]
fn disguised_packets_pass_for_an_allowed_source() {
    let loaded = in_force(&GUARDED);
    let passed = disguises(OFFICE, ORDERS_PORT)
        .into_iter()
        .filter(|(_, frame)| loaded.judge(frame, None).reason.passes())
        .count();
    // Plain, options, tags, up to eight headers, fragments: the others are dropped for their shape, not by chance.
    assert!(passed >= 35, "only {passed} passed");
}
