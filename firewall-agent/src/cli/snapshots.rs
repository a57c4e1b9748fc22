//! Screens of the commands, compared with `tests/fixtures/screens`. `FIREWALL_AGENT_SCREENS=write cargo test -p
//! firewall-agent screens` writes them anew.

use std::fs;
use std::io::Write;

use anyhow::Result;
use jiff::{SignedDuration, Timestamp};
use unicode_width::UnicodeWidthStr as _;

use super::format::Format;
use super::screen::Screen;
use super::style::Style;
use crate::escape::EscapedLines;

/// Columns and lines of the terminals.
pub(super) const TERMINALS: [(u16, u16); 2] = [(80, 24), (120, 40)];
const SCREENS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/screens");

/// The time of the screens.
pub(super) fn now() -> Timestamp {
    "2026-08-21T15:27:32Z".parse().unwrap()
}

/// A time this long before the time of the screens.
pub(super) fn ago(seconds: i64) -> Timestamp {
    now() - SignedDuration::from_secs(seconds)
}

pub(super) fn style(width: Option<u16>) -> Style {
    Style { format: Format::Table, width: width.map(usize::from), absolute: false, now: now() }
}

/// The output of a command on a terminal of this width, or into a pipe.
fn shown(width: Option<u16>, write: &impl Fn(Style, &mut &mut dyn Write) -> Result<()>) -> String {
    let (style, mut bytes) = (style(width), Vec::new());
    let mut lines = EscapedLines::new(Screen::new(&mut bytes, style.width, false));
    write(style, &mut (&mut lines as &mut dyn Write)).unwrap();
    lines.flush().unwrap();
    drop(lines);
    String::from_utf8(bytes).unwrap()
}

/// Checks a command's screen on every terminal: it is as recorded, no line is wider than the terminal, and every word is
/// a word of the output into a pipe, so that no id, address or time is broken.
pub(super) fn check(screen: &str, write: impl Fn(Style, &mut &mut dyn Write) -> Result<()>) {
    let piped = shown(None, &write);
    for (columns, lines) in TERMINALS {
        compare(screen, (columns, lines), &shown(Some(columns), &write), &piped);
    }
}

/// Checks one screen; `whole` is the same output on a terminal without an end.
pub(super) fn compare(screen: &str, (columns, lines): (u16, u16), text: &str, whole: &str) {
    for line in text.lines() {
        assert!(line.width() <= columns.into(), "{screen}, {columns} columns: too long: {line}");
    }
    let words: Vec<&str> = whole.split_whitespace().collect();
    let broken = broken(text, &words);
    assert!(broken.is_empty(), "{screen}, {columns} columns: broken words: {broken:?}\n{text}");
    let path = format!("{SCREENS}/{screen}-{columns}x{lines}.txt");
    if std::env::var_os("FIREWALL_AGENT_SCREENS").is_some_and(|value| value == "write") {
        fs::write(&path, text).unwrap();
    }
    assert_eq!(text, fs::read_to_string(&path).unwrap_or_default(), "{path}");
}

/// Words of a screen that are no words of the whole output, except for cut texts and for lines about missing columns.
fn broken<'a>(text: &'a str, words: &[&str]) -> Vec<&'a str> {
    let about_missing = ["left out", "some texts are cut", "more problems: status -v"];
    let lines = text.lines().filter(|line| about_missing.iter().all(|words| !line.contains(words)));
    let shown = lines.flat_map(str::split_whitespace);
    let is_listed = |word: &str| {
        words.contains(&word)
            || words.contains(&format!("{word},").as_str())
            || words.iter().any(|whole| whole.ends_with(&format!("/{word}")))
    };
    let mut broken: Vec<&str> = shown.filter(|word| !is_listed(word) && !word.ends_with('…')).collect();
    // "192.0.2.10:30092/tcp (and 2 more)", "rejected orders.yaml: 2 errors: …"
    broken.retain(|word| !["(and", "more)", "errors:"].contains(word) && word.parse::<u32>().is_err());
    broken
}

#[test]
fn broken_words_of_a_screen_are_found() {
    let words = ["6a316183d0f1f10ecbcca123", "name", "192.0.2.10:30092/tcp,", "5", "min", "ago"];
    let cut = "6a316183d0f1f10ecbcca123  name …  192.0.2.10:30092/tcp (and 2 more)\nleft out: REV; -o wide";
    assert!(broken(cut, &words).is_empty(), "{:?}", broken(cut, &words));
    assert_eq!(broken("6a316183d0f1\nf10ecbcca123  min", &words), ["6a316183d0f1", "f10ecbcca123"]);
}
