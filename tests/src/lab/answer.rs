//! Commands run to their end.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};

/// Output and exit code of a command.
#[derive(Debug)]
pub struct Answer {
    /// Exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Answer {
    /// Runs a command to its end.
    ///
    /// # Errors
    /// The command cannot be started, or writes something other than UTF-8.
    pub fn of(command: &mut Command) -> Result<Self> {
        let done = command.output().with_context(|| format!("{command:?}: not started"))?;
        let text = |bytes| String::from_utf8(bytes).with_context(|| format!("{command:?}: output"));
        Ok(Self { code: done.status.code(), out: text(done.stdout)?, err: text(done.stderr)? })
    }
}

/// Runs a command that must succeed; returns its standard output.
///
/// # Errors
/// As [`Answer::of`], or the command fails; the error contains its standard error.
pub(super) fn output_of(command: &mut Command) -> Result<String> {
    let Answer { code, out, err } = Answer::of(command)?;
    ensure!(code == Some(0), "{command:?}: exit code {code:?}: {}", err.trim());
    Ok(out)
}
