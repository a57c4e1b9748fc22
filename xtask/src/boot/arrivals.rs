//! Datagrams and connections that reached the guest's sockets, by source.

use anyhow::{Context as _, Result};

use super::guest::Guest;
use super::network::FRIEND;

/// Sums up the record by protocol and source: protocol, source, number, first.
const SUMMARY: &str = "awk '{ key = $2 \" \" $3; number[key]++; if (!(key in first)) first[key] = $1 } \
                       END { for (key in number) print key, number[key], first[key] }' /run/arrivals";

/// Totals of one boot, up to now.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Arrivals {
    pub friend_datagrams: u64,
    pub friend_connections: u64,
    pub stranger_datagrams: u64,
    /// Those of the datagrams that came by IPv6.
    pub stranger_ipv6: u64,
    pub stranger_connections: u64,
    /// Times since the start of the kernel, in seconds.
    pub first_friend: Option<f64>,
    pub first_stranger: Option<f64>,
    /// Time at which the UDP socket opened.
    pub opened: Option<f64>,
}

impl Arrivals {
    pub fn read(guest: &mut Guest) -> Result<Self> {
        Self::parse(&guest.read(SUMMARY)?)
    }

    /// Returns the number of packets and connections of a denied source.
    pub fn strange(&self) -> u64 {
        self.stranger_datagrams + self.stranger_connections
    }

    fn parse(summary: &str) -> Result<Self> {
        let mut arrivals = Self::default();
        for line in summary.lines() {
            arrivals.add(line).with_context(|| format!("arrivals: {line:?}"))?;
        }
        Ok(arrivals)
    }

    /// Adds a line of the summary. Every source except the allowed one counts as denied.
    fn add(&mut self, line: &str) -> Option<()> {
        let mut words = line.split(' ');
        let (protocol, source) = (words.next()?, words.next()?);
        let (number, first): (u64, f64) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        let earliest = |at: Option<f64>| Some(at.map_or(first, |at| at.min(first)));
        match (source, protocol) {
            ("open", "udp") => self.opened = Some(first),
            ("open", _) => {}
            (FRIEND, _) => {
                let total =
                    if protocol == "udp" { &mut self.friend_datagrams } else { &mut self.friend_connections };
                *total += number;
                self.first_friend = earliest(self.first_friend);
            }
            _ => {
                let total = if protocol == "udp" {
                    &mut self.stranger_datagrams
                } else {
                    &mut self.stranger_connections
                };
                *total += number;
                self.stranger_ipv6 += if source.contains(':') { number } else { 0 };
                self.first_stranger = earliest(self.first_stranger);
            }
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_other_source_than_the_friend_is_a_stranger() {
        let summary = "udp open 1 12.5\nudp 192.0.2.20 7 30.25\ntcp open 2 31.0\ntcp 192.0.2.20 3 32.0\n\
                       udp 192.0.2.66 2 29.0\nudp fe80::66 4 28.0\ntcp 192.0.2.66 1 33.0";
        let expected = Arrivals {
            friend_datagrams: 7,
            friend_connections: 3,
            stranger_datagrams: 6,
            stranger_ipv6: 4,
            stranger_connections: 1,
            first_friend: Some(30.25),
            first_stranger: Some(28.0),
            opened: Some(12.5),
        };
        assert_eq!(Arrivals::parse(summary).unwrap(), expected);
        assert_eq!(expected.strange(), 7);
        assert_eq!(Arrivals::parse("").unwrap(), Arrivals::default());
        assert!(Arrivals::parse("udp 192.0.2.20 many 1.0").is_err());
    }
}
