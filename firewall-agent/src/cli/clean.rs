//! Output to a terminal: no character of untrusted names, labels and paths controls it.

use std::fmt::Arguments;
use std::io::{self, Write};

use super::colour::painted;
use crate::escape::escaped;

/// Writer of whole lines, escaped, and coloured if requested.
///
/// A line break counts at the beginning or end of a formatted text (`write!`, `writeln!`). Between its first and its
/// last other character it came with a value, such as a file name, and is escaped: no value begins a line.
#[derive(Debug)]
pub(super) struct Sanitizer<W: Write> {
    out: W,
    colour: bool,
    line: Vec<u8>,
}

impl<W: Write> Sanitizer<W> {
    pub fn new(out: W, colour: bool) -> Self {
        Self { out, colour, line: Vec::new() }
    }

    fn pass_on(&mut self) -> io::Result<()> {
        let (text, end) = match self.line.split_last() {
            Some((b'\n', text)) => (text, "\n"),
            _ => (self.line.as_slice(), ""),
        };
        let text = escaped(&String::from_utf8_lossy(text)).into_owned();
        let text = if self.colour { painted(&text) } else { text };
        self.line.clear();
        self.out.write_all(text.as_bytes())?;
        self.out.write_all(end.as_bytes())
    }
}

impl<W: Write> Write for Sanitizer<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.line.extend_from_slice(piece);
            if piece.ends_with(b"\n") {
                self.pass_on()?;
            }
        }
        Ok(bytes.len())
    }

    fn write_fmt(&mut self, formatted: Arguments<'_>) -> io::Result<()> {
        let text = formatted.to_string();
        let body = text.trim_start_matches('\n');
        let (before, body) = text.split_at(text.len() - body.len());
        let (body, after) = body.split_at(body.trim_end_matches('\n').len());
        self.write_all(before.as_bytes())?;
        self.write_all(escaped(body).as_bytes())?;
        self.write_all(after.as_bytes())
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
            let mut clean = Sanitizer::new(&mut out, colour);
            for byte in hostile.as_bytes() {
                clean.write_all(&[*byte]).unwrap();
            }
            clean.write_all(b"\nrest").unwrap();
            clean.flush().unwrap();
            let expected = r"a\u001b[31mb\u000d\u007fc\u009b0m\u202ed\u0000\u0009e";
            assert_eq!(String::from_utf8(out).unwrap(), format!("{expected}\nrest"));
        }
    }
    #[test]
    fn no_value_begins_a_line() {
        let mut out = Vec::new();
        let mut clean = Sanitizer::new(&mut out, false);
        let name = "a: ok\n1 file, 0 refused\n.yaml";
        // As the commands do: through a reference to a writer.
        fn tell(out: &mut impl Write, name: &str) -> io::Result<()> {
            writeln!(out, "\n{name}: refused\n")?;
            write!(out, "! ")?;
            writeln!(out, "refused {name}")
        }
        tell(&mut &mut clean, name).unwrap();
        clean.flush().unwrap();
        let shown = r"a: ok\u000a1 file, 0 refused\u000a.yaml";
        assert_eq!(String::from_utf8(out).unwrap(), format!("\n{shown}: refused\n\n! refused {shown}\n"));
    }
}
