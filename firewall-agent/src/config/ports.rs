//! Guarded ports: closed until a rule file opens an endpoint there.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

/// An entry of `guarded_ports`: the ports, and whether they are closed to new connections only.
pub(super) type Entry = (RangeInclusive<u16>, bool);

/// Sorted ranges of ports 1–65535, host byte order; no two overlap, and no two of one kind touch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GuardedPorts(Vec<Entry>);

impl GuardedPorts {
    /// Sorts and merges the ranges. A port in ranges of both kinds is closed to every packet.
    #[must_use]
    pub fn new(
        strict: impl IntoIterator<Item = RangeInclusive<u16>>,
        new_connections: impl IntoIterator<Item = RangeInclusive<u16>>,
    ) -> Self {
        let strict = merged_ranges(strict);
        let rest = merged_ranges(new_connections).into_iter().flat_map(|range| without(range, &strict));
        let mut entries: Vec<Entry> = rest.map(|range| (range, true)).collect();
        entries.extend(strict.into_iter().map(|range| (range, false)));
        entries.sort_by_key(|(range, _)| *range.start());
        Self(entries)
    }

    pub(super) fn from_entries(entries: Vec<Entry>) -> Self {
        let (new_connections, strict): (Vec<Entry>, Vec<Entry>) =
            entries.into_iter().partition(|(_, new_connections)| *new_connections);
        let ranges = |entries: Vec<Entry>| entries.into_iter().map(|(range, _)| range);
        Self::new(ranges(strict), ranges(new_connections))
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Ports closed to every packet.
    pub fn strict(&self) -> impl Iterator<Item = u16> {
        self.of_kind(false)
    }

    /// Ports closed to new connections only.
    pub fn new_connections(&self) -> impl Iterator<Item = u16> {
        self.of_kind(true)
    }

    fn of_kind(&self, wanted: bool) -> impl Iterator<Item = u16> {
        self.0.iter().filter(move |(_, kind)| *kind == wanted).flat_map(|(range, _)| range.clone())
    }
}

/// Sorted ranges, merged where they overlap or touch.
#[must_use]
pub fn merged_ranges(ranges: impl IntoIterator<Item = RangeInclusive<u16>>) -> Vec<RangeInclusive<u16>> {
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
    merged
}

/// The parts of a range outside of merged ranges.
fn without(range: RangeInclusive<u16>, taken: &[RangeInclusive<u16>]) -> Vec<RangeInclusive<u16>> {
    let (mut parts, mut first) = (Vec::new(), u32::from(*range.start()));
    let end = u32::from(*range.end());
    for one in taken {
        let (from, to) = (u32::from(*one.start()), u32::from(*one.end()));
        if to < first || from > end {
            continue;
        }
        parts.push((first, from.saturating_sub(1)));
        first = to + 1;
    }
    parts.push((first, end));
    let ports = |(first, last): (u32, u32)| {
        let range = u16::try_from(first).ok()?..=u16::try_from(last).ok()?;
        (!range.is_empty()).then_some(range)
    };
    parts.into_iter().filter_map(ports).collect()
}

/// Formats as in the configuration file: `[5432, {ports: 30000-32767, new_connections_only: true}]`.
impl fmt::Display for GuardedPorts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[")?;
        for (i, (range, new_connections)) in self.0.iter().enumerate() {
            let comma = if i == 0 { "" } else { ", " };
            let (first, last) = (range.start(), range.end());
            let ports = if first == last { first.to_string() } else { format!("{first}-{last}") };
            if *new_connections {
                write!(f, "{comma}{{ports: {ports}, new_connections_only: true}}")?;
            } else {
                write!(f, "{comma}{ports}")?;
            }
        }
        f.write_str("]")
    }
}

/// Parses `5432,30000-32767`, in brackets or not, with entries of both forms; the empty set only as `[]`.
impl FromStr for GuardedPorts {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bare = text.trim();
        let list = bare.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(bare);
        if list.trim().is_empty() && list.len() < bare.len() {
            return Ok(Self::default());
        }
        let entries: Result<Vec<_>, String> = parts(list).into_iter().map(entry).collect();
        entries.map(Self::from_entries)
    }
}

/// The parts of a list, divided at the commas outside of braces.
fn parts(list: &str) -> Vec<&str> {
    let mut depth = 0_i32;
    let is_comma = |c: char| {
        depth += i32::from(c == '{') - i32::from(c == '}');
        c == ',' && depth == 0
    };
    list.split(is_comma).map(str::trim).collect()
}

/// Parses an entry of either form, the longer one in the flow style of YAML.
fn entry(text: &str) -> Result<Entry, String> {
    let Some(fields) = text.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) else {
        return Ok((port_range(text)?, false));
    };
    let (mut ports, mut new_connections) = (None, None);
    for field in fields.split(',') {
        match field.split_once(':').map(|(name, value)| (name.trim(), value.trim())) {
            Some((PORTS, value)) if ports.is_none() => ports = Some(port_range(value)?),
            Some((NEW_CONNECTIONS_ONLY, value)) if new_connections.is_none() => {
                new_connections = Some(
                    value
                        .parse()
                        .map_err(|_| format!("{NEW_CONNECTIONS_ONLY} {value}: must be true or false"))?,
                );
            }
            _ => return Err(format!("{}: {ENTRY}", field.trim())),
        }
    }
    let ports = ports.ok_or_else(|| format!("{text}: {ENTRY}"))?;
    Ok((ports, new_connections.unwrap_or(false)))
}

/// Fields of an entry.
pub(super) const PORTS: &str = "ports";
pub(super) const NEW_CONNECTIONS_ONLY: &str = "new_connections_only";
const ENTRY: &str =
    "an entry is a port, a range of them, or {ports: 30000-32767, new_connections_only: true}";

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
            ("{ports: 7, new_connections_only: false}", "[7]"),
            (
                "5432,{ports: 30000-32767,new_connections_only: true}",
                "[5432, {ports: 30000-32767, new_connections_only: true}]",
            ),
            ("[{new_connections_only: true, ports: 9}, 9-10]", "[9-10]"),
            (
                "{ports: 10-30, new_connections_only: true},1-10,20,30-40",
                "[1-10, {ports: 11-19, new_connections_only: true}, 20, {ports: 21-29, new_connections_only: true}, 30-40]",
            ),
            ("1-65535,{ports: 5, new_connections_only: true}", "[1-65535]"),
        ] {
            let ports = text.parse::<GuardedPorts>().unwrap();
            assert_eq!(ports.to_string(), expected, "{text}");
            assert_eq!(ports.to_string().parse::<GuardedPorts>().unwrap(), ports, "{text}");
        }
    }

    #[test]
    fn invalid_ports_are_refused() {
        for text in ["", "0", "65536", "-1", "5-", "9-8", "0x10", "08", "1,,2", "1,", "a", "+5"] {
            assert!(text.parse::<GuardedPorts>().is_err(), "{text:?} was accepted");
        }
        for text in [
            "{}",
            "{ports: 0}",
            "{ports: 5, new_connections_only: yes}",
            "{new_connections_only: true}",
            "{ports: 5, ports: 6}",
            "{ports: 5, new: true}",
            "{ports: 5",
            "ports: 5}",
            "{5}",
        ] {
            assert!(text.parse::<GuardedPorts>().is_err(), "{text:?} was accepted");
        }
    }
}
