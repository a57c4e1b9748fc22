//! A control plane: what it issues, and what each of it means, worked out without the agent's parser and compiler.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use fastrand::Rng;
use ipnet::IpNet;
use jiff::{SignedDuration, Timestamp};

use crate::rules::DatabaseId;

const NETS: [&str; 7] = [
    "192.0.2.0/24",
    "192.0.2.7/32",
    "198.51.100.0/25",
    "203.0.113.9/32",
    "2001:db8::/32",
    "2001:db8:1::/48",
    "2001:db8::5/128",
];
const RANGES: [&str; 2] = ["man-a", "man-b"];
/// Rules of one database: with more, the twin's lines would run out.
const RULES: usize = 4;

/// Whom a rule allows.
#[derive(Debug, Clone)]
enum Allowed {
    Net(IpNet, Option<Timestamp>),
    Range(&'static str),
}

/// One revision of a database, as it was issued.
#[derive(Debug, Clone)]
pub struct Issue {
    pub text: Vec<u8>,
    pub removed: bool,
    pub target: String,
    rules: Vec<Allowed>,
}

/// One revision of the managed ranges.
#[derive(Debug, Clone)]
pub struct RangesIssue {
    pub text: Vec<u8>,
    ranges: BTreeMap<&'static str, BTreeSet<IpNet>>,
}

/// Everything that was ever issued; the revision is one more than the index.
#[derive(Debug)]
pub struct Provider {
    pub databases: BTreeMap<DatabaseId, Vec<Issue>>,
    pub ranges: Vec<RangesIssue>,
    /// How far its clock is from the truth.
    pub skew: SignedDuration,
}

impl Provider {
    pub fn new(databases: usize) -> Self {
        let ids = ["a", "b", "c"].into_iter().take(databases);
        let databases = ids.map(|id| (id.parse().unwrap(), Vec::new())).collect();
        Self { databases, ranges: Vec::new(), skew: SignedDuration::ZERO }
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

    /// Issues one more revision of a database, at a true time.
    pub fn change(&mut self, id: &DatabaseId, now: Timestamp, rng: &mut Rng) {
        let removed = rng.u8(0..12) == 0;
        let rules: Vec<Allowed> = (0..rng.usize(0..=RULES)).map(|_| rule(now, rng)).collect();
        let rules = if removed { Vec::new() } else { rules };
        let at = self.databases.keys().position(|one| one == id).unwrap_or_default();
        let address = rng.choice([None, Some("10.0.0.1"), Some("10.0.0.2")]).flatten();
        let port = 5001 + at;
        let place = address.map_or(String::new(), |address| format!("address: {address}, "));
        let generated_at = (now + self.skew).round(jiff::Unit::Second).unwrap();
        let mut text = format!(
            "schema_version: 1\ndatabase_id: {id}\nrevision: {}\ngenerated_at: {generated_at}\nstate: {}\n",
            self.newest(id) + 1,
            if removed { "removed" } else { "active" },
        );
        let endpoints = if removed { String::new() } else { format!("{{{place}port: {port}}}") };
        writeln!(text, "endpoints: [{endpoints}]\nrules:{}", if rules.is_empty() { " []" } else { "" })
            .unwrap();
        for (at, rule) in rules.iter().enumerate() {
            let what = match rule {
                Allowed::Net(net, None) => format!("custom_range, cidr: '{net}'"),
                Allowed::Net(net, Some(at)) => format!("custom_range, cidr: '{net}', expires_at: {at}"),
                Allowed::Range(range) => format!("managed_range, range_id: {range}"),
            };
            writeln!(text, "  - {{id: r{at}, type: {what}}}").unwrap();
        }
        text.push_str("...\n");
        let target = format!("{}:{port}/tcp", address.unwrap_or("*"));
        let issue = Issue { text: text.into(), removed, target, rules };
        self.databases.get_mut(id).unwrap().push(issue);
    }

    /// Issues one more revision of the managed ranges; none loses so much that a host would keep it.
    pub fn change_ranges(&mut self, now: Timestamp, rng: &mut Rng) {
        let mut ranges = BTreeMap::new();
        let mut text = format!(
            "schema_version: 1\nrevision: {}\ngenerated_at: {}\nranges:\n",
            self.ranges.len() + 1,
            (now + self.skew).round(jiff::Unit::Second).unwrap()
        );
        for range in RANGES {
            let nets: BTreeSet<IpNet> = (0..rng.usize(1..=3)).map(|_| net(rng)).collect();
            let list: Vec<String> = nets.iter().map(|net| format!("'{net}'")).collect();
            writeln!(text, "  - {{id: {range}, name: {range}, cidrs: [{}]}}", list.join(", ")).unwrap();
            ranges.insert(range, nets);
        }
        text.push_str("...\n");
        self.ranges.push(RangesIssue { text: text.into(), ranges });
    }

    /// Whom a revision allows at a time, under a revision of the managed ranges (0: none was ever read).
    pub fn meaning(&self, issue: &Issue, ranges: u64, now: Timestamp) -> BTreeSet<IpNet> {
        let ranges = ranges.checked_sub(1).and_then(|at| self.ranges.get(usize::try_from(at).ok()?));
        let mut allowed = BTreeSet::new();
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

    /// When rules of a revision expire.
    pub fn expiries<'a>(&'a self, issue: &'a Issue) -> impl Iterator<Item = Timestamp> + 'a {
        issue.rules.iter().filter_map(|rule| match rule {
            Allowed::Net(_, at) => *at,
            Allowed::Range(_) => None,
        })
    }
}

fn rule(now: Timestamp, rng: &mut Rng) -> Allowed {
    match rng.u8(0..5) {
        0 | 1 => Allowed::Range(rng.choice(RANGES).unwrap()),
        2 => {
            let after = SignedDuration::from_secs(rng.i64(-600..5400));
            Allowed::Net(net(rng), Some((now + after).round(jiff::Unit::Second).unwrap()))
        }
        _ => Allowed::Net(net(rng), None),
    }
}

fn net(rng: &mut Rng) -> IpNet {
    rng.choice(NETS).unwrap().parse().unwrap()
}
