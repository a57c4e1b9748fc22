//! No character of outside text may act on a terminal, or begin a line of its own.

use std::io::{self, Write};

use crate::escape::escaped;

/// Writes lines. Each write is one event, its line break included.
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
