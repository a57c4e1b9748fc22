//! Quoting of the user's text in messages.

use crate::escape::escaped;

/// Most characters of the user's text in a message.
const SHOWN: usize = 80;

/// The text by [`show`], in double quotes unless it starts with a quote.
pub(super) fn quote(raw: &str) -> String {
    let shown = show(raw);
    if raw.starts_with(['"', '\'']) { shown } else { format!("\"{shown}\"") }
}

/// The text as typed; long text is cut, harmful characters are escaped.
pub(super) fn show(raw: &str) -> String {
    match raw.char_indices().nth(SHOWN) {
        Some((end, _)) => escaped(&raw[..end]).into_owned() + "…",
        None => escaped(raw).into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoted_text_is_unchanged_except_length_and_harmful_characters() {
        let long = "x".repeat(100);
        let cut = format!("\"{}…\"", "x".repeat(80));
        for (raw, expected) in [
            ("1.2.3.4", r#""1.2.3.4""#),
            ("", r#""""#),
            ("'30092'", "'30092'"),
            (r#""0x2A""#, r#""0x2A""#),
            ("é✓", "\"é✓\""),
            ("a\nb\u{202e}", r#""a\u000ab\u202e""#),
            (&long, &cut),
        ] {
            assert_eq!(quote(raw), expected);
        }
    }
}
