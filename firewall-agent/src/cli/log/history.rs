//! Layer that passes events to the durable history: the log lines with the field [`event::FIELD`], at any log level.

use std::fmt::Debug;
use std::io::Write as _;

use jiff::Timestamp;
use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::FilterFn;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use super::queue::Queue;
use crate::escape::write_json_line;
use crate::status::event::{self, Event};

pub(super) struct History(pub Queue);

impl<S: Subscriber> Layer<S> for History {
    fn on_event(&self, line: &tracing::Event<'_>, _: Context<'_, S>) {
        let mut fields = Fields::default();
        line.record(&mut fields);
        let Fields(mut fields) = fields;
        let mut take = |name: &str| match fields.remove(name) {
            Some(Value::String(text)) => text,
            _ => String::new(),
        };
        let (event, message) = (take(event::FIELD), take("message"));
        let mut bytes = Vec::new();
        if write_json_line(&Event { time: Timestamp::now(), event, message, fields }, &mut bytes).is_ok() {
            // The queue takes every line, or drops it.
            let _ = self.0.clone().write_all(&bytes);
        }
    }
}

/// The layer with its filter.
pub(super) fn layer<S>(queue: Queue) -> impl Layer<S>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let is_event = |metadata: &Metadata<'_>| metadata.fields().field(event::FIELD).is_some();
    History(queue).with_filter(FilterFn::new(is_event).with_max_level_hint(LevelFilter::INFO))
}

/// The fields of a line, typed where JSON has the type.
#[derive(Default)]
struct Fields(Map<String, Value>);

impl Fields {
    fn put(&mut self, field: &Field, value: impl Into<Value>) {
        self.0.insert(field.name().to_owned(), value.into());
    }
}

impl Visit for Fields {
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.put(field, format!("{value:?}"));
    }
}
