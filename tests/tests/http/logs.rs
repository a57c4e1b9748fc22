//! The daemon's log under hostile names and under a flood.

use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::setup::{Http as _, OFFICE_RULE, file, listening, stopped};

const HOSTILE: &str = "a\u{1b}[2J\n2026-01-01T00:00:00Z ERROR forged\r\u{7}\u{9b}31m\u{202e}.yaml";

#[test]
fn hostile_file_name_is_one_escaped_line_in_both_formats() {
    for format in ["human", "json"] {
        let host = stopped();
        host.serve(&["--log-format", format]);
        fs::write(host.home.rule_file(HOSTILE), "\u{1b}]0;x\u{7}: \u{1b}[31m\n...\n").unwrap();
        host.eventually("it is refused", || host.log().contains("rule file rejected"));
        let log = host.log();
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
fn flapping_file_logs_at_most_ten_lines_a_second_and_counts_the_rest() {
    let host = listening();
    host.apply("orders", 1, &[OFFICE_RULE]);
    let bad = ["70000", "80000"].map(|port| file("orders", 2, &[]).replace("30092", port));
    let flap = |time: Duration| {
        let started = Instant::now();
        for content in bad.iter().cycle() {
            host.write("orders.yaml", content);
            sleep(Duration::from_millis(10));
            if started.elapsed() > time {
                break;
            }
        }
        started.elapsed()
    };
    // Uses up the burst that the log limit allows.
    flap(Duration::from_secs(3));
    let lines = || host.log().lines().count();
    let before = lines();
    let time = flap(Duration::from_secs(6));
    let rate = (lines() - before) as f64 / time.as_secs_f64();
    assert!(rate <= 10.0, "{rate} lines a second\n{}", host.log());
    host.eventually("the number of dropped lines is logged", || host.log().contains("log lines dropped"));
    // Control: the agent suppressed many more lines.
    let log = host.log();
    let left_out = log.lines().filter(|line| line.contains("log lines dropped"));
    let left_out: u64 = left_out
        .filter_map(|line| line.split("lines=").nth(1)?.split_whitespace().next()?.parse::<u64>().ok())
        .sum();
    assert!(left_out > 50, "{left_out} were left out\n{log}");
    assert_eq!(host.home.database("orders").unwrap()["revision"], 1);
}
