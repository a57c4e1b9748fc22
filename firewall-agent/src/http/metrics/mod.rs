//! `/metrics` in the Prometheus text format. Names start with `firewall_`; no label contains tenant text or a source
//! address.

mod databases;
mod flows;
mod host;
mod metrics_page;
mod packets;
mod sessions;
mod sockets;
mod timings;

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use tracing::error;

use self::flows::Flows;
use self::metrics_page::MetricsPage;
use self::sockets::Sockets;
pub(super) use self::timings::Timings;
use super::{Counters, SharedState, SocketTally};
use crate::status::{KernelMemory, ReasonCounter};

pub(super) use prometheus_client::encoding::prometheus_text::CONTENT_TYPE;

/// Least time between two reads of the counters: bounds the load that scrapes cause.
const FRESH: Duration = Duration::from_millis(250);

/// Writer of the metrics.
pub(super) struct Exporter {
    counters: Box<dyn Counters>,
    shared: Arc<SharedState>,
    flows: Flows,
    sockets: Sockets,
    /// Last answer, and the time it was written.
    last: Option<(Instant, String)>,
    /// Error of the last read of the counters.
    failure: Option<String>,
}

impl Exporter {
    pub fn new(counters: Box<dyn Counters>, shared: Arc<SharedState>) -> Self {
        Self {
            counters,
            shared,
            flows: Flows::default(),
            sockets: Sockets::default(),
            last: None,
            failure: None,
        }
    }

    pub fn reasons(&self) -> Result<Vec<ReasonCounter>> {
        self.counters.reasons()
    }

    pub fn sockets(&self) -> Result<Vec<SocketTally>> {
        self.counters.sockets()
    }

    pub fn memory(&self) -> Result<KernelMemory> {
        self.counters.memory()
    }

    /// Current metrics, at most [`FRESH`] old.
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
        let snapshot = self.shared.snapshot();
        let mut page = MetricsPage::default();
        let read = self.counters.reasons().and_then(|reasons| {
            self.flows.read(&snapshot, self.counters.as_ref())?;
            self.sockets.read(&self.counters.sockets()?, &snapshot);
            Ok((reasons, self.counters.unrecorded()?))
        });
        page.gauge("counters_readable", "Kernel counters readable: 1 or 0", read.is_ok());
        match read {
            Ok((reasons, unrecorded)) => {
                packets::write(&reasons, unrecorded, &self.flows, &mut page);
                self.sockets.write(&snapshot, &mut page);
                self.failure = None;
            }
            Err(error) => {
                let failure = format!("{error:#}");
                if self.failure.as_ref() != Some(&failure) {
                    error!(error = failure, "metrics served without kernel counters");
                    self.failure = Some(failure);
                }
            }
        }
        databases::write(&snapshot, &mut page);
        sessions::write(&snapshot, &self.shared, &mut page);
        host::write(&snapshot, &self.shared, &mut page);
        self.shared.timings().write(&mut page);
        page.text()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::PublishedState;
    use crate::status::{InterfaceStatus, Status};
    use crate::sync::CounterId;
    use firewall_common::Tally;

    struct Silent;

    impl Counters for Silent {
        fn unrecorded(&self) -> Result<u64> {
            Ok(0)
        }

        fn reasons(&self) -> Result<Vec<ReasonCounter>> {
            Ok(Vec::new())
        }

        fn sockets(&self) -> Result<Vec<SocketTally>> {
            Ok(Vec::new())
        }

        fn memory(&self) -> Result<KernelMemory> {
            Ok(KernelMemory::default())
        }

        fn tally(&self, _: CounterId) -> Result<Tally> {
            Ok(Tally::default())
        }
    }

    #[test]
    fn rare_metrics_are_rendered() {
        let interface = |name: &str, mode: &str, unprotected_ms| InterfaceStatus {
            name: name.to_owned(),
            mode: mode.to_owned(),
            link_id: 1,
            program_id: 1,
            program_tag: String::new(),
            unprotected_ms,
            renamed_from: None,
        };
        let status = Status {
            interfaces: vec![interface("eth0", "generic", 1500), interface("eth\"1\n\u{9b}", "gone", 0)],
            repairs: [("link".to_owned(), 3)].into(),
            ..Status::default()
        };
        let shared = Arc::new(SharedState::new(Duration::from_secs(120)));
        shared.post(PublishedState { status, ..PublishedState::default() });
        shared.count_sessions_reset("orders", 2);
        shared.in_force(20, Some(3000));
        shared.in_force(40, Some(-3000));
        let text = Exporter::new(Box::new(Silent), shared).metrics();
        for line in [
            "firewall_drift_repairs_total{kind=\"link\"} 3",
            "firewall_interface_mode{interface=\"eth0\",mode=\"generic\"} 1.0",
            "firewall_interface_mode{interface=\"eth0\",mode=\"native\"} 0.0",
            "firewall_interface_mode{interface=\"eth\\\"1\\\\u000a\\\\u009b\",mode=\"none\"} 1.0",
            "firewall_interface_unprotected_seconds_total{interface=\"eth0\"} 1.5",
            "firewall_apply_seconds_bucket{le=\"0.025\"} 1",
            "firewall_sessions_reset_total{database=\"orders\"} 2",
            "firewall_sessions_reset_total{database=\"\"} 0",
            "firewall_apply_seconds_count 2",
            "firewall_propagation_seconds_count 1",
            "firewall_clock_skewed_revisions_total 1",
            "firewall_last_success_timestamp_seconds 0.0",
        ] {
            assert!(text.lines().any(|shown| shown == line), "{line} is not in\n{text}");
        }
    }
}
