//! Memory of refused packets: one summary for each hour, as JSON lines.
//!
//! The kernel counts refused packets in entries that it evicts. A summary adds their growth, and has for each entry the
//! count up to which it is contained. Growth and that count are in one file, which is replaced whole: no crash counts a
//! packet twice.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use anyhow::{Context as _, Result, ensure};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Version of the format. A summary of another version is skipped.
const VERSION: u32 = 1;

/// Refused packets of one source at one destination, of one kind.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RefusedKind {
    /// `None` if unreadable.
    pub source: Option<IpAddr>,
    /// `None` if no database decided.
    pub database_id: Option<String>,
    /// As in the endpoint table; without a port if unknown, `-` without an address.
    pub endpoint: String,
    pub reason: String,
    /// `syn`, `tcp` (any other TCP packet), `udp` or `none`.
    pub class: String,
    /// Index of the interface of packets at a socket; `None` for packets on a filtered interface.
    pub interface: Option<u32>,
}

/// Entry of the kernel's table, written by one CPU. Its first moment tells it from an evicted one of the same key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct EntryId {
    pub cpu: u16,
    /// `CLOCK_MONOTONIC` in nanoseconds.
    pub first_seen_ns: u64,
}

/// State of one entry of the kernel's table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KernelEntry {
    pub kind: RefusedKind,
    /// Name of the interface of packets at a socket.
    pub interface_name: Option<String>,
    pub id: EntryId,
    pub packets: u64,
    pub first_seen: Timestamp,
    pub last_seen: Timestamp,
}

/// Packets of one kind within an hour.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    #[serde(flatten)]
    pub kind: RefusedKind,
    pub interface_name: Option<String>,
    pub packets: u64,
    pub first_seen: Timestamp,
    pub last_seen: Timestamp,
    /// Entries contained here, each up to this count.
    counted: Vec<(EntryId, u64)>,
}

/// Summary of one hour.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HourSummary {
    head: Head,
    refusals: BTreeMap<RefusedKind, Refusal>,
}

/// The first line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Head {
    version: u32,
    /// Start of the memory within this hour.
    from: Timestamp,
    /// Time of the last reading of the kernel's table.
    until: Timestamp,
    /// Identity of the boot to which the entries belong.
    boot: String,
    /// Packets of clients that had no room.
    left_out: u64,
}

impl Refusal {
    /// Packets that no summary contains; `seen` are the times of the first and the last.
    #[must_use]
    pub fn new(
        kind: RefusedKind,
        interface_name: Option<String>,
        packets: u64,
        seen: (Timestamp, Timestamp),
    ) -> Self {
        let (first_seen, last_seen) = seen;
        Self { kind, interface_name, packets, first_seen, last_seen, counted: Vec::new() }
    }
}

impl From<KernelEntry> for Refusal {
    fn from(entry: KernelEntry) -> Self {
        let seen = (entry.first_seen, entry.last_seen);
        Self::new(entry.kind, entry.interface_name, entry.packets, seen)
    }
}

impl HourSummary {
    /// An empty summary of an hour that is remembered from this time on.
    #[must_use]
    pub fn new(from: Timestamp, boot: &str) -> Self {
        let head = Head { version: VERSION, from, until: from, boot: boot.to_owned(), left_out: 0 };
        Self { head, refusals: BTreeMap::new() }
    }

    /// Start of the memory within this hour.
    #[must_use]
    pub fn from(&self) -> Timestamp {
        self.head.from
    }

    /// Packets of clients that had no room.
    #[must_use]
    pub fn left_out(&self) -> u64 {
        self.head.left_out
    }

    pub fn refusals(&self) -> impl Iterator<Item = &Refusal> {
        self.refusals.values()
    }

    pub fn into_refusals(self) -> impl Iterator<Item = Refusal> {
        self.refusals.into_values()
    }

    /// Adds the growth of entries, read at this time during this boot.
    pub fn add<'a>(&mut self, growth: impl IntoIterator<Item = &'a Growth>, read_at: Timestamp, boot: &str) {
        if self.head.boot != boot {
            boot.clone_into(&mut self.head.boot);
            self.refusals.values_mut().for_each(|refusal| refusal.counted.clear());
        }
        self.head.until = self.head.until.max(read_at);
        for Growth { entry, grown, first_seen } in growth {
            let refusal = self.refusals.entry(entry.kind.clone());
            let seen = (*first_seen, entry.last_seen);
            let refusal = refusal.or_insert_with(|| Refusal::new(entry.kind.clone(), None, 0, seen));
            refusal.interface_name.clone_from(&entry.interface_name);
            refusal.packets = refusal.packets.saturating_add(*grown);
            refusal.first_seen = refusal.first_seen.min(*first_seen);
            refusal.last_seen = refusal.last_seen.max(entry.last_seen);
            refusal.counted.retain(|(id, _)| id.cpu != entry.id.cpu);
            refusal.counted.push((entry.id, entry.packets));
        }
    }

    /// Parses the lines of a file.
    ///
    /// # Errors
    /// A line is torn or has other fields, or the version is unknown.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        #[derive(Deserialize)]
        struct Versioned {
            version: u32,
        }
        let mut lines = bytes.split_inclusive(|byte| *byte == b'\n');
        let first = lines.next().context("empty")?;
        let Versioned { version } = serde_json::from_slice(first).context("line 1")?;
        ensure!(version == VERSION, "format version {version}: must be {VERSION}");
        let head = serde_json::from_slice(first).context("line 1")?;
        ensure!(bytes.ends_with(b"\n"), "torn: its last line has no end");
        let mut refusals = BTreeMap::new();
        for (at, line) in lines.enumerate() {
            let refusal: Refusal =
                serde_json::from_slice(line).with_context(|| format!("line {}", at + 2))?;
            refusals.insert(refusal.kind.clone(), refusal);
        }
        Ok(Self { head, refusals })
    }

    /// The lines of its file, at most this many bytes: the clients with few packets are left out, and counted.
    ///
    /// # Errors
    /// A line cannot be serialised.
    pub fn encode(&self, most_bytes: u64) -> Result<Vec<u8>> {
        let mut refusals: Vec<&Refusal> = self.refusals.values().collect();
        refusals.sort_by(|a, b| b.packets.cmp(&a.packets).then_with(|| a.kind.cmp(&b.kind)));
        let most = usize::try_from(most_bytes).unwrap_or(usize::MAX);
        let (mut body, mut head) = (Vec::new(), self.head.clone());
        for refusal in refusals {
            let line = serde_json::to_vec(refusal)?;
            if head.left_out > self.head.left_out || body.len() + line.len() + HEAD_BYTES > most {
                head.left_out = head.left_out.saturating_add(refusal.packets);
                continue;
            }
            body.extend(line);
            body.push(b'\n');
        }
        let mut lines = serde_json::to_vec(&head)?;
        lines.push(b'\n');
        lines.extend(body);
        Ok(lines)
    }
}

/// More than the bytes of a first line.
const HEAD_BYTES: usize = 256;

/// Packets of an entry that no summary contains yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Growth {
    pub entry: KernelEntry,
    pub grown: u64,
    /// Time of the first of these packets, as far as it is known.
    pub first_seen: Timestamp,
}

/// Counts of the kernel's entries that the summaries contain.
#[derive(Debug, Clone, Default)]
pub struct Contained {
    entries: BTreeMap<(RefusedKind, u16), (u64, u64)>,
    /// Time of the last reading; `None` before the first.
    read_at: Option<Timestamp>,
}

impl Contained {
    /// Adds the entries of a summary that belong to this boot.
    pub fn load(&mut self, summary: &HourSummary, boot: &str) {
        self.read_at = self.read_at.max(Some(summary.head.until));
        if summary.head.boot != boot {
            return;
        }
        for refusal in summary.refusals() {
            for (id, packets) in &refusal.counted {
                self.set(&refusal.kind, *id, *packets);
            }
        }
    }

    /// The packets of these entries that no summary contains.
    #[must_use]
    pub fn growth(&self, entries: &[KernelEntry]) -> Vec<Growth> {
        let grown = entries.iter().map(|entry| {
            let contained = self.entries.get(&(entry.kind.clone(), entry.id.cpu));
            let before =
                contained.filter(|(id, _)| *id == entry.id.first_seen_ns).map_or(0, |(_, packets)| *packets);
            let known_from = self.read_at.filter(|_| before > 0).unwrap_or(entry.first_seen);
            let first_seen = entry.first_seen.max(known_from).min(entry.last_seen);
            (entry, entry.packets.saturating_sub(before), first_seen)
        });
        let grown = grown.filter(|(_, grown, _)| *grown > 0);
        grown.map(|(entry, grown, first_seen)| Growth { entry: entry.clone(), grown, first_seen }).collect()
    }

    /// Records that the summaries contain this growth.
    pub fn advance<'a>(&mut self, growth: impl IntoIterator<Item = &'a Growth>) {
        for Growth { entry, .. } in growth {
            self.set(&entry.kind, entry.id, entry.packets);
        }
    }

    /// Drops the entries that the kernel evicted, after a reading at this time.
    pub fn retain(&mut self, present: &[KernelEntry], read_at: Timestamp) {
        let present: BTreeSet<(&RefusedKind, u16)> =
            present.iter().map(|entry| (&entry.kind, entry.id.cpu)).collect();
        self.entries.retain(|(kind, cpu), _| present.contains(&(kind, *cpu)));
        self.read_at = Some(read_at);
    }

    fn set(&mut self, kind: &RefusedKind, id: EntryId, packets: u64) {
        let newest = self.entries.entry((kind.clone(), id.cpu)).or_default();
        *newest = (*newest).max((id.first_seen_ns, packets));
    }
}

#[cfg(test)]
mod tests {
    use jiff::ToSpan as _;

    use super::*;

    const BOOT: &str = "first";

    fn at(minute: i64) -> Timestamp {
        "2026-08-21T15:00:00Z".parse::<Timestamp>().unwrap() + minute.minutes()
    }

    fn entry(source: &str, (cpu, first_seen_ns): (u16, u64), packets: u64, last: i64) -> KernelEntry {
        KernelEntry {
            kind: RefusedKind {
                source: Some(source.parse().unwrap()),
                database_id: Some("orders".to_owned()),
                endpoint: "192.0.2.10:30092/tcp".to_owned(),
                reason: "no_match".to_owned(),
                class: "syn".to_owned(),
                interface: None,
            },
            interface_name: None,
            id: EntryId { cpu, first_seen_ns },
            packets,
            first_seen: at(0),
            last_seen: at(last),
        }
    }

    /// Adds a reading to a summary, as the agent does.
    fn read(summary: &mut HourSummary, contained: &mut Contained, entries: &[KernelEntry], now: i64) {
        let growth = contained.growth(entries);
        summary.add(&growth, at(now), BOOT);
        contained.advance(&growth);
        contained.retain(entries, at(now));
    }

    fn packets(summary: &HourSummary) -> u64 {
        summary.refusals().map(|refusal| refusal.packets).sum()
    }

    fn whole(summary: &HourSummary) -> HourSummary {
        HourSummary::parse(&summary.encode(u64::MAX).unwrap()).unwrap()
    }

    #[test]
    fn growth_is_counted_once_over_cpus_evictions_and_restarts() {
        let (mut summary, mut contained) = (HourSummary::new(at(0), BOOT), Contained::default());
        let one = "198.51.100.9";
        read(&mut summary, &mut contained, &[entry(one, (0, 1), 5, 1), entry(one, (1, 2), 3, 1)], 1);
        assert_eq!(packets(&summary), 8);
        read(&mut summary, &mut contained, &[entry(one, (0, 1), 5, 1), entry(one, (1, 2), 3, 1)], 2);
        assert_eq!(packets(&summary), 8, "nothing grew");
        // The entry of one CPU was evicted, and has come back with fewer packets, then with more than before.
        read(&mut summary, &mut contained, &[entry(one, (0, 9), 2, 3), entry(one, (1, 2), 4, 3)], 3);
        assert_eq!(packets(&summary), 11);
        read(&mut summary, &mut contained, &[entry(one, (0, 30), 50, 4), entry(one, (1, 2), 4, 3)], 4);
        assert_eq!(packets(&summary), 61);
        // A restarted agent knows the counts from the file.
        let (mut summary, mut contained) = (whole(&summary), Contained::default());
        contained.load(&summary, BOOT);
        read(&mut summary, &mut contained, &[entry(one, (0, 30), 51, 5), entry(one, (1, 2), 4, 3)], 5);
        assert_eq!(packets(&summary), 62);
        assert_eq!(summary.refusals().count(), 1);
        // Control: without the file's counts, every packet counts again.
        read(&mut summary, &mut Contained::default(), &[entry(one, (0, 30), 51, 5)], 5);
        assert_eq!(packets(&summary), 113);
    }

    #[test]
    fn counts_of_another_boot_say_nothing_about_the_entries_of_this_one() {
        let (mut summary, mut contained) = (HourSummary::new(at(0), BOOT), Contained::default());
        read(&mut summary, &mut contained, &[entry("198.51.100.9", (0, 1), 5, 1)], 1);
        let mut next = Contained::default();
        next.load(&summary, "second");
        let entries = [entry("198.51.100.9", (0, 1), 7, 2)];
        let growth = next.growth(&entries);
        summary.add(&growth, at(2), "second");
        assert_eq!(packets(&summary), 12);
        let mut first = Contained::default();
        first.load(&whole(&summary), BOOT);
        assert_eq!(first.growth(&entries)[0].grown, 7, "the file has no entry of the first boot any more");
        let mut second = Contained::default();
        second.load(&whole(&summary), "second");
        assert!(second.growth(&entries).is_empty(), "the control");
    }

    #[test]
    fn first_seen_of_known_entries_is_the_time_of_the_reading_before() {
        let mut contained = Contained::default();
        let before = [entry("198.51.100.9", (0, 1), 5, 1)];
        assert_eq!(contained.growth(&before)[0].first_seen, at(0));
        contained.advance(&contained.growth(&before));
        contained.retain(&before, at(30));
        let entries = [entry("198.51.100.9", (0, 1), 6, 40), entry("198.51.100.10", (0, 1), 6, 40)];
        let growth = contained.growth(&entries);
        assert_eq!([growth[0].first_seen, growth[1].first_seen], [at(30), at(0)]);
        // The wall clock went back since: no time after the last packet.
        let growth = contained.growth(&[entry("198.51.100.9", (0, 1), 7, 20)]);
        assert_eq!(growth[0].first_seen, at(20));
    }

    #[test]
    fn clients_with_few_packets_leave_a_full_file_and_are_counted() {
        let (mut summary, mut contained) = (HourSummary::new(at(0), BOOT), Contained::default());
        let entries: Vec<KernelEntry> =
            (0..200).map(|n| entry(&format!("198.51.100.{n}"), (0, 1), n + 1, 1)).collect();
        read(&mut summary, &mut contained, &entries, 1);
        let all: u64 = (1..=200).sum();
        assert_eq!((packets(&whole(&summary)), whole(&summary).left_out()), (all, 0), "the control");
        let bytes = summary.encode(8 << 10).unwrap();
        assert!(bytes.len() <= 8 << 10, "{}", bytes.len());
        let read = HourSummary::parse(&bytes).unwrap();
        let least = read.refusals().map(|refusal| refusal.packets).min().unwrap();
        assert_eq!(read.refusals().count() as u64, 201 - least, "the most refused ones remain");
        assert_eq!(packets(&read) + read.left_out(), all);
        assert!(read.left_out() > 0);
    }

    #[test]
    fn a_torn_file_and_another_version_are_errors() {
        let (mut summary, mut contained) = (HourSummary::new(at(0), BOOT), Contained::default());
        read(&mut summary, &mut contained, &[entry("2001:db8::9", (0, 1), 5, 1)], 1);
        let bytes = summary.encode(u64::MAX).unwrap();
        assert_eq!(HourSummary::parse(&bytes).unwrap(), summary);
        for end in 0..bytes.len() {
            // Lines that are whole are no less than the agent once wrote.
            let is_whole = bytes[..end].ends_with(b"\n");
            assert_eq!(HourSummary::parse(&bytes[..end]).is_ok(), is_whole, "{end}");
        }
        let text = String::from_utf8(bytes).unwrap();
        for (from, to, says) in [
            ("\"version\":1", "\"version\":2", "format version 2: must be 1"),
            ("\"packets\"", "\"packet\"", "line 2"),
            ("\"left_out\":0", "\"left_out\":-1", "line 1"),
        ] {
            assert!(text.contains(from), "{text}");
            let error = HourSummary::parse(text.replacen(from, to, 1).as_bytes()).unwrap_err();
            assert!(format!("{error:#}").contains(says), "{error:#}");
        }
    }
}
