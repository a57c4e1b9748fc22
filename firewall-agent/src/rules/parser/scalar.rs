//! Parsers of single scalars. Errors give the reason without repeating the text.

use std::ops::RangeInclusive;
use std::str::FromStr;

use jiff::Timestamp;
use jiff::fmt::temporal::Pieces;

use crate::escape::is_forbidden;
use crate::rules::InvalidIdent;

/// Most characters of a label or name.
pub(crate) const MAX_LABEL_CHARS: usize = 256;

/// Parses a number within `range` in plain decimal digits.
pub(crate) fn decimal<T: TryFrom<u64>>(range: RangeInclusive<u64>) -> impl FnOnce(&str) -> Result<T, String> {
    move |text| {
        let digits = text.bytes().all(|b| b.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
        let number =
            digits.then(|| text.parse::<u64>().ok()).flatten().filter(|number| range.contains(number));
        number.and_then(|number| T::try_from(number).ok()).ok_or_else(|| {
            let (first, last) = (range.start(), range.end());
            let wanted =
                if first == last { first.to_string() } else { format!("a number from {first} to {last}") };
            format!("must be {wanted} in plain decimal digits")
        })
    }
}

/// Parses one of these names to its meaning.
pub(crate) fn choice<T: Copy>(meanings: &[(&'static str, T)]) -> impl FnOnce(&str) -> Result<T, String> {
    move |text| {
        let found = meanings.iter().find(|(name, _)| *name == text);
        found.map(|(_, meaning)| *meaning).ok_or_else(|| {
            let names: Vec<&str> = meanings.iter().map(|(name, _)| *name).collect();
            format!("must be {}", names.join(" or "))
        })
    }
}

/// Parses `true` or `false`.
pub(crate) fn flag(text: &str) -> Result<bool, String> {
    match text {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err("must be true or false".to_owned()),
    }
}

pub(crate) fn ident<T: FromStr<Err = InvalidIdent>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|error: InvalidIdent| error.reason.to_owned())
}

/// Parses free text for people.
pub(crate) fn label(text: &str) -> Result<String, String> {
    if text.chars().any(is_forbidden) {
        Err("control and direction characters are not allowed".to_owned())
    } else if text.chars().count() > MAX_LABEL_CHARS {
        Err(format!("is longer than {MAX_LABEL_CHARS} characters"))
    } else {
        Ok(text.to_owned())
    }
}

/// Parses the expiry time of a rule: RFC 3339, with its offset from UTC.
pub(crate) fn expiry(text: &str) -> Result<Timestamp, String> {
    let at = timestamp(text)?;
    if is_zero_of_go(at) {
        return Err("Go's zero time; leave the field out for a rule that does not expire".to_owned());
    }
    Ok(at)
}

/// Parses the creation time of a file: RFC 3339, with its offset from UTC.
pub(crate) fn generated(text: &str) -> Result<Timestamp, String> {
    let at = timestamp(text)?;
    if is_zero_of_go(at) {
        return Err("Go's zero time; must be the time at which the file was made".to_owned());
    }
    Ok(at)
}

/// Returns `true` for `0001-01-01T00:00:00Z`, which Go writes for an unset `time.Time`.
fn is_zero_of_go(at: Timestamp) -> bool {
    /// Seconds since 1970.
    const ZERO: i64 = -62_135_596_800;
    at.as_second() == ZERO && at.subsec_nanosecond() == 0
}

/// Parses RFC 3339 with an offset from UTC. The last day of year 9999 is beyond [`Timestamp::MAX`] and becomes it.
fn timestamp(text: &str) -> Result<Timestamp, String> {
    let shape = "dddd-dd-ddTdd:dd:dd";
    let fits = |(c, want): (u8, u8)| if want == b'd' { c.is_ascii_digit() } else { c == want };
    let date_and_time = text.len() > shape.len() && text.bytes().zip(shape.bytes()).all(fits);
    let zone_only = !text.contains(['[', ' ']);
    let parsed = if date_and_time && zone_only { text.parse().ok().or_else(|| latest(text)) } else { None };
    parsed.ok_or_else(|| "must be a time with its zone, as in 2026-08-21T15:27:32Z".to_owned())
}

/// [`Timestamp::MAX`] for a valid time of year 9999.
fn latest(text: &str) -> Option<Timestamp> {
    let pieces = Pieces::parse(text).ok()?;
    pieces.time()?;
    pieces.offset()?;
    (pieces.date().year() == 9999).then_some(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_plain_decimal_digits_within_its_range() {
        for (text, value) in [("1", Some(1)), ("65535", Some(65535)), ("42", Some(42))] {
            assert_eq!(decimal::<u16>(1..=65535)(text).ok(), value, "{text}");
        }
        for text in [
            "",
            "0",
            "65536",
            "-1",
            "+1",
            "0x2A",
            "0o52",
            "052",
            "4_2",
            "42.0",
            "4e1",
            " 42",
            "99999999999999999999",
        ] {
            assert!(decimal::<u16>(1..=65535)(text).is_err(), "{text:?} was accepted");
        }
        assert_eq!(decimal::<u64>(0..=1)("0"), Ok(0));
    }

    #[test]
    fn a_timestamp_is_rfc_3339_with_a_zone() {
        for text in ["2026-08-21T15:27:32Z", "2026-08-21T15:27:32.123456Z", "2026-08-21T17:27:32+02:00"] {
            assert!(timestamp(text).is_ok(), "{text:?} was refused");
        }
        for text in [
            "",
            "2026-08-21",
            "2026-08-21T15:27:32",
            "2026-08-21 15:27:32Z",
            "2026-08-21T15:27Z",
            "20260821T152732Z",
            "2026-02-30T00:00:00Z",
            "2026-08-21T25:00:00Z",
            "2026-08-21T15:27:32+02:00[Europe/Paris]",
            "1787325000",
            "tomorrow",
        ] {
            assert!(timestamp(text).is_err(), "{text:?} was accepted");
        }
    }

    #[test]
    fn end_of_the_calendar_is_accepted() {
        for text in [
            "9999-12-31T23:59:59Z",
            "9999-12-31T23:59:59.999999999Z",
            "9999-12-31T23:59:59-12:00",
            "9999-12-31T23:59:59.9-00:30",
        ] {
            assert_eq!(expiry(text), Ok(Timestamp::MAX), "{text}");
        }
        let last = "9999-12-30T21:59:59Z";
        assert_eq!(expiry(last).unwrap().to_string(), last, "the control: a valid time is unchanged");
        assert!(expiry("9999-12-31T20:59:59+23:00").unwrap() < Timestamp::MAX);
        for text in [
            "9999-12-32T23:59:59Z",
            "9999-12-31T24:00:00Z",
            "9999-12-31T23:59:59",
            "9999-12-31T23:59:59Z[UTC]",
            "9999-12-31T23:59:59+99:00",
            "10000-01-01T00:00:00Z",
        ] {
            assert!(expiry(text).is_err(), "{text:?} was accepted");
        }
    }

    #[test]
    fn go_zero_time_is_refused() {
        for text in ["0001-01-01T00:00:00Z", "0001-01-01T00:00:00.000Z", "0001-01-01T01:00:00+01:00"] {
            assert!(expiry(text).unwrap_err().starts_with("Go's zero time; leave the field out"), "{text}");
            assert!(generated(text).unwrap_err().starts_with("Go's zero time; must be"), "{text}");
        }
        assert!(expiry("0001-01-01T00:00:01Z").is_ok() && generated("1970-01-01T00:00:00Z").is_ok());
    }
}
