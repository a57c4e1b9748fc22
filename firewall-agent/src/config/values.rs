//! Values of single keys, parsed from the text that file and flags share.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use glob::Pattern;

use crate::rules::parser::{decimal, label};

/// Upper limit of every bound: more entries than a host has memory for.
const MOST: u64 = 1 << 24;

/// Attach mode of the XDP program.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum XdpMode {
    /// In the driver.
    #[default]
    Native,
    /// In the stack, on any driver.
    Generic,
    /// Native, else generic.
    Auto,
}

impl fmt::Display for XdpMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Native => "native",
            Self::Generic => "generic",
            Self::Auto => "auto",
        })
    }
}

/// Mode of the socket filter.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum SocketFilterMode {
    /// Not attached.
    Off,
    /// Refused packets are counted and recorded, and enter the socket.
    #[default]
    Monitor,
    /// Refused packets do not enter the socket.
    Enforce,
}

impl SocketFilterMode {
    /// Returns whether packets are judged at sockets.
    pub fn is_on(self) -> bool {
        self != Self::Off
    }
}

impl fmt::Display for SocketFilterMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Off => "off",
            Self::Monitor => "monitor",
            Self::Enforce => "enforce",
        })
    }
}

/// Treatment of open TCP sessions whose source lost its access.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum RevokeSessions {
    /// Their packets are dropped; the server's socket stays until its TCP gives up.
    #[default]
    Keep,
    /// The server's socket is reset.
    Reset,
}

/// Address on which the agent serves HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listen {
    Unix(PathBuf),
    Tcp(SocketAddr),
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Tcp(address) => write!(f, "{address}"),
        }
    }
}

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.strip_prefix("unix:") {
            Some(path) if path.starts_with('/') => Ok(Self::Unix(path.into())),
            Some(_) => Err("must name an absolute path, as in unix:/run/firewall-agent/http.sock".to_owned()),
            None => text.parse().map(Self::Tcp).map_err(|_| {
                "must be unix:PATH or ADDRESS:PORT, as in unix:/run/firewall-agent/http.sock or 127.0.0.1:9639"
                    .to_owned()
            }),
        }
    }
}

/// Parses a time span of one unit: `500ms`, `10s`, `2m`, `1h`; more than zero, at most one day.
///
/// # Errors
/// The reason why the text is invalid, without the text itself.
pub fn duration(text: &str) -> Result<Duration, String> {
    let unit_at = text.bytes().take_while(u8::is_ascii_digit).count();
    let (digits, unit) = text.split_at(unit_at);
    let millis_per_unit = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err("must be a number and a unit (ms, s, m, h), as in 500ms, 10s, 2m".to_owned()),
    };
    let millis = digits.parse::<u64>().ok().and_then(|count| count.checked_mul(millis_per_unit));
    match millis {
        Some(millis @ 1..=86_400_000) => Ok(Duration::from_millis(millis)),
        Some(0) => Err("must be more than zero".to_owned()),
        _ => Err("must be a time span of at most one day, as in 500ms, 10s, 2m".to_owned()),
    }
}

/// Parses a bound on databases: at most the number that may share one address, since often all of a host do.
pub(super) fn databases_bound(text: &str) -> Result<u32, String> {
    decimal(1..=firewall_common::MAX_MEMBERS.into())(text)
}

/// Parses a bound on endpoints or prefixes: 1 to 16,777,216.
pub(super) fn bound(text: &str) -> Result<u32, String> {
    decimal(1..=MOST)(text)
}

/// Parses a number of days of memory: 1 to 365.
pub(super) fn days_bound(text: &str) -> Result<u32, String> {
    decimal(1..=365)(text)
}

/// Parses the disk space of a memory in MiB: 1 to 64.
pub(super) fn history_bound(text: &str) -> Result<u32, String> {
    decimal(1..=64)(text)
}

/// Parses a bound on the rules of one database: 1 to 10,000.
pub(super) fn rules_bound(text: &str) -> Result<usize, String> {
    decimal(1..=10_000)(text)
}

/// Parses a host name.
pub(super) fn name(text: &str) -> Result<String, String> {
    if text.is_empty() { Err("must not be empty".to_owned()) } else { label(text) }
}

/// Parses an interface name or a glob of names.
pub(super) fn interface(text: &str) -> Result<String, String> {
    let text = name(text)?;
    match Pattern::new(&text) {
        Ok(_) => Ok(text),
        Err(error) => Err(format!("must be a name or a glob, as in eth0 or bond*: {}", error.msg)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_a_number_and_one_unit() {
        for (text, millis) in
            [("500ms", 500), ("1s", 1000), ("10s", 10_000), ("2m", 120_000), ("24h", 86_400_000)]
        {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "10", "s", "0s", "-1s", "1.5s", "10 s", "1d", "25h", "99999999999999999999s", "10S"]
        {
            assert!(duration(text).is_err(), "{text:?} was accepted");
        }
    }

    #[test]
    fn a_listener_is_a_unix_path_or_an_address_with_a_port() {
        for text in ["unix:/run/x.sock", "127.0.0.1:9639", "[::1]:9639"] {
            assert_eq!(text.parse::<Listen>().unwrap().to_string(), text);
        }
        for text in ["", "unix:", "unix:x.sock", "9639", ":9639", "localhost:9639", "127.0.0.1"] {
            assert!(text.parse::<Listen>().is_err(), "{text:?} was accepted");
        }
    }
}
