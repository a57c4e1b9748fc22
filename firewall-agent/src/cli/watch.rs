//! `--watch`: repeats the screen of a reading command until the user interrupts it.

mod waker;
mod whole_screen;

use std::io::{self, IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use anyhow::Result;

use self::waker::{Wake, Waker};
use self::whole_screen::WholeScreen;
use super::exit::Failure;
use super::format::Format;
use super::screen::Screen;
use super::style::{Style, time};
use super::{Exit, report_failure, uses_colour};
use crate::config::duration;
use crate::escape::EscapedLines;

/// Shortest time between two screens.
const SHORTEST: Duration = Duration::from_millis(100);

/// Option of the commands that only read.
#[derive(Debug, Clone, Copy, Default, clap::Args)]
pub(super) struct Watch {
    /// Repeat the screen, every 2 seconds without SPAN, until interrupted; JSON is one document a line
    #[arg(
        id = "watch", short = 'w', long = "watch", value_name = "SPAN", value_parser = period,
        num_args = 0..=1, require_equals = true, default_missing_value = "2s"
    )]
    pub period: Option<Duration>,
}

/// Parses the time between two screens.
fn period(text: &str) -> Result<Duration, String> {
    let period = duration(text)?;
    if period < SHORTEST { Err("must be at least 100ms".to_owned()) } else { Ok(period) }
}

/// The part of a long screen that a terminal shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Beginning,
    /// The head, and the last lines.
    End,
}

/// Shows screens until a signal or `q`. The first screen must succeed; a later one that fails shows its error.
pub(super) fn watch(
    period: Duration,
    part: Part,
    style: impl Fn() -> Style,
    mut write: impl FnMut(Style, &mut EscapedLines<Screen<&mut Vec<u8>>>) -> Result<Exit>,
) -> Result<Exit> {
    let in_place = io::stdout().is_terminal() && style().format != Format::Json;
    let waker = Waker::new(in_place)?;
    let mut frame = |style: Style| -> Result<String> {
        let mut text = Vec::new();
        let mut lines = EscapedLines::new(Screen::new(&mut text, style.width, in_place && uses_colour()));
        write(style, &mut lines)?;
        lines.flush()?;
        drop(lines);
        Ok(String::from_utf8_lossy(&text).into_owned())
    };
    let mut due = Instant::now();
    let mut current = style();
    let mut text = frame(current)?;
    let mut whole_screen = if in_place { Some(WholeScreen::enter()?) } else { None };
    loop {
        match &mut whole_screen {
            Some(screen) => screen.draw(&title(current, period), &text, part)?,
            None => print(current, &text)?,
        }
        due = Instant::max(due + period, Instant::now());
        match waker.wait(due)? {
            Wake::Due => {}
            Wake::Resized => due = Instant::now(),
            Wake::Ended => return Ok(Exit::Done),
        }
        current = style();
        text = match frame(current) {
            Ok(text) => text,
            Err(error) if in_place => Failure::new(&error).lines().join("\n"),
            Err(error) => {
                report_failure(&error, current.format);
                String::new()
            }
        };
    }
}

fn title(style: Style, period: Duration) -> String {
    format!("{}, every {period:?}; q quits", time(style.now))
}

/// Prints a screen after the others: with its time, or as one line of JSON.
fn print(style: Style, text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match style.format {
        Format::Json if text.is_empty() => {}
        // Line breaks of the document stand outside its strings.
        Format::Json => writeln!(out, "{}", text.lines().map(str::trim_start).collect::<String>())?,
        Format::Table | Format::Wide => writeln!(out, "{}\n{text}", time(style.now))?,
    }
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_period_has_a_lower_limit() {
        for (text, expected) in [("2s", Ok(Duration::from_secs(2))), ("100ms", Ok(SHORTEST))] {
            assert_eq!(period(text), expected, "{text}");
        }
        for text in ["99ms", "0s", "2", "-1s", ""] {
            assert!(period(text).is_err(), "{text}");
        }
    }
}
