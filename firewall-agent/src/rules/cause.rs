//! Causes of a refusal, for programs: JSON, metrics and the runbook name them.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Cause of one refusal of a file. The names are an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// A revision lower than one that was accepted before.
    StaleRevision,
    /// A revision that was accepted before, or is in a second file, with other contents.
    RevisionConflict,
    /// An endpoint that another database claims.
    EndpointClaimed,
    /// A managed range that lost more than the shrink guard admits: its last good list stays in force.
    RangeShrunk,
    /// A file without its closing `...` line: cut short, or still being written.
    Incomplete,
    /// An error of syntax, schema or meaning.
    Invalid,
    /// A file for another host.
    WrongHost,
    /// A correct file that asks for more than this host's configuration admits: monitor mode, or too many rules.
    NotPermitted,
    /// A file without a signature on a host with trusted keys.
    Unsigned,
    /// A signature that is malformed, made with another key, or over other bytes.
    BadSignature,
    /// A file of more than [`MAX_FILE_BYTES`](super::MAX_FILE_BYTES) bytes.
    TooLarge,
    /// A file beyond the number of files, or of bytes, that one pass reads.
    NotRead,
    /// An I/O error: a missing permission, a broken link, a disk that fails.
    Unreadable,
    /// A directory, FIFO, socket or device.
    NotRegular,
    /// A link to a file outside the directory.
    Outside,
    /// A name that starts with a dot.
    Hidden,
    /// A name that is not UTF-8.
    NotUtf8,
}

impl Cause {
    /// Every cause, in the order of the runbook.
    pub const ALL: [Self; 17] = [
        Self::StaleRevision,
        Self::RevisionConflict,
        Self::EndpointClaimed,
        Self::RangeShrunk,
        Self::Incomplete,
        Self::Invalid,
        Self::WrongHost,
        Self::NotPermitted,
        Self::Unsigned,
        Self::BadSignature,
        Self::TooLarge,
        Self::NotRead,
        Self::Unreadable,
        Self::NotRegular,
        Self::Outside,
        Self::Hidden,
        Self::NotUtf8,
    ];

    /// Name in JSON, in the label of a metric and in the runbook.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::StaleRevision => "stale_revision",
            Self::RevisionConflict => "revision_conflict",
            Self::EndpointClaimed => "endpoint_claimed",
            Self::RangeShrunk => "range_shrunk",
            Self::Incomplete => "incomplete",
            Self::Invalid => "invalid",
            Self::WrongHost => "wrong_host",
            Self::NotPermitted => "not_permitted",
            Self::Unsigned => "unsigned",
            Self::BadSignature => "bad_signature",
            Self::TooLarge => "too_large",
            Self::NotRead => "not_read",
            Self::Unreadable => "unreadable",
            Self::NotRegular => "not_regular",
            Self::Outside => "outside",
            Self::Hidden => "hidden",
            Self::NotUtf8 => "not_utf8",
        }
    }
}

/// Formats as the cause's name.
impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// One reason why a file, or a part of it, is rejected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    pub cause: Cause,
    /// For people. Does not name the file.
    pub message: String,
}

impl Rejection {
    #[must_use]
    pub fn new(cause: Cause, message: impl Into<String>) -> Self {
        Self { cause, message: message.into() }
    }

    /// Creates a message that starts with the cause's name, as in `stale_revision: revision 4 is lower than 5`.
    #[must_use]
    pub fn named(cause: Cause, message: impl fmt::Display) -> Self {
        Self { cause, message: format!("{cause}: {message}") }
    }
}

/// Formats as the message.
impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cause_is_listed_once_and_is_written_by_its_name() {
        let mut names: Vec<&str> = Cause::ALL.iter().map(|cause| cause.name()).collect();
        for cause in Cause::ALL {
            let json = serde_json::to_value(cause).unwrap();
            assert_eq!(json, cause.name());
            assert_eq!(serde_json::from_value::<Cause>(json).unwrap(), cause);
        }
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Cause::ALL.len());
        // The last variant has the highest number: none is missing from the list.
        assert_eq!(Cause::NotUtf8 as usize + 1, Cause::ALL.len());
    }
}
