//! Escaping of outside text for terminals, logs, JSON, metric labels and the service manager: no character is
//! interpreted, none begins a line.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::fmt::{Arguments, Write as _};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use serde::Serialize;

/// Returns `true` for characters with an effect beyond their glyph: control characters, line and paragraph separators,
/// zero-width characters and direction changes.
#[must_use]
pub fn is_harmful(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{61c}' | '\u{feff}')
}

/// Returns `true` for harmful characters that files must not contain: all but those that scripts and emoji put between
/// their letters, such as the zero-width joiner.
#[must_use]
pub fn is_forbidden(c: char) -> bool {
    is_harmful(c) && !matches!(c, '\u{200b}'..='\u{200d}' | '\u{2060}'..='\u{2065}' | '\u{206a}'..='\u{206f}')
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

/// Writer of whole lines, each escaped.
///
/// A line break counts at the beginning or end of a formatted text (`write!`, `writeln!`). Between its first and its
/// last other character it came with a value, such as a file name, and is escaped: no value begins a line.
#[derive(Debug)]
pub struct EscapedLines<W: Write> {
    out: W,
    line: Vec<u8>,
}

impl<W: Write> EscapedLines<W> {
    pub fn new(out: W) -> Self {
        Self { out, line: Vec::new() }
    }

    fn pass_on(&mut self) -> io::Result<()> {
        let line = std::mem::take(&mut self.line);
        let (text, end) = match line.split_last() {
            Some((b'\n', text)) => (text, "\n"),
            _ => (line.as_slice(), ""),
        };
        self.out.write_all(escaped(&String::from_utf8_lossy(text)).as_bytes())?;
        self.out.write_all(end.as_bytes())
    }
}

impl<W: Write> Write for EscapedLines<W> {
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

/// Writer of log lines. Each write is one event with its line break at the end; other line breaks are escaped.
#[derive(Debug)]
pub struct EscapedEvents<W: Write>(pub W);

impl<W: Write> Write for EscapedEvents<W> {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(event);
        let line = text.strip_suffix('\n').unwrap_or(&text);
        self.0.write_all(format!("{}\n", escaped(line)).as_bytes())?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Writes a value as JSON on as many lines as needed, and ends the last one. In JSON, harmful characters are inside
/// strings only, where their escape has the same meaning.
///
/// # Errors
/// When `out` fails, or the value has no form in JSON.
pub fn write_json(value: &impl Serialize, out: impl Write) -> io::Result<()> {
    let mut lines = EscapedLines::new(out);
    serde_json::to_writer_pretty(&mut lines, value)?;
    lines.write_all(b"\n")?;
    lines.flush()
}

/// Writes a value as [`write_json`], on one line.
///
/// # Errors
/// As [`write_json`].
pub fn write_json_line(value: &impl Serialize, out: impl Write) -> io::Result<()> {
    let mut lines = EscapedLines::new(out);
    serde_json::to_writer(&mut lines, value)?;
    lines.write_all(b"\n")?;
    lines.flush()
}

#[cfg(test)]
mod tests;
