//! Terminal of a command: wraps long lines between words, and colours known words.

use std::io::{self, Write};

use unicode_width::UnicodeWidthStr as _;

use super::colour::painted;

/// Further indentation of the second and later lines of a wrapped one.
const HANGING: usize = 4;

/// Writer of escaped lines. A word that is longer than the terminal stays whole.
#[derive(Debug)]
pub(super) struct Screen<W: Write> {
    out: W,
    /// Columns of the terminal; `None` wraps nothing.
    width: Option<usize>,
    colour: bool,
    line: Vec<u8>,
}

impl<W: Write> Screen<W> {
    pub fn new(out: W, width: Option<usize>, colour: bool) -> Self {
        Self { out, width, colour, line: Vec::new() }
    }

    fn write_line(&mut self, end: &str) -> io::Result<()> {
        let line = std::mem::take(&mut self.line);
        let line = String::from_utf8_lossy(&line);
        let lines = match self.width {
            Some(width) => wrapped(&line, width),
            None => vec![line.into_owned()],
        };
        let lines: Vec<String> =
            lines.into_iter().map(|line| if self.colour { painted(&line) } else { line }).collect();
        write!(self.out, "{}{end}", lines.join("\n"))
    }
}

impl<W: Write> Write for Screen<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            match piece.strip_suffix(b"\n") {
                Some(end) => {
                    self.line.extend_from_slice(end);
                    self.write_line("\n")?;
                }
                None => self.line.extend_from_slice(piece),
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if !self.line.is_empty() {
            self.write_line("")?;
        }
        self.out.flush()
    }
}

/// Breaks a line at spaces so that each part fits, if its words do.
fn wrapped(line: &str, width: usize) -> Vec<String> {
    if line.width() <= width {
        return vec![line.to_owned()];
    }
    let indent = line.len() - line.trim_start_matches(' ').len();
    let hanging = " ".repeat((indent + HANGING).min(width / 2));
    let (mut lines, mut current) = (Vec::new(), String::new());
    for word in line.split_inclusive(' ') {
        let is_blank = current.trim_start_matches(' ').is_empty();
        if !is_blank && current.width() + word.trim_end_matches(' ').width() > width {
            lines.push(std::mem::replace(&mut current, hanging.clone()).trim_end_matches(' ').to_owned());
            // Spaces between the columns of a table.
            if word == " " {
                continue;
            }
        }
        current.push_str(word);
    }
    if !current.trim_start_matches(' ').is_empty() {
        lines.push(current);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str, width: Option<usize>, colour: bool) -> String {
        let mut out = Vec::new();
        let mut screen = Screen::new(&mut out, width, colour);
        text.as_bytes().iter().try_for_each(|byte| screen.write_all(&[*byte])).unwrap();
        screen.flush().unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn lines_break_between_words_and_long_words_stay_whole() {
        let text = "! a problem in /a/path/that/is/long: this and that\n  indented words here\n\nshort";
        assert_eq!(shown(text, None, false), text);
        let expected = "! a problem in\n    /a/path/that/is/long:\n    this and that\n  indented words\n      here\n\nshort";
        assert_eq!(shown(text, Some(18), false), expected);
    }

    #[test]
    fn each_line_of_a_terminal_is_coloured() {
        assert_eq!(
            shown("applied\nunused", None, true),
            "\u{1b}[32mapplied\u{1b}[0m\n\u{1b}[33munused\u{1b}[0m"
        );
    }
}
