//! `firewall-agent completions SHELL`: the completion script of a shell, and the candidates for which it asks.
//!
//! The scripts of bash, zsh and fish call the program for each completion, so that it offers the databases and ranges of
//! this host. They come with the program and pass it the typed words; clap_complete finds the candidates by the definition
//! of the command line. Its own scripts are not used: in bash they do not quote what they insert.

mod bash;
mod host_values;

use std::ffi::OsString;
use std::io::Write;

use anyhow::Result;
use clap::CommandFactory as _;
use clap_complete::engine::{CompletionCandidate, complete};
use clap_complete::{Shell, generate};

use super::{Arguments, BadInput, Exit};
use crate::escape::is_harmful;

/// Writes the script to standard output directly: it must not be escaped. With words, writes the candidates instead.
pub(super) fn completions(shell: Shell, words: Option<Vec<OsString>>) -> Result<Exit> {
    let mut answer = Vec::new();
    match (shell, words) {
        (Shell::Bash, None) => answer.extend(include_bytes!("completions/firewall-agent.bash")),
        (Shell::Fish, None) => answer.extend(include_bytes!("completions/firewall-agent.fish")),
        (Shell::Zsh, None) => answer.extend(include_bytes!("completions/firewall-agent.zsh")),
        (shell, None) => generate(shell, &mut Arguments::command(), "firewall-agent", &mut answer),
        (Shell::Bash, Some(words)) => write_lines(bash::replies(&words, candidates), &mut answer)?,
        (Shell::Fish | Shell::Zsh, Some(words)) => {
            write_lines(candidates(words).iter().map(described), &mut answer)?;
        }
        (shell, Some(_)) => {
            return Err(BadInput(format!("{shell}: its script does not ask for candidates")).into());
        }
    }
    std::io::stdout().write_all(&answer)?;
    Ok(Exit::Done)
}

fn write_lines(lines: impl IntoIterator<Item = String>, out: &mut impl Write) -> std::io::Result<()> {
    lines.into_iter().try_for_each(|line| writeln!(out, "{line}"))
}

/// A value that may stand for the last word, and a description, which may be empty.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Candidate {
    value: String,
    description: String,
}

/// Candidates for the last of these words; the first is the program. None where anything is wrong: a completion has no
/// place for errors.
fn candidates(words: Vec<OsString>) -> Vec<Candidate> {
    let Some(last) = words.len().checked_sub(1) else { return Vec::new() };
    let is_empty = words[last].is_empty();
    let mut definition = host_values::definition(&words);
    let directory = std::env::current_dir().ok();
    let found = complete(&mut definition, words, last, directory.as_deref()).unwrap_or_default();
    let mut found: Vec<Candidate> = found.iter().filter_map(Candidate::new).collect();
    // Before anything is typed, values are worth more than the list of all flags.
    if is_empty && found.iter().any(|one| !one.is_flag()) {
        found.retain(|one| !one.is_flag());
    }
    found
}

impl Candidate {
    /// `None` for a value that no terminal may get, such as the path of a file with an escape sequence in its name.
    fn new(found: &CompletionCandidate) -> Option<Self> {
        let value = found.get_value().to_str().filter(|value| !value.contains(is_harmful))?.to_owned();
        let help = found.get_help().map(ToString::to_string).unwrap_or_default();
        let description = help.lines().next().unwrap_or_default();
        let description = if description.contains(is_harmful) { "" } else { description };
        Some(Self { value, description: description.to_owned() })
    }

    fn is_flag(&self) -> bool {
        self.value.starts_with('-')
    }
}

/// A line of the value and its description, for shells that quote by themselves.
fn described(candidate: &Candidate) -> String {
    let Candidate { value, description } = candidate;
    if description.is_empty() { value.clone() } else { format!("{value}\t{description}") }
}
