//! Conditions: named states of the agent that are true or not.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use tracing::{error, info};

use super::event;

/// Everything that can be wrong with the agent, except rejected files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Condition {
    /// An operator has detached the links, until `attach`.
    Detached,
    /// A configured interface is missing or not filtered; one per interface.
    Interface,
    /// The socket filter should enforce, and is not attached.
    SocketFilter,
    /// The socket filter should monitor and is not attached, or should be off and is attached.
    SocketMonitor,
    /// No rule file was ever accepted, or every database was removed or forgotten.
    NoDatabase,
    /// A database is not in force as in its file: no capacity, or a refused kernel write; one per database.
    Database,
    /// Endpoints of a database are closed until their claims are durable; one per database.
    Withheld,
    /// A publish failed in a part that belongs to no single database.
    Publish,
    /// Kernel objects had drifted at the last drift check.
    Drift,
    /// Kernel objects cannot be repaired; one per kind.
    Repair,
    /// The probe program's verdict differs from the published rules; one per database.
    Probe,
    /// The kernel's state cannot be read for the status.
    Kernel,
    /// The kernel's state cannot be read back after a refused write: nothing is published.
    ReadBack,
    /// Accepted files and closed destinations are not durable.
    Store,
    /// A stored record is not used.
    StoredRecord,
    /// Stored files of two databases claim one destination, which is closed; one per destination.
    Claim,
    /// The rules directory cannot be listed, or not every file in it is read.
    RulesDirectory,
    /// Files in the rules directory only resemble rule files.
    IgnoredFiles,
    /// Reading the files does not return.
    FilesHang,
    /// File events are unavailable: only rescans find changes.
    FileEvents,
    /// A step of the wall clock is not accepted.
    ClockUntrusted,
    /// The clock mark is ahead of a synchronised clock: rules expire early.
    ClockAhead,
    /// A revision is not in force within half of the propagation window; one per database.
    Late,
    /// A configured HTTP listener is not bound; one per listener.
    Listener,
    /// The control socket is not bound: no verb can be received.
    ControlSocket,
    /// `status.json` cannot be written.
    StatusFile,
    /// The packet log cannot be started or ended.
    PacketLog,
    /// An interface in generic mode may receive packets that are too large for the program; one per interface.
    LargeSegments,
    /// The sessions of revoked sources are not reset, as configured.
    SessionReset,
    /// An unusual change of a managed range in use is not acknowledged; one per range.
    RangeChange,
    /// An operator's decision stands over the files; one per entry of the overlay.
    Overlay,
}

impl Condition {
    pub const ALL: [Self; 31] = [
        Self::Detached,
        Self::Interface,
        Self::SocketFilter,
        Self::SocketMonitor,
        Self::NoDatabase,
        Self::Database,
        Self::Withheld,
        Self::Publish,
        Self::Drift,
        Self::Repair,
        Self::Probe,
        Self::Kernel,
        Self::ReadBack,
        Self::Store,
        Self::StoredRecord,
        Self::Claim,
        Self::RulesDirectory,
        Self::IgnoredFiles,
        Self::FilesHang,
        Self::FileEvents,
        Self::ClockUntrusted,
        Self::ClockAhead,
        Self::Late,
        Self::Listener,
        Self::ControlSocket,
        Self::StatusFile,
        Self::PacketLog,
        Self::LargeSegments,
        Self::SessionReset,
        Self::RangeChange,
        Self::Overlay,
    ];

    /// The name, and `true` if the condition blocks readiness.
    fn facts(self) -> (&'static str, bool) {
        match self {
            Self::Detached => ("detached", true),
            Self::Interface => ("interface", true),
            Self::SocketFilter => ("socket_filter", true),
            Self::SocketMonitor => ("socket_monitor", false),
            Self::NoDatabase => ("no_database", true),
            Self::Database => ("database", true),
            Self::Withheld => ("withheld", true),
            Self::Publish => ("publish", true),
            Self::Drift => ("drift", true),
            Self::Repair => ("repair", true),
            Self::Probe => ("probe", true),
            Self::Kernel => ("kernel", true),
            Self::ReadBack => ("read_back", true),
            Self::Store => ("store", false),
            Self::StoredRecord => ("stored_record", false),
            Self::Claim => ("claim", false),
            Self::RulesDirectory => ("rules_directory", false),
            Self::IgnoredFiles => ("ignored_files", false),
            Self::FilesHang => ("files_hang", false),
            Self::FileEvents => ("file_events", false),
            Self::ClockUntrusted => ("clock_untrusted", false),
            Self::ClockAhead => ("clock_ahead", false),
            Self::Late => ("late", false),
            Self::Listener => ("listener", false),
            Self::ControlSocket => ("control_socket", false),
            Self::StatusFile => ("status_file", false),
            Self::PacketLog => ("packet_log", false),
            Self::LargeSegments => ("large_segments", false),
            Self::SessionReset => ("session_reset", false),
            Self::RangeChange => ("range_change", false),
            Self::Overlay => ("overlay", false),
        }
    }

    /// The name in JSON, metrics and the runbook.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.facts().0
    }

    /// Returns `true` when the agent is not ready while the condition is true.
    #[must_use]
    pub fn blocks_readiness(self) -> bool {
        self.facts().1
    }

    /// Returns `true` when the message is among the errors of `status`, which shows the others elsewhere.
    fn is_error(self) -> bool {
        !matches!(self, Self::Detached | Self::NoDatabase | Self::Drift | Self::Overlay)
    }

    /// Returns `true` when the condition means that some configured interface, or the sockets, are not filtered.
    fn is_unfiltered(self) -> bool {
        matches!(self, Self::Interface | Self::SocketFilter)
    }

    /// Returns `true` when the condition means that accepted rules are not completely in force.
    fn is_incomplete(self) -> bool {
        matches!(
            self,
            Self::Database
                | Self::Withheld
                | Self::Publish
                | Self::Kernel
                | Self::ReadBack
                | Self::StoredRecord
                | Self::Claim
        )
    }
}

/// One true condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    pub message: String,
    /// Time of the transition to true.
    pub since: Timestamp,
}

/// The true conditions, each with its subject: an interface or a database, for example; empty for a condition with only
/// one.
#[derive(Debug, Default)]
pub struct Conditions {
    states: BTreeMap<(Condition, String), State>,
}

impl Conditions {
    /// Makes a condition without a subject true with this message, or false.
    pub fn set(&mut self, condition: Condition, message: Option<String>) {
        self.replace(condition, message.map(|message| (String::new(), message)));
    }

    /// Makes a condition true for exactly these subjects. Logs each transition once.
    pub fn replace(&mut self, condition: Condition, now: impl IntoIterator<Item = (String, String)>) {
        let now: BTreeMap<String, String> = now.into_iter().collect();
        self.states.retain(|(kind, subject), state| {
            let stays = *kind != condition || now.contains_key(subject);
            if !stays {
                let was = state.message.as_str();
                info!(
                    condition = condition.name(),
                    subject,
                    was,
                    event = event::CONDITION,
                    "condition cleared"
                );
            }
            stays
        });
        for (subject, message) in now {
            self.set_one(condition, subject, message);
        }
    }

    fn set_one(&mut self, condition: Condition, subject: String, message: String) {
        let key = (condition, subject);
        let before = self.states.get(&key);
        if before.is_some_and(|before| before.message == message) {
            return;
        }
        let since = before.map_or_else(Timestamp::now, |before| before.since);
        // A message that only changes in its numbers, such as a count of seconds, is no transition.
        if before.is_none_or(|before| essence(&before.message) != essence(&message)) {
            error!(
                condition = condition.name(),
                subject = key.1,
                error = message,
                event = event::CONDITION,
                "condition raised"
            );
        }
        self.states.insert(key, State { message, since });
    }

    /// Every true condition with its subject.
    pub fn iter(&self) -> impl Iterator<Item = (Condition, &str, &State)> {
        self.states.iter().map(|((condition, subject), state)| (*condition, subject.as_str(), state))
    }

    /// Number of subjects for which a condition is true.
    #[must_use]
    pub fn count(&self, condition: Condition) -> usize {
        self.states.keys().filter(|(kind, _)| *kind == condition).count()
    }

    /// Messages of the conditions that block readiness; empty when the agent is ready.
    #[must_use]
    pub fn not_ready(&self) -> Vec<String> {
        self.messages(Condition::blocks_readiness)
    }

    /// Messages of the conditions that are errors.
    #[must_use]
    pub fn errors(&self) -> Vec<String> {
        self.messages(Condition::is_error)
    }

    /// Messages of configured interfaces that are not filtered.
    #[must_use]
    pub fn unfiltered(&self) -> Vec<String> {
        self.messages(Condition::is_unfiltered)
    }

    /// Messages of accepted rules that are not in force.
    #[must_use]
    pub fn incomplete(&self) -> Vec<String> {
        self.messages(Condition::is_incomplete)
    }

    /// Messages of accepted rules that are not in force, without databases outside this set.
    #[must_use]
    pub fn incomplete_of(&self, databases: &BTreeSet<String>) -> Vec<String> {
        let counts = |condition, subject| condition != Condition::Database || databases.contains(subject);
        let incomplete = self
            .iter()
            .filter(|(condition, subject, _)| condition.is_incomplete() && counts(*condition, *subject));
        incomplete.map(|(.., state)| state.message.clone()).collect()
    }

    fn messages(&self, is_wanted: impl Fn(Condition) -> bool) -> Vec<String> {
        let wanted = self.states.iter().filter(|((condition, _), _)| is_wanted(*condition));
        wanted.map(|(_, state)| state.message.clone()).collect()
    }
}

/// The message without its digits.
fn essence(message: &str) -> impl PartialEq {
    message.chars().filter(|c| !c.is_ascii_digit()).collect::<String>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn condition_is_true_for_its_subjects_until_replaced() {
        let mut conditions = Conditions::default();
        let failed = |names: &[&str]| {
            let one = |name: &&str| ((*name).to_owned(), format!("interface {name}: busy"));
            names.iter().map(one).collect::<Vec<_>>()
        };
        conditions.replace(Condition::Interface, failed(&["eth0", "eth1"]));
        conditions.set(Condition::Store, Some("disk full".to_owned()));
        assert_eq!(conditions.not_ready(), ["interface eth0: busy", "interface eth1: busy"]);
        assert_eq!(conditions.errors().len(), 3);
        let since = conditions.iter().next().map(|(.., state)| state.since).unwrap();
        conditions.replace(Condition::Interface, failed(&["eth0"]));
        assert_eq!(conditions.unfiltered(), ["interface eth0: busy"]);
        assert_eq!(conditions.iter().next().map(|(.., state)| state.since), Some(since));
        conditions.replace(Condition::Interface, None);
        conditions.set(Condition::Store, None);
        assert_eq!(conditions.iter().count(), 0);
    }

    #[test]
    fn every_condition_is_listed_once_and_has_a_unique_name() {
        let names: BTreeSet<&str> = Condition::ALL.iter().map(|one| one.name()).collect();
        assert_eq!(names.len(), Condition::ALL.len());
        assert!(Condition::ALL.is_sorted());
    }
}
