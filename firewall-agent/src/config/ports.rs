//! Guarded ports: closed until a rule file opens an endpoint there.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

/// Sorted ranges of ports 1–65535, host byte order; no two overlap or touch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GuardedPorts(Vec<RangeInclusive<u16>>);

impl GuardedPorts {
    /// Sorts and merges the ranges.
    #[must_use]
    pub fn new(ranges: impl IntoIterator<Item = RangeInclusive<u16>>) -> Self {
        let mut sorted: Vec<_> = ranges.into_iter().filter(|range| !range.is_empty()).collect();
        sorted.sort_by_key(|range| *range.start());
        let mut merged: Vec<RangeInclusive<u16>> = Vec::new();
        for range in sorted {
            match merged.last_mut() {
                Some(last) if u32::from(*range.start()) <= u32::from(*last.end()) + 1 => {
                    *last = *last.start()..=*last.end().max(range.end());
                }
                _ => merged.push(range),
            }
        }
        Self(merged)
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    #[must_use]
    pub fn ranges(&self) -> &[RangeInclusive<u16>] {
        &self.0
    }
}

/// Formats as in the configuration file: `[5432, 30000-32767]`.
impl fmt::Display for GuardedPorts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[")?;
        for (i, range) in self.0.iter().enumerate() {
            let comma = if i == 0 { "" } else { ", " };
            if range.start() == range.end() {
                write!(f, "{comma}{}", range.start())?;
            } else {
                write!(f, "{comma}{}-{}", range.start(), range.end())?;
            }
        }
        f.write_str("]")
    }
}

/// Parses `5432,30000-32767`, in brackets or not; the empty set only as `[]`.
impl FromStr for GuardedPorts {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bare = text.trim();
        let list = bare.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(bare);
        if list.trim().is_empty() && list.len() < bare.len() {
            return Ok(Self::default());
        }
        let ranges: Result<Vec<_>, String> = list.split(',').map(|part| port_range(part.trim())).collect();
        ranges.map(Self::new)
    }
}

/// Parses `5432` or `30000-32767`.
///
/// # Errors
/// The reason why the text is neither, without the text itself.
pub(super) fn port_range(text: &str) -> Result<RangeInclusive<u16>, String> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (port(first)?, port(last)?);
    if first > last { Err("range ends before it starts".to_owned()) } else { Ok(first..=last) }
}

fn port(text: &str) -> Result<u16, String> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) && !text.starts_with('0');
    let port = digits.then(|| text.parse().ok()).flatten();
    port.ok_or_else(|| "must be a port from 1 to 65535 or a range of them, as in 30000-32767".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_sorted_and_merged_when_they_overlap_or_touch() {
        for (text, expected) in [
            ("5432", "[5432]"),
            ("30000-32767,5432", "[5432, 30000-32767]"),
            ("10-20,15-30", "[10-30]"),
            ("10-20,21-30,32", "[10-30, 32]"),
            ("65535,1-65534", "[1-65535]"),
            ("10-30,12-13", "[10-30]"),
            (" [5432, 80] ", "[80, 5432]"),
            ("[]", "[]"),
        ] {
            assert_eq!(text.parse::<GuardedPorts>().unwrap().to_string(), expected, "{text}");
        }
    }

    #[test]
    fn invalid_ports_are_refused() {
        for text in ["", "0", "65536", "-1", "5-", "9-8", "0x10", "08", "1,,2", "1,", "a", "+5"] {
            assert!(text.parse::<GuardedPorts>().is_err(), "{text:?} was accepted");
        }
    }
}
