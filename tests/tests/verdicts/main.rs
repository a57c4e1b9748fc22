//! The verdict table, row by row, against the loaded program: the returned action **and** the incremented counter.

#![expect(clippy::unwrap_used, reason = "a test fails by its panic")]

#[path = "../support/kernel.rs"]
mod kernel;

mod confusion;
mod disguises;
mod frames;
mod judge;
mod policy;
mod rows;

use std::panic::{AssertUnwindSafe, catch_unwind};

use firewall_common::Reason;

use frames::{OFFICE, ORDERS, tcp};
use judge::in_force;
use policy::GUARDED;

/// Limit of instructions that the verifier processes for one program: a twentieth of its own limit.
const VERIFIED: u32 = 50_000;

#[test]
fn every_verdict_row_is_correct_and_counted_in_both_families() {
    let mut reasons: Vec<Reason> = Vec::new();
    for (policy, rows) in rows::tables() {
        let loaded = in_force(&policy);
        for row in rows {
            assert_eq!(loaded.judge(&row.frame, None), row.expected, "{}", row.name);
            let middle = row.frame.len().div_ceil(2).max(14);
            assert_eq!(
                loaded.judge(&row.frame, Some(middle)),
                row.expected,
                "{}, split at {middle}",
                row.name
            );
            reasons.push(row.expected.reason);
        }
    }
    for reason in Reason::ALL {
        assert!(reasons.contains(&reason), "no row expects {}", reason.name());
    }
}

/// Control: the probe program returns the same verdicts and counts nothing.
#[test]
fn table_fails_a_program_that_does_not_count() {
    let loaded = in_force(&GUARDED).without_counters();
    for frame in tcp(OFFICE, ORDERS, 30_092) {
        let panic = catch_unwind(AssertUnwindSafe(|| loaded.judge(&frame, None))).unwrap_err();
        let message = panic.downcast_ref::<String>().unwrap();
        assert!(message.contains("not one counter moved: []"), "{message}");
    }
}

#[test]
fn both_programs_stay_below_the_verifier_limit() {
    for (program, verified) in in_force(&GUARDED).verified_instructions() {
        println!("{program}: {verified} instructions verified");
        assert!((1..VERIFIED).contains(&verified), "{program}: {verified}");
    }
}
