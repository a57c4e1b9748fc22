//! The agent as a service: readiness and status for the service manager.

use std::time::Instant;

use super::Agent;
use crate::host::Notifier;

/// Maximum number of interfaces, and of errors, in a status line.
const SHOWN: usize = 8;

impl Agent {
    /// Sends watchdog, status and, once every configured interface that is present is filtered, and the sockets where
    /// they should be, readiness to the service manager. A host that an operator has detached counts as ready.
    pub(super) fn notify(&mut self, notifier: &mut Notifier) {
        notifier.watchdog(Instant::now());
        notifier.status(&self.service_status());
        if !notifier.is_ready() && (self.reconciler.detached().is_some() || self.is_filtered()) {
            notifier.ready();
        }
    }

    fn is_filtered(&mut self) -> bool {
        self.interfaces.unfiltered(&self.pins).is_ok_and(|names| names.is_empty())
            && self.socket_filter.unfiltered().is_none()
    }

    /// One line, like `12 databases, generation 40, interfaces eth0`.
    fn service_status(&self) -> String {
        let live = &self.reconciler.live;
        let databases = match live.databases.len() {
            1 => "1 database".to_owned(),
            many => format!("{many} databases"),
        };
        let interfaces = match self.reconciler.detached() {
            Some(since) => format!("detached by an operator since {since:.0}"),
            None => match few(self.interfaces.attached(), " ") {
                names if names.is_empty() => "no interface".to_owned(),
                names => format!("interfaces {names}"),
            },
        };
        let errors = few(self.interfaces.errors(), "; ");
        let errors = if errors.is_empty() { errors } else { format!("; {errors}") };
        format!("{databases}, generation {}, {interfaces}{errors}", live.generation)
    }
}

/// The first [`SHOWN`] items, and the number of the others.
fn few<'a>(items: impl Iterator<Item = &'a String>, separator: &str) -> String {
    let items: Vec<&str> = items.map(String::as_str).collect();
    match items.len().checked_sub(SHOWN) {
        Some(more @ 1..) => format!("{}{separator}and {more} more", items[..SHOWN].join(separator)),
        Some(0) | None => items.join(separator),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lists_are_cut_with_a_count_of_the_rest() {
        let names: Vec<String> = (0..10).map(|n| format!("eth{n}")).collect();
        assert_eq!(few(names[..0].iter(), " "), "");
        assert_eq!(few(names[..2].iter(), "; "), "eth0; eth1");
        assert_eq!(few(names[..8].iter(), " "), "eth0 eth1 eth2 eth3 eth4 eth5 eth6 eth7");
        assert_eq!(few(names.iter(), " "), "eth0 eth1 eth2 eth3 eth4 eth5 eth6 eth7 and 2 more");
    }
}
