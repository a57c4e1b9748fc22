//! Colour, for terminals only. It is applied to known words of escaped lines: no untrusted text decides the position of
//! an escape sequence.

const RED: &str = "\x1b[31m";
const GREEN: &str = "\x1b[32m";
const YELLOW: &str = "\x1b[33m";
const BOLD: &str = "\x1b[1m";
const OFF: &str = "\x1b[0m";

const WORDS: &[(&str, &str)] = &[
    ("applied", GREEN),
    ("native", GREEN),
    ("pass", GREEN),
    ("drop", RED),
    ("gone", RED),
    ("rejected", RED),
    ("covered", YELLOW),
    ("degraded", YELLOW),
    ("generic", YELLOW),
    ("orphaned", YELLOW),
    ("unused", YELLOW),
    ("would_deny", YELLOW),
];

/// Colours the words for states; the head of a table is bold, JSON stays unchanged.
pub(super) fn painted(line: &str) -> String {
    let start = line.trim_start();
    if start.starts_with(['{', '}', '[', ']', '"']) {
        return line.to_owned();
    }
    if !start.is_empty() && start.chars().all(|c| c.is_ascii_uppercase() || c == ' ') {
        return format!("{BOLD}{line}{OFF}");
    }
    let mut painted = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(at) = rest.find(is_word) {
        let end = rest[at..].find(|c| !is_word(c)).map_or(rest.len(), |length| at + length);
        painted.push_str(&rest[..at]);
        match WORDS.iter().find(|(word, _)| *word == &rest[at..end]) {
            Some((word, colour)) => painted.extend([*colour, *word, OFF]),
            None => painted.push_str(&rest[at..end]),
        }
        rest = &rest[end..];
    }
    painted.push_str(rest);
    painted
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '-'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_known_words_and_headings_are_coloured() {
        assert_eq!(painted("orders  applied  drop-in"), "orders  \x1b[32mapplied\x1b[0m  drop-in");
        assert_eq!(painted("DATABASE  LAST HIT"), "\x1b[1mDATABASE  LAST HIT\x1b[0m");
        assert_eq!(painted("  \"state\": \"applied\""), "  \"state\": \"applied\"");
        assert_eq!(painted(""), "");
    }
}
