//! Escaping of untrusted text for terminals, logs and JSON: no character is interpreted, none begins a line.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// Returns `true` for characters with an effect beyond their glyph: control characters, line and paragraph separators,
/// zero-width characters and direction changes.
#[must_use]
pub fn is_harmful(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{61c}' | '\u{feff}')
}

/// Replaces every harmful character, line breaks included, by `\uXXXX`: the same escape as in JSON.
#[must_use]
pub fn escaped(text: &str) -> Cow<'_, str> {
    if !text.contains(is_harmful) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_harmful(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                // Writing into a string cannot fail.
                let _ = write!(escaped, "\\u{unit:04x}");
            }
        } else {
            escaped.push(c);
        }
    }
    Cow::Owned(escaped)
}

/// File name as text. Each byte that is not UTF-8 becomes `\xNN`, which leaves different names different; other
/// characters stay unchanged, harmful ones too.
#[must_use]
pub fn name_text(name: &OsStr) -> String {
    let mut text = String::with_capacity(name.len());
    for chunk in name.as_bytes().utf8_chunks() {
        text.push_str(chunk.valid());
        for byte in chunk.invalid() {
            // Writing into a string cannot fail.
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
    text
}

/// Path as text by [`name_text`]: for JSON, which escapes by itself.
#[must_use]
pub fn path_text(path: &Path) -> String {
    name_text(path.as_os_str())
}

/// Path for one line of output: [`path_text`], escaped.
#[must_use]
pub fn shown(path: &Path) -> String {
    escaped(&path_text(path)).into_owned()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn harmful_characters_are_escaped_as_in_json_and_no_others() {
        let hostile = "a\u{1b}[31mb\r\n\u{7f}c\u{9b}0m\u{202e}d\0\te\u{feff}";
        let expected = r"a\u001b[31mb\u000d\u000a\u007fc\u009b0m\u202ed\u0000\u0009e\ufeff";
        assert_eq!(escaped(hostile), expected);
        let read: String = serde_json::from_str(&format!("\"{expected}\"")).unwrap();
        assert_eq!(read, hostile);
        for harmless in ["", "orders.yaml", r"a\nb", "日本 🔥 é \" '"] {
            assert!(matches!(escaped(harmless), Cow::Borrowed(text) if text == harmless), "{harmless}");
        }
    }

    #[test]
    fn names_that_are_not_utf8_stay_apart() {
        let names: [&[u8]; 5] =
            [b"a\xff.yaml", b"a\xfe.yaml", b"a\xc3\xa4.yaml", b"a\xc3.yaml", b"a\xef\xbf\xbd.yaml"];
        let texts: BTreeSet<String> = names.iter().map(|name| name_text(OsStr::from_bytes(name))).collect();
        let expected = [r"a\xc3.yaml", r"a\xfe.yaml", r"a\xff.yaml", "aä.yaml", "a\u{fffd}.yaml"];
        assert_eq!(texts, expected.map(str::to_owned).into());
        assert_eq!(shown(Path::new(OsStr::from_bytes(b"/x\n\xff"))), r"/x\u000a\xff");
    }
}
