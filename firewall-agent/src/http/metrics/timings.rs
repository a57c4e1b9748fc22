//! Histograms of the time that changes took, observed once for each revision new to this host.

use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::Histogram;

use super::metrics_page::MetricsPage;

/// Upper bounds of the buckets, in seconds.
const APPLY: [f64; 12] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0, 120.0];
const PROPAGATION: [f64; 12] = [0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 3600.0];

#[derive(Debug)]
pub(crate) struct Timings {
    apply: Histogram,
    propagation: Histogram,
    skewed: Counter,
    window: Duration,
}

impl Timings {
    pub fn new(window: Duration) -> Self {
        Self {
            apply: Histogram::new(APPLY),
            propagation: Histogram::new(PROPAGATION),
            skewed: Counter::default(),
            window,
        }
    }

    /// Observes one revision. A negative propagation time counts as skewed: the clocks of this host and of the control
    /// plane disagree.
    pub fn observe(&self, apply_ms: u64, propagation_ms: Option<i64>) {
        self.apply.observe(Duration::from_millis(apply_ms).as_secs_f64());
        match propagation_ms.map(u64::try_from) {
            Some(Ok(millis)) => self.propagation.observe(Duration::from_millis(millis).as_secs_f64()),
            Some(Err(_)) => _ = self.skewed.inc(),
            None => {}
        }
    }

    pub(super) fn write(&self, page: &mut MetricsPage) {
        page.persistent(
            "apply_seconds",
            "Time from a rule file becoming visible to being in force, for revisions new to this host",
            self.apply.clone(),
        );
        page.persistent(
            "propagation_seconds",
            "Time from generated_at of a rule file to being in force, for revisions that are new to this host and younger than \
             the agent",
            self.propagation.clone(),
        );
        page.persistent(
            "clock_skewed_revisions",
            "Revisions in force before their generated_at: the clocks of host and control plane disagree",
            self.skewed.clone(),
        );
        page.gauge(
            "propagation_window_seconds",
            "Promised time from a rule file becoming visible to being in force",
            self.window.as_secs_f64(),
        );
    }
}
