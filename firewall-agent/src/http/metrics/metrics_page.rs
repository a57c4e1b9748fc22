//! Metrics of one scrape: names, help texts and rows.

use std::borrow::Cow;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::prometheus_text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Metric, Registry};

use crate::escape::escaped;

/// Label names and values of a row.
pub(super) type Labels = Vec<(&'static str, String)>;

/// Registry of one scrape; a new one each time drops the rows of removed objects.
pub(super) struct MetricsPage(Registry);

impl Default for MetricsPage {
    fn default() -> Self {
        Self(Registry::with_prefix("firewall"))
    }
}

/// Value of a gauge.
pub(super) trait Value {
    fn shown(self) -> f64;
}

impl Value for f64 {
    fn shown(self) -> f64 {
        self
    }
}

impl Value for bool {
    fn shown(self) -> f64 {
        f64::from(u8::from(self))
    }
}

impl Value for usize {
    fn shown(self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "Prometheus has no other numbers")]
        let shown = self as f64;
        shown
    }
}

impl Value for u64 {
    fn shown(self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "Prometheus has no other numbers")]
        let shown = self as f64;
        shown
    }
}

/// Escapes the values: the encoder escapes only quotes, backslashes and line breaks.
fn safe(mut labels: Labels) -> Labels {
    for (_, value) in &mut labels {
        if let Cow::Owned(text) = escaped(value) {
            *value = text;
        }
    }
    labels
}

impl MetricsPage {
    /// Adds counters that rise at least for the life of their process; `_total` is added to the name.
    pub fn counters(&mut self, name: &str, help: &str, rows: impl IntoIterator<Item = (Labels, u64)>) {
        let family = Family::<Labels, Counter>::default();
        for (labels, value) in rows {
            family.get_or_create(&safe(labels)).inc_by(value);
        }
        self.0.register(name, help, family);
    }

    /// Adds counters of seconds.
    pub fn spans(&mut self, name: &str, help: &str, rows: impl IntoIterator<Item = (Labels, Duration)>) {
        let family = Family::<Labels, Counter<f64, AtomicU64>>::default();
        for (labels, span) in rows {
            family.get_or_create(&safe(labels)).inc_by(span.as_secs_f64());
        }
        self.0.register(name, help, family);
    }

    pub fn gauges<V: Value>(&mut self, name: &str, help: &str, rows: impl IntoIterator<Item = (Labels, V)>) {
        let family = Family::<Labels, Gauge<f64, AtomicU64>>::default();
        for (labels, value) in rows {
            family.get_or_create(&safe(labels)).set(value.shown());
        }
        self.0.register(name, help, family);
    }

    /// Adds a gauge of one row.
    pub fn gauge(&mut self, name: &str, help: &str, value: impl Value) {
        self.gauges(name, help, [(Labels::new(), value)]);
    }

    /// Adds a gauge for each of `states`, 1 for the current one.
    pub fn states<'a>(
        &mut self,
        name: &str,
        help: &str,
        label: &'static str,
        states: &[&str],
        rows: impl Iterator<Item = (Labels, &'a str)>,
    ) {
        let rows = rows.flat_map(|(labels, so)| {
            states.iter().map(move |state| {
                let mut labels = labels.clone();
                labels.push((label, (*state).to_owned()));
                (labels, *state == so)
            })
        });
        self.gauges(name, help, rows.collect::<Vec<_>>());
    }

    /// Adds a metric that lives from scrape to scrape.
    pub fn persistent(&mut self, name: &str, help: &str, metric: impl Metric) {
        self.0.register(name, help, metric);
    }

    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing into a string cannot fail.
        let _ = encode(&mut text, &self.0);
        text
    }
}
