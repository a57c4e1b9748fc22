//! Packets and bytes by reason: those that the program counted, and those that the model expects.

use std::collections::BTreeMap;

use serde_json::Value;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    by_reason: BTreeMap<String, (u64, u64)>,
}

impl Tally {
    /// Reads the counters of a status.
    pub fn of(status: &Value) -> Self {
        let rows = status["counters"].as_array().unwrap().iter();
        let number = |row: &Value, field: &str| row[field].as_u64().unwrap();
        let by_reason = rows.map(|row| {
            (row["reason"].as_str().unwrap().to_owned(), (number(row, "packets"), number(row, "bytes")))
        });
        Self { by_reason: by_reason.collect() }.without_zeros()
    }

    pub fn add(&mut self, reason: &str, bytes: usize) {
        let (packets, sum) = self.by_reason.entry(reason.to_owned()).or_default();
        *packets += 1;
        *sum += bytes as u64;
    }

    /// Returns the increase since an earlier tally.
    pub fn since(&self, earlier: &Self) -> Self {
        let mut by_reason = self.by_reason.clone();
        for (reason, (packets, bytes)) in &mut by_reason {
            let (before, bytes_before) = earlier.by_reason.get(reason).copied().unwrap_or_default();
            *packets -= before;
            *bytes -= bytes_before;
        }
        Self { by_reason }.without_zeros()
    }

    pub fn packets(&self) -> u64 {
        self.packets_if(|_| true)
    }

    /// Returns the packets with the reasons that `is_wanted` accepts.
    pub fn packets_if(&self, is_wanted: impl Fn(&str) -> bool) -> u64 {
        let wanted = self.by_reason.iter().filter(|(reason, _)| is_wanted(reason));
        wanted.map(|(_, (packets, _))| packets).sum()
    }

    /// Returns reasons with their packets, for a table.
    pub fn listed(&self, is_wanted: impl Fn(&str) -> bool) -> String {
        let wanted = self.by_reason.iter().filter(|(reason, _)| is_wanted(reason));
        wanted.map(|(reason, (packets, _))| format!("{packets} {reason}")).collect::<Vec<_>>().join(", ")
    }

    fn without_zeros(mut self) -> Self {
        self.by_reason.retain(|_, (packets, _)| *packets > 0);
        self
    }
}
