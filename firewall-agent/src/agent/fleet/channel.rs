//! The way from the control plane to one host's directory: everything that may become of a push.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use fastrand::Rng;

use super::provider::Provider;
use crate::rules::DatabaseId;

/// What a file of the directory is, to who knows all that was issued.
type Whole = Option<(DatabaseId, u64)>;

/// One host's directories, and what is whole in them.
#[derive(Debug)]
pub struct Channel {
    pub rules: PathBuf,
    pub ranges: PathBuf,
    files: BTreeMap<String, Whole>,
    /// The revision of the ranges' file, if it is there and whole.
    pub whole_ranges: Option<u64>,
    /// Files that are written in place, and what is still to be written: name, content, what it is then.
    halves: Vec<(String, Vec<u8>, Whole)>,
    away: bool,
    /// The managed ranges never come: hosts go by what they remember.
    rangeless: bool,
}

impl Channel {
    pub fn new(dir: &Path, rangeless: bool) -> Self {
        let (rules, ranges) = (dir.join("rules.d"), dir.join("managed-ranges.yaml"));
        fs::create_dir(&rules).unwrap();
        Self {
            rules,
            ranges,
            files: BTreeMap::new(),
            whole_ranges: None,
            halves: Vec::new(),
            away: false,
            rangeless,
        }
    }

    /// The newest revision of a database that can be read here.
    pub fn visible(&self, id: &DatabaseId) -> Option<u64> {
        let whole = self.files.values().flatten().filter(|(of, _)| of == id && !self.away);
        whole.map(|(_, revision)| *revision).max()
    }

    /// Brings a revision into place as a control plane should.
    pub fn push(&mut self, provider: &Provider, id: &DatabaseId, revision: u64) {
        let Some(issue) = provider.issue(id, revision) else { return };
        self.replace(&format!("{id}.yaml"), &issue.text, Some((id.clone(), revision)));
    }

    /// The file of a database is taken away.
    pub fn withdraw(&mut self, id: &DatabaseId) {
        let name = format!("{id}.yaml");
        fs::remove_file(self.rules.join(&name)).unwrap();
        self.files.remove(&name);
    }

    pub fn push_ranges(&mut self, provider: &Provider, revision: u64) {
        let Some(issue) = provider.ranges.get(usize::try_from(revision).unwrap().wrapping_sub(1)) else {
            return;
        };
        fs::write(self.ranges.with_extension("new"), &issue.text).unwrap();
        fs::rename(self.ranges.with_extension("new"), &self.ranges).unwrap();
        self.whole_ranges = Some(revision);
    }

    /// One thing that happens to some revision, new or old, on its way; says what.
    pub fn mishap(&mut self, provider: &Provider, rng: &mut Rng) -> String {
        let ids = provider.ids();
        let id = rng.choice(ids).unwrap();
        let newest = provider.newest(&id);
        // Half of what comes is not the newest: late, reordered or duplicated.
        let revision = if newest > 0 && rng.bool() { rng.u64(1..=newest) } else { newest };
        let names = [format!("{id}.yaml"), format!("copy-{id}.yaml"), format!("0{id}.yaml")];
        let name = names[rng.usize(..8).saturating_sub(5)].clone();
        let whole = Some((id.clone(), revision));
        let text = provider.issue(&id, revision).map(|issue| issue.text.clone());
        match (rng.u8(0..12), text) {
            (0..=3, Some(text)) => self.replace(&name, &text, whole),
            (4, Some(text)) => {
                let cut = rng.usize(..text.len() - 2);
                self.replace(&name, &text[..cut], None);
                return format!("{name} comes as {cut} bytes of {id} {revision}");
            }
            (5, Some(text)) => {
                let cut = rng.usize(..text.len() - 2);
                self.write(&name, &text[..cut], None);
                self.halves.push((name.clone(), text, whole));
                return format!("{name} is written up to byte {cut} of {id} {revision}");
            }
            (6, _) if !self.halves.is_empty() => return self.complete(rng),
            (7, _) if !self.away => {
                let _ = fs::remove_file(self.rules.join(&name));
                self.files.remove(&name);
                return format!("{name} is removed");
            }
            (8, _) => {
                let (what, text) = rng.choice(garbage(&id, newest)).unwrap();
                self.replace(&name, text.as_bytes(), None);
                return format!("{name} is {what}");
            }
            (9, _) => self.spoil_ranges(rng),
            (10, _) if !self.rangeless => return self.mishap_ranges(provider, rng),
            _ => return self.vanish(rng),
        }
        format!("{name} comes as {id} {revision}")
    }

    fn spoil_ranges(&mut self, rng: &mut Rng) {
        if rng.bool() {
            let _ = fs::remove_file(&self.ranges);
        } else {
            fs::write(&self.ranges, "schema_version: 1\nrevision: 9").unwrap();
        }
        self.whole_ranges = None;
    }

    fn mishap_ranges(&mut self, provider: &Provider, rng: &mut Rng) -> String {
        let newest = provider.ranges.len() as u64;
        let revision = if newest > 0 && rng.u8(0..3) == 0 { rng.u64(1..=newest) } else { newest };
        self.push_ranges(provider, revision);
        format!("managed ranges come as {revision}")
    }

    /// The rest of something that was written half.
    fn complete(&mut self, rng: &mut Rng) -> String {
        let (name, text, whole) = self.halves.swap_remove(rng.usize(..self.halves.len()));
        self.write(&name, &text, whole);
        format!("{name} is completed")
    }

    /// The directory goes away, or comes back.
    fn vanish(&mut self, rng: &mut Rng) -> String {
        let hidden = self.rules.with_extension("away");
        if self.away {
            fs::rename(hidden, &self.rules).unwrap();
        } else if rng.u8(0..3) == 0 {
            fs::rename(&self.rules, hidden).unwrap();
        } else {
            return "nothing comes".to_owned();
        }
        self.away = !self.away;
        format!("the rules' directory is {}", if self.away { "away" } else { "back" })
    }

    /// Nothing stands in the way any more.
    pub fn mend(&mut self) {
        if self.away {
            fs::rename(self.rules.with_extension("away"), &self.rules).unwrap();
            self.away = false;
        }
    }

    fn replace(&mut self, name: &str, text: &[u8], whole: Whole) {
        if self.away {
            return;
        }
        fs::write(self.rules.join(".new"), text).unwrap();
        fs::rename(self.rules.join(".new"), self.rules.join(name)).unwrap();
        self.files.insert(name.to_owned(), whole);
    }

    /// In place, as a control plane should not.
    fn write(&mut self, name: &str, text: &[u8], whole: Whole) {
        if !self.away {
            fs::write(self.rules.join(name), text).unwrap();
            self.files.insert(name.to_owned(), whole);
        }
    }
}

/// Files that no host may take, each with a revision above all that were issued.
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
