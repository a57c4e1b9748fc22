//! The daemon's log under hostile names and under a flood.

use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::stage::{OFFICE_RULE, Stage, file};

const HOSTILE: &str = "a\u{1b}[2J\n2026-01-01T00:00:00Z ERROR forged\r\u{7}\u{9b}31m\u{202e}.yaml";

#[test]
fn a_hostile_file_name_is_one_harmless_line_in_both_forms() {
    for format in ["human", "json"] {
        let mut stage = Stage::without_agent("");
        stage.start_with(&["--log-format", format]);
        fs::write(stage.home.rule_file(HOSTILE), "\u{1b}]0;x\u{7}: \u{1b}[31m\n...\n").unwrap();
        stage.until("it is refused", || stage.log().contains("rule file rejected"));
        let log = stage.log();
        for line in log.split_terminator('\n') {
            assert!(!line.contains(|c: char| c.is_control()), "{format}: {line:?}");
            assert!(!line.starts_with("2026-01-01"), "{format}: {line:?}");
        }
        let refused = log.lines().find(|line| line.contains("rule file rejected")).unwrap();
        assert!(refused.contains("forged"), "{refused}");
        if format == "json" {
            let lines = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
            let refused =
                lines.into_iter().find(|line| line["message"].to_string().contains("rejected")).unwrap();
            assert!(refused["file"].as_str().unwrap().ends_with(HOSTILE), "{refused}");
        }
    }
}

/// A file that alternates between two invalid contents every few milliseconds: each is new, and each is an error.
#[test]
fn a_flapping_file_logs_at_most_ten_lines_a_second_and_says_how_many_it_did_not() {
    let stage = Stage::new();
    stage.apply("orders", 1, &[OFFICE_RULE]);
    let bad = ["70000", "80000"].map(|port| file("orders", 2, &[]).replace("30092", port));
    let flap = |time: Duration| {
        let started = Instant::now();
        for content in bad.iter().cycle() {
            stage.home.write_rules("orders.yaml", content).unwrap();
            sleep(Duration::from_millis(10));
            if started.elapsed() > time {
                break;
            }
        }
        started.elapsed()
    };
    // Uses up the burst that the log limit allows.
    flap(Duration::from_secs(3));
    let lines = || stage.log().lines().count();
    let before = lines();
    let time = flap(Duration::from_secs(6));
    let rate = (lines() - before) as f64 / time.as_secs_f64();
    assert!(rate <= 10.0, "{rate} lines a second\n{}", stage.log());
    stage.until("it says how many were left out", || stage.log().contains("log lines dropped"));
    // Control: the agent suppressed many more lines.
    let log = stage.log();
    let left_out = log.lines().filter(|line| line.contains("log lines dropped"));
    let left_out: u64 = left_out
        .filter_map(|line| line.split("lines=").nth(1)?.split_whitespace().next()?.parse::<u64>().ok())
        .sum();
    assert!(left_out > 50, "{left_out} were left out\n{log}");
    assert_eq!(stage.home.status().unwrap().revision("orders"), Some(1));
}
