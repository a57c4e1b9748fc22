//! Refused characters, and quoting of the user's text in messages.

use std::fmt::Write as _;

/// Most characters of the user's text in a message.
const SHOWN: usize = 80;

/// Returns `true` for characters that can hide or reorder text on a terminal: controls and direction marks.
pub(super) fn is_deceptive(c: char) -> bool {
    let directs =
        matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    c.is_control() || directs || c == '\u{feff}'
}

/// The text by [`show`], in double quotes unless it starts with a quote.
pub(super) fn quote(raw: &str) -> String {
    let shown = show(raw);
    if raw.starts_with(['"', '\'']) { shown } else { format!("\"{shown}\"") }
}

/// The text as typed; long text is cut, deceptive characters are escaped.
pub(super) fn show(raw: &str) -> String {
    let mut shown = String::new();
    for (i, c) in raw.chars().enumerate() {
        if i == SHOWN {
            shown.push('…');
            break;
        }
        match c {
            '\n' => shown.push_str("\\n"),
            '\r' => shown.push_str("\\r"),
            '\t' => shown.push_str("\\t"),
            hidden if is_deceptive(hidden) => {
                // Writing to a String cannot fail.
                let _ = write!(shown, "\\u{{{:x}}}", u32::from(hidden));
            }
            plain => shown.push(plain),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_shown_as_typed_but_for_length_and_deceptive_characters() {
        let long = "x".repeat(100);
        let cut = format!("\"{}…\"", "x".repeat(80));
        for (raw, expected) in [
            ("1.2.3.4", r#""1.2.3.4""#),
            ("", r#""""#),
            ("'30092'", "'30092'"),
            (r#""0x2A""#, r#""0x2A""#),
            ("é✓", "\"é✓\""),
            ("a\nb\u{202e}", r#""a\nb\u{202e}""#),
            (&long, &cut),
        ] {
            assert_eq!(quote(raw), expected);
        }
    }
}
