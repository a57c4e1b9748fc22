//! Escaping of log lines: no character of untrusted text controls a terminal, or begins a line.

use std::io::{self, Write};

use crate::escape::escaped;

/// Writer of escaped lines. Each write is one event, its line break included.
pub(super) struct Line<W>(pub W);

impl<W: Write> Write for Line<W> {
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
