//! How a command ends.

use std::io;
use std::process::ExitCode;

/// Exit codes: 0, 1, 2, 3, 4, 5, 6 in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Exit {
    Done,
    Failed,
    BadInput,
    WouldBeDenied,
    NotReady,
    WaysFound,
    /// `restore`: every configured interface is filtered, and not all of what is stored is in force.
    NotAllInForce,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        match exit {
            Exit::Done => Self::SUCCESS,
            Exit::Failed => Self::from(1),
            Exit::BadInput => Self::from(2),
            Exit::WouldBeDenied => Self::from(3),
            Exit::NotReady => Self::from(4),
            Exit::WaysFound => Self::from(5),
            Exit::NotAllInForce => Self::from(6),
        }
    }
}

/// What the user typed is wrong: exit code 2.
#[derive(Debug)]
pub(super) struct BadInput(pub String);

impl std::fmt::Display for BadInput {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for BadInput {}

/// The host is filtered, and these things are not in force: exit code 6.
#[derive(Debug)]
pub(super) struct NotAllInForce(pub String);

impl std::fmt::Display for NotAllInForce {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "filtered, but not everything is in force: {}", self.0)
    }
}

impl std::error::Error for NotAllInForce {}

/// The exit code of an error.
pub(super) fn exit_of(error: &anyhow::Error) -> Exit {
    if error.is::<BadInput>() {
        Exit::BadInput
    } else if error.is::<NotAllInForce>() {
        Exit::NotAllInForce
    } else {
        Exit::Failed
    }
}

/// The reader of our output has seen enough.
pub(super) fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        let kind = match cause.downcast_ref::<io::Error>() {
            Some(error) => Some(error.kind()),
            // It does not name the error of its writer as its source.
            None => cause.downcast_ref().and_then(serde_json::Error::io_error_kind),
        };
        kind == Some(io::ErrorKind::BrokenPipe)
    })
}
