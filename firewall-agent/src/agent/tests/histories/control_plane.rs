//! A control plane: the rule files and managed ranges that it issues, and the packets that each allows, computed
//! without the agent's parser and compiler.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use fastrand::Rng;
use ipnet::IpNet;
use jiff::{SignedDuration, Timestamp, Unit};

use super::blocked_file::BlockedFile;
use super::packets::{self, ADDRESSES, NETS, PORTS, Packets};
use crate::rules::{DatabaseId, Protocol};
use crate::sync::Destination;

const IDS: [&str; 3] = ["a", "b", "c"];
const RANGES: [&str; 2] = ["man-a", "man-b"];
/// Maximum number of rules of one database.
const MAX_RULES: usize = 3;

/// A source that a rule allows.
#[derive(Debug, Clone)]
enum Allowed {
    Net(IpNet, Option<Timestamp>),
    Range(&'static str),
}

/// One revision of a database.
#[derive(Debug, Clone)]
pub struct Issue {
    pub text: Vec<u8>,
    pub removed: bool,
    pub monitor: bool,
    pub destinations: BTreeSet<Destination>,
    rules: Vec<Allowed>,
    internal: Vec<IpNet>,
}

/// One revision of the managed ranges.
#[derive(Debug, Clone)]
pub struct RangesIssue {
    pub text: Vec<u8>,
    ranges: BTreeMap<&'static str, BTreeSet<IpNet>>,
}

/// Everything ever issued; a revision is its index plus one.
#[derive(Debug)]
pub struct ControlPlane {
    databases: BTreeMap<DatabaseId, Vec<Issue>>,
    pub ranges: Vec<RangesIssue>,
    pub blocked: Vec<BlockedFile>,
    /// It issues blocked ranges.
    pub blocks: bool,
    /// Error of its clock.
    pub skew: SignedDuration,
}

impl ControlPlane {
    pub fn new(databases: usize, blocks: bool) -> Self {
        let ids = IDS.into_iter().take(databases);
        let databases = ids.map(|id| (id.parse().unwrap(), Vec::new())).collect();
        Self { databases, ranges: Vec::new(), blocked: Vec::new(), blocks, skew: SignedDuration::ZERO }
    }

    pub fn ids(&self) -> Vec<DatabaseId> {
        self.databases.keys().cloned().collect()
    }

    /// The newest revision of a database; 0 before the first.
    pub fn newest(&self, id: &DatabaseId) -> u64 {
        self.databases[id].len() as u64
    }

    pub fn issue(&self, id: &DatabaseId, revision: u64) -> Option<&Issue> {
        self.databases.get(id)?.get(usize::try_from(revision).ok()?.checked_sub(1)?)
    }

    /// Issues the next revision of a database. `apart`: no destination overlaps one of another database's newest
    /// revision.
    pub fn change(&mut self, id: &DatabaseId, now: Timestamp, apart: bool, rng: &mut Rng) {
        let before = self.issue(id, self.newest(id)).cloned();
        let mut destinations = before.map(|issue| issue.destinations).unwrap_or_default();
        match rng.u8(0..9) {
            0..=2 if !destinations.is_empty() => {}
            3 => {
                destinations.pop_last();
            }
            // A wildcard replaces an address of its port, or the reverse.
            4 => {
                if let Some(destination) = destinations.pop_first() {
                    let address =
                        destination.address.is_none().then(|| ADDRESSES[rng.usize(..2)].parse().unwrap());
                    destinations.insert(Destination { address, ..destination });
                }
            }
            5 | 6 => {
                destinations.insert(destination(rng));
            }
            // Back to the destinations of an earlier revision.
            7 if self.newest(id) > 0 => {
                let earlier = self.issue(id, rng.u64(1..=self.newest(id)));
                destinations = earlier.map(|issue| issue.destinations.clone()).unwrap_or_default();
            }
            _ => destinations = (0..rng.usize(1..=2)).map(|_| destination(rng)).collect(),
        }
        if destinations.is_empty() {
            destinations.insert(destination(rng));
        }
        // A file may not name an address below a wildcard of its own.
        let all = destinations.clone();
        destinations.retain(|one| one.address.is_none() || !all.contains(&one.everywhere()));
        if apart {
            let others = self.databases.iter().filter(|(other, _)| *other != id);
            let others = others.filter_map(|(_, issues)| issues.last().filter(|issue| !issue.removed));
            let others: Vec<_> = others.flat_map(|issue| issue.destinations.iter().copied()).collect();
            destinations.retain(|mine| !others.iter().any(|other| other.overlaps(mine)));
        }
        let removed = destinations.is_empty() || rng.u8(0..10) == 0;
        let destinations = if removed { BTreeSet::new() } else { destinations };
        let rules: Vec<Allowed> = (0..rng.usize(0..=MAX_RULES)).map(|_| rule(now, rng)).collect();
        let internal = if rng.u8(0..4) == 0 { vec![net(rng)] } else { Vec::new() };
        let monitor = !removed && rng.u8(0..8) == 0;
        let mut issue = Issue { text: Vec::new(), removed, monitor, destinations, rules, internal };
        issue.text = self.text(id, &issue, now).into();
        self.databases.get_mut(id).unwrap().push(issue);
    }

    fn text(&self, id: &DatabaseId, issue: &Issue, now: Timestamp) -> String {
        let mut text = format!(
            "schema_version: 1\ndatabase_id: {id}\nrevision: {}\ngenerated_at: {}\n",
            self.newest(id) + 1,
            second(now + self.skew),
        );
        if issue.removed {
            text.push_str("state: removed\n");
        }
        if issue.monitor {
            text.push_str("mode: monitor\n");
        }
        let endpoint = |destination: &Destination| {
            let address =
                destination.address.map_or(String::new(), |address| format!("address: '{address}', "));
            let protocol = if destination.protocol == Protocol::Udp { ", protocol: udp" } else { "" };
            format!("{{{address}port: {}{protocol}}}", destination.port)
        };
        let endpoints: Vec<String> = issue.destinations.iter().map(endpoint).collect();
        let rule = |(at, rule): (usize, &Allowed)| {
            let what = match rule {
                Allowed::Net(net, None) => format!("custom_range, cidr: '{net}'"),
                Allowed::Net(net, Some(at)) => format!("custom_range, cidr: '{net}', expires_at: {at}"),
                Allowed::Range(range) => format!("managed_range, range_id: {range}"),
            };
            format!("{{id: r{at}, type: {what}}}")
        };
        let rules: Vec<String> = issue.rules.iter().enumerate().map(rule).collect();
        let internal: Vec<String> = issue.internal.iter().map(|net| format!("{{cidr: '{net}'}}")).collect();
        writeln!(text, "endpoints: [{}]\nrules: [{}]", endpoints.join(", "), rules.join(", ")).unwrap();
        if !internal.is_empty() {
            writeln!(text, "internal_ranges: [{}]", internal.join(", ")).unwrap();
        }
        text.push_str("...\n");
        text
    }

    /// Issues the next revision of the managed ranges; none is long enough for a host to retain the previous list, or
    /// the combination of two lists in its kernel.
    pub fn change_ranges(&mut self, now: Timestamp, rng: &mut Rng) {
        let mut text = format!(
            "schema_version: 1\nrevision: {}\ngenerated_at: {}\nranges:\n",
            self.ranges.len() + 1,
            second(now + self.skew)
        );
        let mut ranges = BTreeMap::new();
        for range in RANGES {
            let mut nets: BTreeSet<IpNet> = (0..rng.usize(1..=2)).map(|_| net(rng)).collect();
            while nets.iter().filter(|net| net.addr().is_ipv6()).count() > 1 {
                nets.pop_last();
            }
            let list: Vec<String> = nets.iter().map(|net| format!("'{net}'")).collect();
            writeln!(text, "  - {{id: {range}, name: {range}, cidrs: [{}]}}", list.join(", ")).unwrap();
            ranges.insert(range, nets);
        }
        text.push_str("...\n");
        self.ranges.push(RangesIssue { text: text.into(), ranges });
    }

    /// Issues the next revision of the blocked ranges; returns its description.
    pub fn change_blocked(&mut self, now: Timestamp, rng: &mut Rng, is_logged: bool) -> String {
        let revision = self.blocked.len() as u64 + 1;
        let file = BlockedFile::change(self.blocked.last(), revision, second(now + self.skew), rng);
        let text = if is_logged { file.text() } else { String::new() };
        self.blocked.push(file);
        format!("blocked ranges {revision} are issued:\n{text}")
    }

    /// Networks that a revision allows at a time, under a revision of the managed ranges; 0: none was ever read.
    pub fn nets(&self, issue: &Issue, ranges: u64, now: Timestamp) -> BTreeSet<IpNet> {
        let ranges = ranges.checked_sub(1).and_then(|at| self.ranges.get(usize::try_from(at).ok()?));
        let mut allowed: BTreeSet<IpNet> = issue.internal.iter().copied().collect();
        for rule in &issue.rules {
            match rule {
                Allowed::Net(net, expires_at) if expires_at.is_none_or(|at| now < at) => {
                    allowed.insert(*net);
                }
                Allowed::Net(..) => {}
                Allowed::Range(range) => allowed.extend(ranges.iter().flat_map(|all| &all.ranges[range])),
            }
        }
        allowed
    }

    /// Packets that a revision allows at a time, with or without permission for monitor mode.
    pub fn allowed(&self, issue: &Issue, ranges: u64, now: Timestamp, allow_monitor: bool) -> Packets {
        packets::from(&self.nets(issue, ranges, now), issue.monitor && allow_monitor, &issue.destinations)
    }

    /// Destinations of every revision of a database.
    pub fn ever_claimed(&self, id: &DatabaseId) -> BTreeSet<Destination> {
        let issues = self.databases.get(id).into_iter().flatten();
        issues.flat_map(|issue| &issue.destinations).copied().collect()
    }

    /// Number of prefixes in a revision.
    pub fn prefixes(&self, issue: &Issue, ranges: u64, now: Timestamp) -> usize {
        self.nets(issue, ranges, now).len()
    }
}

impl Issue {
    /// Expiry times of its rules.
    pub fn expiries(&self) -> impl Iterator<Item = Timestamp> + '_ {
        self.rules.iter().filter_map(|rule| match rule {
            Allowed::Net(_, at) => *at,
            Allowed::Range(_) => None,
        })
    }
}

fn second(time: Timestamp) -> Timestamp {
    time.round(Unit::Second).unwrap()
}

fn destination(rng: &mut Rng) -> Destination {
    let address = match rng.usize(0..6) {
        at @ 0..=2 => Some(ADDRESSES[at].parse().unwrap()),
        3 => Some(ADDRESSES[0].parse().unwrap()),
        _ => None,
    };
    let port = PORTS[rng.usize(..PORTS.len())];
    let protocol = if port == PORTS[2] && rng.u8(0..4) == 0 { Protocol::Udp } else { Protocol::Tcp };
    Destination { address, port, protocol }
}

fn rule(now: Timestamp, rng: &mut Rng) -> Allowed {
    match rng.u8(0..6) {
        0 | 1 => Allowed::Range(RANGES[rng.usize(..RANGES.len())]),
        2 => Allowed::Net(net(rng), Some(second(now + SignedDuration::from_secs(rng.i64(-600..5400))))),
        _ => Allowed::Net(net(rng), None),
    }
}

fn net(rng: &mut Rng) -> IpNet {
    NETS[rng.usize(..NETS.len())].parse().unwrap()
}
