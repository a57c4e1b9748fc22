//! Databases, sources, and the files that allow them.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::Range;

use firewall_tests::lab::{RangesFile, RuleFile};
use jiff::Timestamp;

pub const DATABASES: usize = 50;
/// The database with the PostgreSQL server.
pub const POSTGRES: usize = 0;
/// Databases that are removed and come back.
pub const REMOVABLE: Range<usize> = 40..DATABASES;

/// Sources that every revision of every database allows.
pub const FRIENDS: Range<usize> = 0..8;
/// Sources that nothing ever allows.
pub const STRANGERS: Range<usize> = 8..16;
/// Sources that rules of single databases allow at times.
pub const LISTED: Range<usize> = 16..32;
/// Sources that the managed range holds at times.
pub const RANGED: Range<usize> = 32..40;
pub const SOURCES: usize = 40;

const RANGE: &str = "man-egress";
/// Addresses of the range that no source has: one more or less is no implausible change.
const CONSTANT: Range<u8> = 200..220;
/// The end of the friends' second rule: beyond the soak, and before every wrong clock.
const FAR: jiff::SignedDuration = jiff::SignedDuration::from_hours(48);

pub const SERVER4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 10);
pub const SERVER6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, 0x10);

/// Returns the address of a source, of the family of the database.
pub fn address(source: usize, database: usize) -> IpAddr {
    let last = u8::try_from(16 + source).unwrap_or(u8::MAX);
    match is_ipv6(database) {
        true => Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 1, last.into()).into(),
        false => Ipv4Addr::new(192, 0, 2, last).into(),
    }
}

pub fn is_ipv6(database: usize) -> bool {
    database % 2 == 1
}

/// Returns the UDP destination of a database; half of them are at ports that no guard closes.
pub fn destination(database: usize) -> SocketAddr {
    let number = u16::try_from(database).unwrap_or_default();
    let port = if database % 4 < 2 { 30_000 } else { 20_000 } + number;
    match is_ipv6(database) {
        true => (SERVER6, port).into(),
        false => (SERVER4, port).into(),
    }
}

/// A database, as its newest file has it.
pub struct Database {
    pub number: usize,
    pub revision: u64,
    pub is_removed: bool,
    pub listed: BTreeSet<usize>,
    /// A listed source whose rule ends by itself.
    pub expiring: Option<(usize, Timestamp)>,
}

impl Database {
    pub fn new(number: usize) -> Self {
        Self { number, revision: 0, is_removed: false, listed: BTreeSet::new(), expiring: None }
    }

    /// Returns whether the newest files allow a source, `ranged` being the sources in the managed range.
    pub fn allows(&self, source: usize, ranged: &BTreeSet<usize>) -> bool {
        let is_listed =
            FRIENDS.contains(&source) || self.listed.contains(&source) || ranged.contains(&source);
        is_listed && !self.is_removed
    }

    /// Returns the file of the next revision.
    pub fn next_file(&mut self) -> RuleFile {
        self.revision += 1;
        let now = Timestamp::now();
        let file = RuleFile::new(&self.id(), self.revision).generated_at(now.to_string());
        let to = destination(self.number).to_string();
        let mut file = file.udp_endpoint(&to);
        if self.number == POSTGRES {
            file = file.endpoint(&format!("{SERVER4}:5432"));
        }
        if self.is_removed {
            return file.removed();
        }
        let first = address(FRIENDS.start, self.number);
        let half = address(FRIENDS.start + FRIENDS.len() / 2, self.number);
        let length = if is_ipv6(self.number) { 126 } else { 30 };
        file = file.rule(&format!("id: friends-1, type: custom_range, cidr: '{first}/{length}'"));
        let until = now + FAR;
        let ends = format!("expires_at: '{until}'");
        file = file.rule(&format!("id: friends-2, type: custom_range, cidr: '{half}/{length}', {ends}"));
        file = file.rule(&format!("id: egress, type: managed_range, range_id: {RANGE}"));
        for source in &self.listed {
            let ends = match self.expiring {
                Some((expiring, until)) if expiring == *source => format!(", expires_at: '{until}'"),
                _ => String::new(),
            };
            let cidr = host_cidr(address(*source, self.number));
            file = file.rule(&format!("id: fr-{source}, type: custom_range, cidr: '{cidr}'{ends}"));
        }
        file
    }

    pub fn id(&self) -> String {
        format!("database-{:02}", self.number)
    }
}

/// Returns the file of the managed range with these sources, of both families.
pub fn ranges(revision: u64, ranged: &BTreeSet<usize>) -> RangesFile {
    let constant = CONSTANT.map(|last| Ipv4Addr::new(203, 0, 113, last).into());
    let sources = ranged.iter().flat_map(|source| [address(*source, 0), address(*source, 1)]);
    let cidrs: Vec<String> = constant.chain(sources).map(host_cidr).collect();
    RangesFile::new(revision).generated_at(Timestamp::now().to_string()).range(RANGE, &cidrs)
}

fn host_cidr(address: IpAddr) -> String {
    format!("{address}/{}", if address.is_ipv6() { 128 } else { 32 })
}
