//! Presentation of output for people.

use std::io::{self, IsTerminal as _};

use jiff::Timestamp;

use super::format::Format;

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;
const TWO_DAYS: u64 = 2 * DAY;

/// Format, width, and form of times.
#[derive(Debug, Clone, Copy)]
pub(super) struct Style {
    pub format: Format,
    /// Columns of the terminal; `None` without a terminal, and for formats that ignore it.
    pub width: Option<usize>,
    /// Times as times, not as ages.
    pub absolute: bool,
    /// The time that ages count from.
    pub now: Timestamp,
}

impl Style {
    /// The style of this process's standard output.
    pub fn new(format: Format, absolute: bool) -> Self {
        let width = terminal_width().filter(|_| format == Format::Table);
        Self { format, width, absolute, now: Timestamp::now() }
    }

    /// Formats a time to the second, or its age in the largest unit that makes at least one, or two for days.
    pub fn time(self, at: Timestamp) -> String {
        if self.absolute {
            return time(at);
        }
        let age = self.now.duration_since(at);
        let seconds = age.unsigned_abs().as_secs();
        let span = match seconds {
            0 => return "now".to_owned(),
            1..MINUTE => format!("{seconds} s"),
            MINUTE..HOUR => format!("{} min", seconds / MINUTE),
            HOUR..TWO_DAYS => format!("{} h", seconds / HOUR),
            _ => format!("{} d", seconds / DAY),
        };
        if age.is_negative() { format!("in {span}") } else { format!("{span} ago") }
    }
}

/// Formats a time to the second.
pub(super) fn time(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%SZ").to_string()
}

/// Columns of the terminal on standard output; `None` if it is not a terminal.
fn terminal_width() -> Option<usize> {
    if !io::stdout().is_terminal() {
        return None;
    }
    let size = ratatui::crossterm::terminal::size().ok();
    size.map(|(columns, _)| columns.into()).filter(|width| *width > 0)
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;

    #[test]
    fn times_are_ages_unless_absolute() {
        let now: Timestamp = "2026-08-21T15:27:32Z".parse().unwrap();
        let style = Style { format: Format::Table, width: None, absolute: false, now };
        for (seconds, expected) in [
            (0, "now"),
            (59, "59 s ago"),
            (60, "1 min ago"),
            (359, "5 min ago"),
            (3_600, "1 h ago"),
            (172_799, "47 h ago"),
            (172_800, "2 d ago"),
            (97 * 86_400, "97 d ago"),
            (-90, "in 1 min"),
        ] {
            assert_eq!(style.time(now - SignedDuration::from_secs(seconds)), expected);
        }
        let absolute = Style { absolute: true, ..style };
        assert_eq!(absolute.time(now), "2026-08-21 15:27:32Z");
    }
}
