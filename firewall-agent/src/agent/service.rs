//! The agent as a service: readiness and status for the service manager.

use std::time::Instant;

use super::Agent;
use crate::host::Notifier;

impl Agent {
    /// Tells the service manager that the loop runs, what is in force, and, once every configured interface that is
    /// present is filtered, that the agent is ready. A host that an operator has detached counts as ready.
    pub(super) fn notify(&self, notifier: &mut Notifier) {
        notifier.watchdog(Instant::now());
        notifier.status(&self.service_status());
        if !notifier.is_ready() && (self.reconciler.detached().is_some() || self.is_filtered()) {
            notifier.ready();
        }
    }

    fn is_filtered(&self) -> bool {
        self.interfaces.unfiltered(&self.pins).is_ok_and(|names| names.is_empty())
    }

    /// One line, like `12 databases, generation 40, interfaces eth0`.
    fn service_status(&self) -> String {
        let live = &self.reconciler.live;
        let databases = match live.databases.len() {
            1 => "1 database".to_owned(),
            many => format!("{many} databases"),
        };
        let attached: Vec<&str> = self.interfaces.attached().map(String::as_str).collect();
        let interfaces = match (self.reconciler.detached(), attached.as_slice()) {
            (Some(since), _) => format!("detached by an operator since {since:.0}"),
            (None, []) => "no interface".to_owned(),
            (None, names) => format!("interfaces {}", names.join(" ")),
        };
        let errors: Vec<&str> = self.interfaces.errors().map(String::as_str).collect();
        let errors = if errors.is_empty() { String::new() } else { format!("; {}", errors.join("; ")) };
        format!("{databases}, generation {}, {interfaces}{errors}", live.generation)
    }
}
