//! A scrape in the Prometheus text format, parsed without any library of the agent.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Seek as _, Write as _};
use std::process::Command;

use firewall_tests::lab::Answer;
use tempfile::tempfile;

#[derive(Debug, Clone)]
pub struct Scrape {
    pub text: String,
    /// Series in text form → value.
    pub series: BTreeMap<String, f64>,
}

impl Scrape {
    pub fn read(text: &str) -> Self {
        let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
        let series = lines.map(|line| {
            let (series, value) = line.rsplit_once(' ').unwrap();
            (series.to_owned(), value.parse().unwrap())
        });
        Self { text: text.to_owned(), series: series.collect() }
    }

    pub fn value(&self, series: &str) -> Option<f64> {
        self.series.get(series).copied()
    }

    /// Returns every metric that this scrape declares, including those without series.
    pub fn names(&self) -> BTreeSet<String> {
        let mut names = BTreeSet::new();
        for line in self.text.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
            let (name, kind) = line.split_once(' ').unwrap();
            names.insert(name.to_owned());
            if kind == "histogram" {
                names.extend(["bucket", "sum", "count"].map(|part| format!("{name}_{part}")));
            }
        }
        names
    }

    /// Returns the complaints of `promtool check metrics` as an error.
    pub fn check(&self) -> Result<(), String> {
        let mut scrape = tempfile().unwrap();
        scrape.write_all(self.text.as_bytes()).unwrap();
        scrape.rewind().unwrap();
        let mut promtool = Command::new("promtool");
        let answer = Answer::of(promtool.args(["check", "metrics"]).stdin(scrape)).unwrap();
        let output = answer.out + &answer.err;
        if answer.code == Some(0) && output.trim().is_empty() { Ok(()) } else { Err(output) }
    }
}
