//! Messages to the terminal, and commands without output.
//!
//! xshell runs the commands of xtask. `std::process::Command` is for the others: children that run beside xtask, pipes
//! between two programs, and commands of the lab, which enter namespaces between fork and exec.

use std::fmt;
use std::io::Write as _;
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result};
use xshell::Cmd;

/// Prints one line on standard error. A closed terminal is no error.
pub fn say(line: fmt::Arguments<'_>) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Prints the error of a part that is one of several.
pub fn reported(result: Result<()>) -> Result<()> {
    if let Err(error) = &result {
        say(format_args!("error: {error:#}"));
    }
    result
}

/// Returns whether the command starts and succeeds; discards its output.
pub fn succeeds(command: Cmd<'_>) -> bool {
    command.quiet().ignore_stdout().ignore_stderr().run().is_ok()
}

/// Starts the command, with its directory and variables, at the lowest priority and without output.
pub fn in_background(command: Cmd<'_>) -> Result<Child> {
    let shown = command.to_string();
    let command = Command::from(command);
    let mut nice = Command::new("nice");
    nice.args(["-n", "19"]).arg(command.get_program()).args(command.get_args());
    nice.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    if let Some(dir) = command.get_current_dir() {
        nice.current_dir(dir);
    }
    nice.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    nice.spawn().with_context(|| format!("cannot start {shown}"))
}
