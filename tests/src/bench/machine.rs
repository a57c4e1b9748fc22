//! The machine that a benchmark ran on.

use std::fs;
use std::thread::available_parallelism;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

#[derive(Debug)]
pub struct Machine {
    processor: String,
    cores: usize,
    memory_gib: u64,
    kernel: String,
    /// Average number of runnable processes over the last minute before the measurement.
    load_before: String,
}

impl Machine {
    pub fn detect() -> Result<Self> {
        let read = |path: &str| fs::read_to_string(path).context(path.to_owned());
        let field = |text: &str, name: &str| -> Option<String> {
            let value = text.lines().find_map(|line| line.strip_prefix(name))?;
            Some(value.trim_start_matches([' ', '\t', ':']).to_owned())
        };
        let memory = field(&read("/proc/meminfo")?, "MemTotal").context("/proc/meminfo: no MemTotal")?;
        let kib: u64 =
            memory.trim_end_matches(" kB").parse().with_context(|| format!("MemTotal: {memory:?}"))?;
        Ok(Self {
            processor: field(&read("/proc/cpuinfo")?, "model name").unwrap_or_else(|| "unknown".to_owned()),
            cores: available_parallelism().context("cores: unknown")?.get(),
            memory_gib: kib.div_ceil(1 << 20),
            kernel: read("/proc/sys/kernel/osrelease")?.trim().to_owned(),
            load_before: read("/proc/loadavg")?.split(' ').next().unwrap_or_default().to_owned(),
        })
    }

    /// Returns one sentence for reports.
    pub fn sentence(&self) -> String {
        let Self { processor, cores, memory_gib, kernel, load_before } = self;
        format!(
            "{processor}, {cores} cores, {memory_gib} GiB, Linux {kernel}; load average before: {load_before}."
        )
    }

    pub fn json(&self) -> Value {
        json!({
            "date": jiff::Timestamp::now().strftime("%Y-%m-%d").to_string(),
            "processor": self.processor,
            "cores": self.cores,
            "memory_gib": self.memory_gib,
            "kernel": self.kernel,
            "load_before": self.load_before,
        })
    }
}
