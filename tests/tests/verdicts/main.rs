//! The verdict table, row by row, asked of the loaded program: the action it returns **and** the counter that moved.

#![expect(clippy::unwrap_used, reason = "a test fails by its panic")]

#[path = "../support/kernel.rs"]
mod kernel;

mod confusion;
mod rows;
mod stand;

use firewall_common::Reason;
use stand::{Outcome, Stand};

#[test]
fn every_row_of_the_verdict_table_holds_for_both_families_and_moves_its_counter() {
    let stand = Stand::new();
    let mut reasons: Vec<Reason> = Vec::new();
    for row in rows::rows() {
        let expected = Outcome { reason: row.reason, line: row.line.map(str::to_owned) };
        for (at, frame) in row.frames.iter().enumerate() {
            let what = format!("{} ({})", row.name, if at == 0 { "IPv4" } else { "IPv6" });
            assert_eq!(stand.judge(frame, None), expected, "{what}");
            let middle = frame.len().div_ceil(2).max(14);
            assert_eq!(stand.judge(frame, Some(middle)), expected, "{what}, split at {middle}");
        }
        reasons.push(row.reason);
    }
    for reason in Reason::ALL {
        assert!(reasons.contains(&reason), "no row expects {}", reason.name());
    }
}

#[test]
fn a_counter_that_does_not_move_is_noticed() {
    let stand = Stand::new();
    let frame = &rows::rows()[0].frames[0];
    let before = stand.tallies();
    // The twin answers and counts nothing, so this is what a program without counters would look like.
    stand.ask(frame);
    assert_eq!(before, stand.tallies());
    let _ = stand.judge(frame, None);
    assert_ne!(before, stand.tallies());
}
