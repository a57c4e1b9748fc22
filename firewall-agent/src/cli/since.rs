//! Start of a period: a duration before now, or a time.

use std::str::FromStr;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Span, Timestamp};

/// The value of `--since`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Since {
    Ago(SignedDuration),
    At(Timestamp),
}

impl Since {
    /// The start of the period that ends at `now`.
    pub fn before(self, now: Timestamp) -> Timestamp {
        match self {
            Self::Ago(duration) => now.checked_sub(duration).unwrap_or(Timestamp::MIN),
            Self::At(time) => time,
        }
    }
}

impl FromStr for Since {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(time) = text.parse::<Timestamp>() {
            return Ok(Self::At(time));
        }
        if let Ok(date) = text.parse::<Date>() {
            let midnight = date.to_zoned(TimeZone::UTC).map_err(|error| error.to_string())?;
            return Ok(Self::At(midnight.timestamp()));
        }
        let span: Span = text
            .parse()
            .map_err(|_| "neither a duration (12h, 3d), nor a date or a time in RFC 3339".to_owned())?;
        // A day has 24 hours: in UTC it always has.
        let duration =
            span.to_duration(jiff::SpanRelativeTo::days_are_24_hours()).map_err(|error| error.to_string())?;
        if duration.is_negative() {
            return Err("must not be negative".to_owned());
        }
        Ok(Self::Ago(duration))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_counts_back_from_now_and_a_time_is_itself() {
        let now: Timestamp = "2026-08-21T15:27:32Z".parse().unwrap();
        for (text, from) in [
            ("12h", "2026-08-21T03:27:32Z"),
            ("3d", "2026-08-18T15:27:32Z"),
            ("1d 2h", "2026-08-20T13:27:32Z"),
            ("90m", "2026-08-21T13:57:32Z"),
            ("2026-08-20", "2026-08-20T00:00:00Z"),
            ("2026-08-20T01:02:03Z", "2026-08-20T01:02:03Z"),
            ("2026-08-20T01:02:03+02:00", "2026-08-19T23:02:03Z"),
        ] {
            assert_eq!(text.parse::<Since>().unwrap().before(now), from.parse().unwrap(), "{text}");
        }
        for text in ["", "9999y", "12", "-1h", "yesterday", "2026-13-01"] {
            assert!(text.parse::<Since>().is_err(), "{text}");
        }
    }
}
