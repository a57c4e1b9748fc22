//! `/metrics`: everything in the Prometheus text format. Names start with `firewall_`; no label holds what a tenant
//! wrote, nor a source address.

mod cause;
mod databases;
mod flows;
mod host;
mod packets;
mod sheet;
mod timings;

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use tracing::error;

use self::flows::Flows;
use self::sheet::Sheet;
pub(super) use self::timings::Timings;
use super::{Board, Counters};
use crate::status::ReasonCounter;

pub(super) use prometheus_client::encoding::prometheus_text::CONTENT_TYPE;

/// Counters are read at most this often: nobody can keep the machine busy by asking.
const FRESH: Duration = Duration::from_millis(250);

/// Writes the metrics.
pub(super) struct Exporter {
    counters: Box<dyn Counters>,
    board: Arc<Board>,
    flows: Flows,
    /// The last answer, and when it was written.
    last: Option<(Instant, String)>,
    /// Why counters cannot be read.
    trouble: Option<String>,
}

impl Exporter {
    pub fn new(counters: Box<dyn Counters>, board: Arc<Board>) -> Self {
        Self { counters, board, flows: Flows::default(), last: None, trouble: None }
    }

    pub fn reasons(&self) -> Result<Vec<ReasonCounter>> {
        self.counters.reasons()
    }

    /// The metrics as they are now, or were a moment ago.
    pub fn metrics(&mut self) -> String {
        match &self.last {
            Some((at, text)) if at.elapsed() < FRESH => text.clone(),
            _ => {
                let text = self.write();
                self.last = Some((Instant::now(), text.clone()));
                text
            }
        }
    }

    fn write(&mut self) -> String {
        let snapshot = self.board.snapshot();
        let mut sheet = Sheet::default();
        let read = self.counters.reasons().and_then(|reasons| {
            self.flows.read(&snapshot, self.counters.as_ref())?;
            Ok(reasons)
        });
        sheet.gauge("counters_readable", "Whether the kernel's counters could be read: 1 or 0", read.is_ok());
        match read {
            Ok(reasons) => {
                packets::write(&reasons, &self.flows, &mut sheet);
                self.trouble = None;
            }
            Err(error) => {
                let trouble = format!("{error:#}");
                if self.trouble.as_ref() != Some(&trouble) {
                    error!(error = trouble, "metrics are without counters");
                    self.trouble = Some(trouble);
                }
            }
        }
        databases::write(&snapshot, &mut sheet);
        host::write(&snapshot, &self.board, &mut sheet);
        self.board.timings().write(&mut sheet);
        sheet.text()
    }
}
