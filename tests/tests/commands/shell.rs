//! Shell completions, manual pages, and the errors for a user without permission.

use std::fs;

use firewall_tests::lab::User;

use crate::setup::{ORDERS, alone, populated};

const COMMANDS: [&str; 29] = [
    "allow",
    "attach",
    "audit",
    "block",
    "blocked",
    "close",
    "detach",
    "health",
    "prepare",
    "restore",
    "run",
    "validate",
    "plan",
    "status",
    "databases",
    "ranges",
    "rules",
    "explain",
    "denied",
    "events",
    "wait",
    "support-bundle",
    "top",
    "overlay",
    "forget",
    "rebase",
    "clock",
    "packet-log",
    "completions",
];

#[test]
fn completions_and_manual_pages_are_complete_without_configuration() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = alone(&["completions", shell, "--config", "/nonesuch"]);
        assert_eq!((script.code, script.err.as_str()), (Some(0), ""), "{shell}");
        // The other scripts ask the program.
        for command in COMMANDS.iter().filter(|_| ["elvish", "powershell"].contains(&shell)) {
            assert!(script.out.contains(command), "{shell}: {command}");
        }
    }
    let offered = alone(&["completions", "zsh", "--", "firewall-agent", ""]).out;
    for command in COMMANDS {
        assert!(offered.lines().any(|line| line.split('\t').next() == Some(command)), "{command}: {offered}");
    }
    let no_question = alone(&["completions", "elvish", "--", "firewall-agent", ""]);
    assert_eq!((no_question.code, no_question.out.as_str()), (Some(2), ""), "{no_question:?}");
    assert!(no_question.err.contains("elvish"), "{no_question:?}");
    assert_eq!(alone(&["completions", "csh"]).code, Some(2));
    let dir = tempfile::tempdir().unwrap();
    let pages = dir.path().join("man1");
    let made = alone(&["man", pages.to_str().unwrap()]);
    assert_eq!((made.code, made.err.as_str()), (Some(0), ""), "{made:?}");
    for command in COMMANDS {
        let page = fs::read_to_string(pages.join(format!("firewall-agent-{command}.1"))).unwrap();
        assert!(page.contains(".TH") && page.contains("Exit codes"), "{command}: {page}");
    }
    let main = fs::read_to_string(pages.join("firewall-agent.1")).unwrap();
    assert!(main.contains("denied") && main.contains("Exit codes"), "{main}");
    assert_eq!(fs::read_dir(&pages).unwrap().count(), COMMANDS.len() + 2, "man itself, and the program");
}

#[test]
fn every_help_has_an_example() {
    for command in COMMANDS {
        let help = alone(&[command, "--help"]).out;
        assert!(help.contains("Example"), "{command}: {help}");
    }
}

#[test]
fn unauthorized_user_is_shown_the_required_user() {
    let host = populated();
    for noun in [&["status"][..], &["rules"], &["denied"], &["top"], &["explain", "203.0.113.7", ORDERS]] {
        let output = host.ask_as(User::Powerless(1000), noun);
        assert_eq!((output.code, output.out.as_str()), (Some(1), ""), "{noun:?}: {output:?}");
        assert_eq!(output.err.lines().count(), 1, "{noun:?}: {output:?}");
        for words in [
            "Permission denied",
            "the user that the agent runs as",
            "running as uid 1000 without ",
            "CAP_BPF",
        ] {
            assert!(output.err.contains(words), "{noun:?}: {words}: {output:?}");
        }
    }
}

#[test]
fn a_terminal_gets_tables_that_fit_it_in_colour_unless_no_color_is_set() {
    let host = populated();
    for noun in [&["status"][..], &["rules", ORDERS], &["databases"], &["denied"]] {
        for (columns, colour) in [(80, true), (80, false), (200, true)] {
            let shown = String::from_utf8(host.home.show(noun, (columns, 24), colour).unwrap()).unwrap();
            assert_eq!(shown.contains('\u{1b}'), colour, "{noun:?}: {shown:?}");
            let plain = ["1", "31", "32", "33", "0"]
                .iter()
                .fold(shown.replace('\r', ""), |text, code| text.replace(&format!("\u{1b}[{code}m"), ""));
            assert!(!plain.contains('\u{1b}'), "{noun:?}: {plain:?}");
            for line in plain.lines() {
                assert!(line.chars().count() <= columns.into(), "{noun:?}: {columns}: {line}");
            }
        }
        let piped = host.ask(noun).out;
        assert!(!piped.contains('\u{1b}'), "{noun:?}: {piped:?}");
    }
}
