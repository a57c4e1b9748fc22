//! The way out to a terminal: whatever others wrote into names, labels and paths, no character acts on it.

use std::fmt::Write as _;
use std::io::{self, Write};

use super::colour::painted;

/// Whether a character does something else than being seen: control characters, those that turn the direction of
/// writing, and line and paragraph separators.
pub(super) fn is_harmful(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{61c}' | '\u{feff}')
}

/// The text with every harmful character as `\u{…}`.
pub(super) fn clean(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    for c in text.chars() {
        if is_harmful(c) {
            // A String takes whatever is written.
            let _ = write!(clean, "{}", c.escape_unicode());
        } else {
            clean.push(c);
        }
    }
    clean
}

/// Passes whole lines on, cleaned, and painted when it is told to.
#[derive(Debug)]
pub(super) struct Clean<W: Write> {
    out: W,
    colour: bool,
    line: Vec<u8>,
}

impl<W: Write> Clean<W> {
    pub fn new(out: W, colour: bool) -> Self {
        Self { out, colour, line: Vec::new() }
    }

    fn pass_on(&mut self) -> io::Result<()> {
        let (text, end) = match self.line.split_last() {
            Some((b'\n', text)) => (text, "\n"),
            _ => (self.line.as_slice(), ""),
        };
        let text = clean(&String::from_utf8_lossy(text));
        let text = if self.colour { painted(&text) } else { text };
        self.line.clear();
        self.out.write_all(text.as_bytes())?;
        self.out.write_all(end.as_bytes())
    }
}

impl<W: Write> Write for Clean<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.line.extend_from_slice(piece);
            if piece.ends_with(b"\n") {
                self.pass_on()?;
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if !self.line.is_empty() {
            self.pass_on()?;
        }
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_control_character_passes_whatever_it_is_written_in() {
        let hostile = "a\u{1b}[31mb\r\u{7f}c\u{9b}0m\u{202e}d\0\te";
        for colour in [false, true] {
            let mut out = Vec::new();
            let mut clean = Clean::new(&mut out, colour);
            for byte in hostile.as_bytes() {
                clean.write_all(&[*byte]).unwrap();
            }
            clean.write_all(b"\nrest").unwrap();
            clean.flush().unwrap();
            let expected = r"a\u{1b}[31mb\u{d}\u{7f}c\u{9b}0m\u{202e}d\u{0}\u{9}e";
            assert_eq!(String::from_utf8(out).unwrap(), format!("{expected}\nrest"));
        }
    }
}
