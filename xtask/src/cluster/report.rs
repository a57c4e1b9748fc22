//! The report of the cluster: one line for each claim.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::Result;

use crate::run::say;

const INTRODUCTION: &str = "\
# Kubernetes

The shipped manifests on a real one-node cluster, by `cargo xtask cluster`. API server, etcd, controller manager,
scheduler, kubelet, containerd and runc run in namespaces of one machine. During updates and outages an allowed client
and a stranger connect to the guarded port without a pause; the server there counts each connection that reaches it.

";

/// Claims that held, with their figures.
#[derive(Debug)]
pub struct Report {
    /// Versions and date.
    pub platform: String,
    rows: Vec<(String, String)>,
    missed: Vec<String>,
}

impl Report {
    pub fn new(platform: String) -> Self {
        Self { platform, rows: Vec::new(), missed: Vec::new() }
    }

    /// Adds a claim that held, and prints it.
    pub fn add(&mut self, claim: &str, figure: impl Into<String>) {
        let figure = figure.into();
        say(format_args!("cluster: {claim}: {figure}"));
        self.rows.push((claim.to_owned(), figure));
    }

    /// Adds a time that has a bound; a missed bound is a failure that ends nothing.
    pub fn add_bounded(&mut self, claim: &str, took: Duration, bound: Duration) {
        let is_missed = took > bound;
        let mark = if is_missed { "**" } else { "" };
        let figure = format!("{mark}{}{mark} (bound {} s)", seconds(took), bound.as_secs());
        if is_missed {
            self.missed.push(format!("{claim}: {figure}"));
        }
        self.add(claim, figure);
    }

    /// Returns the claims whose bound was missed.
    pub fn missed(&self) -> &[String] {
        &self.missed
    }

    pub fn markdown(&self) -> Result<String> {
        let mut text = INTRODUCTION.to_owned();
        writeln!(text, "{}\n| claim | measured |\n|---|---|", self.platform)?;
        for (claim, figure) in &self.rows {
            writeln!(text, "| {claim} | {figure} |")?;
        }
        Ok(text)
    }
}

pub fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missed_bound_is_marked_and_reported() {
        let mut report = Report::new("one machine".to_owned());
        report.add_bounded("node ready", Duration::from_secs(9), Duration::from_secs(30));
        assert!(report.missed().is_empty());
        report.add_bounded("pod ready", Duration::from_secs(6), Duration::from_secs(5));
        assert_eq!(report.missed(), ["pod ready: **6.0 s** (bound 5 s)"]);
        let text = report.markdown().unwrap();
        assert!(text.contains("| node ready | 9.0 s (bound 30 s) |\n"), "{text}");
    }
}
