//! Exit codes and errors of the commands.

use std::io;
use std::process::ExitCode;

use serde::{Serialize, Serializer};

use crate::escape::escaped;

/// Exit codes: 0, 1, 2, 3, 4, 5, 6 in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Exit {
    Done,
    Failed,
    BadInput,
    WouldBeDenied,
    NotReady,
    BypassesFound,
    /// `restore`: every configured interface is filtered, but not all stored state is in force.
    NotAllInForce,
}

impl Exit {
    fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::BadInput => 2,
            Self::WouldBeDenied => 3,
            Self::NotReady => 4,
            Self::BypassesFound => 5,
            Self::NotAllInForce => 6,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// Invalid input of the user: exit code 2.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct BadInput(pub String);

impl std::fmt::Display for BadInput {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for BadInput {}

/// Parts that are not in force on a filtered host: exit code 6.
#[derive(Debug)]
pub(super) struct NotAllInForce(pub String);

impl std::fmt::Display for NotAllInForce {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "filtered, but not everything is in force: {}", self.0)
    }
}

impl std::error::Error for NotAllInForce {}

/// Problems of a configuration file, one per line: exit code 2.
#[derive(Debug)]
pub(super) struct BadConfiguration(pub Vec<String>);

impl std::fmt::Display for BadConfiguration {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0.join("; "))
    }
}

impl std::error::Error for BadConfiguration {}

/// A failed command, as it says so on stderr. Field names are an interface.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Failure {
    /// At least one.
    pub errors: Vec<String>,
    #[serde(rename = "exit_code", serialize_with = "as_code")]
    pub exit: Exit,
}

fn as_code<S: Serializer>(exit: &Exit, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u8(exit.code())
}

impl Failure {
    pub fn new(error: &anyhow::Error) -> Self {
        let errors = match error.downcast_ref() {
            Some(BadConfiguration(problems)) => problems.clone(),
            None => vec![format!("{error:#}")],
        };
        let exit = if error.is::<BadInput>() || error.is::<BadConfiguration>() {
            Exit::BadInput
        } else if error.is::<NotAllInForce>() {
            Exit::NotAllInForce
        } else {
            Exit::Failed
        };
        Self { errors, exit }
    }

    /// Lines for people. No value in them begins a line.
    pub fn lines(&self) -> Vec<String> {
        let mut lines: Vec<String> = self.errors.iter().map(|line| escaped(line).into_owned()).collect();
        if let Some(first) = lines.first_mut() {
            first.insert_str(0, "error: ");
        }
        lines
    }
}

/// Returns `true` if the reader closed our output.
pub(super) fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        let kind = match cause.downcast_ref::<io::Error>() {
            Some(error) => Some(error.kind()),
            // `serde_json::Error` does not return the error of its writer as its source.
            None => cause.downcast_ref().and_then(serde_json::Error::io_error_kind),
        };
        kind == Some(io::ErrorKind::BrokenPipe)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(error: impl Into<anyhow::Error>) -> (Vec<String>, Exit) {
        let failure = Failure::new(&error.into());
        (failure.lines(), failure.exit)
    }

    #[test]
    fn only_configuration_problems_are_printed_one_per_line() {
        let expected = vec![r#"error: database "x\u000aerror: y""#.to_owned()];
        let forged = || BadInput("database \"x\nerror: y\"".to_owned());
        assert_eq!(shown(forged()), (expected, Exit::BadInput));
        let problems = vec!["a\n.yaml: line 1".to_owned(), "a\n.yaml: line 2".to_owned()];
        let expected = [r"error: a\u000a.yaml: line 1", r"a\u000a.yaml: line 2"];
        assert_eq!(shown(BadConfiguration(problems)), (expected.map(str::to_owned).to_vec(), Exit::BadInput));
        assert_eq!(shown(anyhow::anyhow!("failed")), (vec!["error: failed".to_owned()], Exit::Failed));
        let json = serde_json::to_string(&Failure::new(&forged().into())).unwrap();
        assert_eq!(json, r#"{"errors":["database \"x\nerror: y\""],"exit_code":2}"#);
    }
}
