//! `--watch`: a reading command repeats its screen until it is interrupted.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use firewall_tests::lab::{TestHost, User};

use crate::setup::{ORDERS, alone, populated};

/// Clears the rest of a line, as after each line of a screen.
const END_OF_LINE: &str = "\u{1b}[K";

/// Reads this many lines of a watching command, interrupts it, and requires exit code 0 and no error.
fn lines(host: &TestHost, arguments: &[&str], number: usize) -> Vec<String> {
    let mut command = host.home.command(User::Root, "", arguments);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut lines: Vec<String> = out.by_ref().take(number).map(Result::unwrap).collect();
    kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGINT).unwrap();
    // A screen is written whole.
    lines.extend(out.map(Result::unwrap));
    let done = child.wait_with_output().unwrap();
    assert_eq!((done.status.code(), String::from_utf8_lossy(&done.stderr).as_ref()), (Some(0), ""));
    lines
}

#[test]
fn json_is_one_document_a_line_until_the_interrupt() {
    let host = populated();
    for noun in [
        &["status"][..],
        &["databases"],
        &["rules", ORDERS],
        &["ranges"],
        &["denied"],
        &["events", "--top", "3"],
    ] {
        let lines = lines(&host, &[noun, &["--watch=100ms", "-o", "json"]].concat(), 3);
        assert!(lines.len() >= 3, "{noun:?}: {lines:?}");
        let expected = host.json(noun);
        for line in &lines {
            let document: Value =
                serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
            // Figures of the status change between two screens.
            let is_same = noun == ["status"] || document == expected;
            assert!(is_same && document.is_array() == expected.is_array(), "{noun:?}: {line}");
        }
    }
}

#[test]
fn a_pipe_gets_one_screen_after_the_other_each_with_its_time() {
    let host = populated();
    let once: Vec<String> =
        host.ask(&["rules", ORDERS, "--absolute"]).out.lines().map(str::to_owned).collect();
    let lines = lines(&host, &["rules", ORDERS, "--absolute", "-w=100ms"], 2 * (once.len() + 2));
    assert_eq!(lines[1..=once.len()], once);
    assert_eq!(lines[once.len() + 3..2 * once.len() + 3], once);
    for time in [&lines[0], &lines[once.len() + 2]] {
        assert!(time.starts_with("20") && time.ends_with('Z'), "{time}");
    }
}

#[test]
fn a_terminal_shows_the_part_that_fits_in_place() {
    let host = populated();
    for (noun, height, omitted) in
        [("status", 40, None), ("status", 8, Some(" more lines")), ("events", 8, Some(" earlier lines"))]
    {
        let shown = host.home.show(&[noun, "--watch=500ms"], (100, height), false).unwrap();
        let shown = String::from_utf8(shown).unwrap();
        let (_, shown) = shown.split_once("\u{1b}[?1049h").unwrap();
        let (shown, rest) = shown.split_once("\u{1b}[?1049l").unwrap_or_else(|| panic!("{shown:?}"));
        assert_eq!(rest, "", "the terminal is as before");
        let screens: Vec<&str> = shown.split("\u{1b}[1;1H").skip(1).collect();
        assert!(screens.len() >= 3, "{noun}: {shown:?}");
        for screen in screens {
            let lines = screen.matches(END_OF_LINE).count();
            assert!((2..=usize::from(height)).contains(&lines), "{noun}: {height}: {screen:?}");
            let has_omitted = ["more lines", "earlier lines"].iter().any(|words| screen.contains(words));
            assert_eq!(has_omitted, omitted.is_some(), "{noun}: {height}: {screen:?}");
            assert!(omitted.is_none_or(|words| screen.contains(words)), "{noun}: {height}: {screen:?}");
        }
    }
}

#[test]
fn only_reading_commands_watch_and_the_first_screen_must_succeed() {
    for (arguments, quoted) in [
        (&["attach", "--watch"][..], "--watch"),
        (&["status", "--watch=1ms"], "'1ms'"),
        (&["status", "--watch=soon"], "'soon'"),
        (&["denied", "--follow", "--watch"], "--watch"),
        (&["ranges", "--ack", "--watch"], "--watch"),
        (&["rules", "--watch", "--config", "/nonesuch"], "/nonesuch"),
    ] {
        let answer = alone(arguments);
        assert_eq!((answer.code, answer.out.as_str()), (Some(2), ""), "{arguments:?}: {answer:?}");
        assert!(answer.err.contains(quoted), "{arguments:?}: {answer:?}");
    }
}
