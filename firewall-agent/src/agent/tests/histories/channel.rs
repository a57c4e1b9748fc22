//! Transport of files from the control plane to one host's directory, with every possible fault.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use fastrand::Rng;
use jiff::Timestamp;

use super::blocked_file::BlockedFile;
use super::control_plane::{ControlPlane, Issue};
use crate::files::scan::{ScannedFile, ScannedFiles};
use crate::rules::DatabaseId;

/// Nonexistent directory: the files are in memory.
const RULES_DIR: &str = "/nonexistent/rules.d";
pub const RANGES: &str = "/nonexistent/managed-ranges.yaml";
pub const BLOCKED: &str = "/nonexistent/blocked-ranges.yaml";

/// Identity of a file's content; `None` for one that no host may accept.
type Whole = Option<(DatabaseId, u64)>;

/// One host's files.
#[derive(Debug, Default)]
pub struct Channel {
    files: BTreeMap<String, (ScannedFile, Whole)>,
    /// The managed ranges, and their revision where the file is complete.
    ranges: Option<(ScannedFile, Option<u64>)>,
    /// The blocked ranges, and their contents where the file is valid.
    blocked: Option<(ScannedFile, Option<BlockedFile>)>,
    /// Files that are written in place, with the bytes still to be written.
    halves: Vec<(String, Vec<u8>, Whole)>,
    away: bool,
    /// Number of the last write: a scan sees every write as a new file.
    writes: i64,
}

impl Channel {
    /// The files as seen by one scan.
    pub fn snapshot(&self) -> ScannedFiles {
        let rules = self.files.iter().map(|(name, (seen, _))| (path(name), seen.clone()));
        let unlisted = self.away.then(|| format!("{RULES_DIR}: cannot be listed"));
        ScannedFiles {
            rules: if self.away { BTreeMap::new() } else { rules.collect() },
            ranges: self.ranges.as_ref().map(|(seen, _)| seen.clone()),
            blocked: self.blocked.as_ref().map(|(seen, _)| seen.clone()),
            unlisted,
            ..ScannedFiles::default()
        }
    }

    /// The newest revision of a database that a host may accept, of those that are `valid` there.
    pub fn visible(&self, id: &DatabaseId, valid: impl Fn(u64) -> bool) -> Option<u64> {
        let whole = self.files.values().filter_map(|(_, whole)| whole.as_ref()).filter(|_| !self.away);
        whole.filter(|(of, revision)| of == id && valid(*revision)).map(|(_, revision)| *revision).max()
    }

    /// Pushes a revision as a control plane should.
    pub fn push(&mut self, plane: &ControlPlane, id: &DatabaseId, revision: u64) {
        if let Some(Issue { text, .. }) = plane.issue(id, revision) {
            self.put(&format!("{id}.yaml"), text.clone(), Some((id.clone(), revision)));
        }
    }

    pub fn push_ranges(&mut self, plane: &ControlPlane, revision: u64) {
        let index = usize::try_from(revision).unwrap().wrapping_sub(1);
        if let Some(issue) = plane.ranges.get(index) {
            let seen = self.seen(issue.text.clone());
            self.ranges = Some((seen, Some(revision)));
        }
    }

    /// Pushes the newest blocked ranges.
    pub fn push_blocked(&mut self, plane: &ControlPlane) {
        if let Some(file) = plane.blocked.last() {
            self.put_blocked(file.text().into(), Some(file.clone()));
        }
    }

    /// Contents of the blocked ranges, where there is a valid file.
    pub fn blocked(&self) -> Option<&BlockedFile> {
        self.blocked.as_ref()?.1.as_ref()
    }

    /// Delivers a file of blocked ranges that an agent may have to refuse, or removes the file; returns a description.
    pub fn apply_blocked_fault(&mut self, plane: &ControlPlane, rng: &mut Rng) -> String {
        let newest = plane.blocked.len() as u64;
        let Some(file) = plane.blocked.last() else { return "no blocked ranges yet".to_owned() };
        match rng.u8(0..5) {
            0 => {
                let file = &plane.blocked[rng.usize(..plane.blocked.len())];
                self.put_blocked(file.text().into(), Some(file.clone()));
                format!("blocked ranges come as {}", file.revision)
            }
            1 => {
                let text = file.text();
                let cut = rng.usize(..text.len() - 2);
                self.put_blocked(text.as_bytes()[..cut].to_vec(), None);
                format!("blocked ranges come as {cut} bytes of {newest}")
            }
            2 => {
                let other = BlockedFile::change(Some(file), newest, Timestamp::UNIX_EPOCH, rng);
                let text = other.text();
                let what = format!("blocked ranges {newest} have other contents: {text}");
                self.put_blocked(text.into(), Some(other));
                what
            }
            _ => {
                self.blocked = None;
                "the blocked ranges are gone".to_owned()
            }
        }
    }

    /// Removes every file of a database.
    pub fn withdraw(&mut self, id: &DatabaseId) {
        self.files.retain(|name, _| !name.ends_with(&format!("{id}.yaml")));
        self.halves.clear();
    }

    /// Removes everything.
    pub fn clear(&mut self) {
        *self = Self { writes: self.writes, ..Self::default() };
    }

    /// Applies a fault to some revision, new or old, in transit; returns its description.
    pub fn apply_fault(&mut self, plane: &ControlPlane, rng: &mut Rng) -> String {
        let ids = plane.ids();
        let id = ids[rng.usize(..ids.len())].clone();
        let newest = plane.newest(&id);
        // Half of the arrivals are not the newest: late, reordered or duplicated.
        let revision = if newest > 0 && rng.bool() { rng.u64(1..=newest) } else { newest };
        let names = [format!("{id}.yaml"), format!("copy-{id}.yaml"), format!("0{id}.yaml")];
        let name = names[rng.usize(..8).saturating_sub(5)].clone();
        let whole = Some((id.clone(), revision));
        let text = plane.issue(&id, revision).map(|issue| issue.text.clone());
        match (rng.u8(0..13), text) {
            (0..=3, Some(text)) => self.put(&name, text, whole),
            (4, Some(text)) => {
                let cut = rng.usize(..text.len() - 2);
                self.put(&name, text[..cut].to_vec(), None);
                return format!("{name} comes as {cut} bytes of {id} {revision}");
            }
            (5, Some(text)) => {
                let cut = rng.usize(..text.len() - 2);
                self.put(&name, text[..cut].to_vec(), None);
                self.halves.push((name.clone(), text, whole));
                return format!("{name} is written up to byte {cut} of {id} {revision}");
            }
            (6, _) if !self.halves.is_empty() => {
                let (name, text, whole) = self.halves.swap_remove(rng.usize(..self.halves.len()));
                self.put(&name, text, whole);
                return format!("{name} is completed");
            }
            (7, _) if !self.away => {
                self.files.remove(&name);
                return format!("{name} is removed");
            }
            (8, _) => {
                let garbage = garbage(&id, newest);
                let (what, text) = &garbage[rng.usize(..garbage.len())];
                self.put(&name, text.clone().into(), None);
                return format!("{name} is {what}");
            }
            (9, _) => {
                let seen = self.seen(b"schema_version: 1\nrevision: 9".to_vec());
                self.ranges = rng.bool().then_some((seen, None));
                return "the managed ranges are gone or cut".to_owned();
            }
            (10, _) => {
                let newest = plane.ranges.len() as u64;
                let revision = if newest > 0 && rng.u8(0..3) == 0 { rng.u64(1..=newest) } else { newest };
                self.push_ranges(plane, revision);
                return format!("managed ranges come as {revision}");
            }
            _ => {
                self.away = !self.away && rng.u8(0..3) == 0;
                return format!("the rules' directory is {}", if self.away { "away" } else { "there" });
            }
        }
        format!("{name} comes as {id} {revision}")
    }

    /// Removes every obstacle.
    pub fn mend(&mut self) {
        self.away = false;
    }

    fn put(&mut self, name: &str, text: Vec<u8>, whole: Whole) {
        if !self.away {
            let seen = self.seen(text);
            self.files.insert(name.to_owned(), (seen, whole));
        }
    }

    fn put_blocked(&mut self, text: Vec<u8>, file: Option<BlockedFile>) {
        let seen = self.seen(text);
        self.blocked = Some((seen, file));
    }

    fn seen(&mut self, text: Vec<u8>) -> ScannedFile {
        self.writes += 1;
        let visible_at = Timestamp::from_second(self.writes).unwrap();
        ScannedFile { content: Ok(text.into()), signature: Ok(None), visible_at }
    }
}

fn path(name: &str) -> PathBuf {
    Path::new(RULES_DIR).join(name)
}

/// Files that no host may accept, each with a revision above all issued ones.
fn garbage(id: &DatabaseId, newest: u64) -> [(&'static str, String); 4] {
    let file = |host: &str, rules: &str, end: &str| {
        format!(
            "schema_version: 1\ndatabase_id: {id}\nrevision: {}\ngenerated_at: 2026-09-01T00:00:00Z\n{host}\
             endpoints: [{{port: 5009}}]\nrules: [{rules}]\n{end}",
            newest + 100
        )
    };
    [
        ("another host's", file("host: elsewhere\n", "", "...\n")),
        ("without its end", file("", "{id: r, type: custom_range, cidr: 0.0.0.0/0}", "")),
        ("of a wrong prefix", file("", "{id: r, type: custom_range, cidr: 1.2.3.0/33}", "...\n")),
        ("no rule file", "\u{0}\u{1}...\n".to_owned()),
    ]
}
