//! How a command ends.

use std::io;
use std::process::ExitCode;

/// Exit codes: 0, 1, 2, 3, 4, 5 in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Exit {
    Done,
    Failed,
    BadInput,
    WouldBeDenied,
    NotReady,
    WaysFound,
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
