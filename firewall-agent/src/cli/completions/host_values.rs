//! Databases, ranges and overlay entries of this host, offered as values of arguments.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::CommandFactory as _;
use clap_complete::engine::{ArgValueCandidates, CompletionCandidate};

use crate::bpf::Kernel;
use crate::cli::command::{Arguments, Directories};
use crate::cli::known_databases::KnownDatabases;
use crate::cli::settings::{self, Located, Settings};
use crate::files::store::{LastGoodStore, StateFile};
use crate::sync::{Live, Record};

/// Longest wait for kernel and store: nobody waits longer for a completion.
const PATIENCE: Duration = Duration::from_millis(150);
/// Commands that know only the databases in the kernel; the others know those of the store, too.
const LIVE_ONLY: [&str; 2] = ["rules", "denied"];

/// The definition of the command line, with values of the host to which the words refer by `--config`, `--bpffs-dir` and
/// `--state-dir`.
pub(super) fn definition(words: &[OsString]) -> clap::Command {
    let (config, flags) = named_paths(words);
    let located = move || Ok(Settings::read(&config)?.directories(flags.clone()));
    with_values(Arguments::command(), &located)
}

/// Adds the values of this host to the arguments of a command and of those below it.
fn with_values<L>(command: clap::Command, located: &L) -> clap::Command
where
    L: Fn() -> Result<Located> + Clone + Send + Sync + 'static,
{
    let name = command.get_name().to_owned();
    let command = command.mut_args(|argument| {
        let located = located.clone();
        let values: fn(L, &str) -> Vec<(String, String)> = match argument.get_id().as_str() {
            "database" | "target" => databases,
            "range" => ranges,
            "entries" => entries,
            _ => return argument,
        };
        let name = name.clone();
        argument.add(ArgValueCandidates::new(move || {
            values(located.clone(), &name).into_iter().map(candidate).collect()
        }))
    });
    command.mut_subcommands(|command| with_values(command, located))
}

fn candidate((value, description): (String, String)) -> CompletionCandidate {
    let description = Some(description).filter(|text| !text.is_empty());
    CompletionCandidate::new(value).help(description.map(Into::into))
}

/// The configuration file and the directories that the words name.
fn named_paths(words: &[OsString]) -> (PathBuf, Directories) {
    let value_of = |flag: &str| -> Option<PathBuf> {
        let mut found = None;
        for (at, word) in words.iter().enumerate() {
            let Some(rest) = word.to_str().and_then(|word| word.strip_prefix(flag)) else { continue };
            found = match rest.strip_prefix('=') {
                Some(value) => Some(value.into()),
                None if rest.is_empty() => words.get(at + 1).map(Into::into),
                None => found,
            };
        }
        found
    };
    let config = value_of("--config").unwrap_or_else(|| settings::DEFAULT_PATH.into());
    (config, Directories { bpffs_dir: value_of("--bpffs-dir"), state_dir: value_of("--state-dir") })
}

/// Ids and names, each with a description.
fn databases(
    located: impl FnOnce() -> Result<Located> + Send + 'static,
    command: &str,
) -> Vec<(String, String)> {
    let is_live_only = LIVE_ONLY.contains(&command);
    let parts = in_time(move |parts| {
        let located = located()?;
        // Either may be unreadable: the other one counts.
        let kernel = Kernel::open(&located.bpffs_dir).and_then(|kernel| kernel.database_names());
        parts.send(KnownDatabases::named(kernel.unwrap_or_default()))?;
        if !is_live_only {
            parts.send(KnownDatabases::stored(&located.state_dir, &Live::default())?)?;
        }
        Ok(())
    });
    parts.into_iter().reduce(KnownDatabases::joined_with).unwrap_or_default().values()
}

/// Ids of managed ranges, or of blocked ranges for `blocked`.
fn ranges(
    located: impl FnOnce() -> Result<Located> + Send + 'static,
    command: &str,
) -> Vec<(String, String)> {
    let is_blocked = command == "blocked";
    in_time(move |parts| {
        let kernel = Kernel::open(&located()?.bpffs_dir)?;
        let ids = if is_blocked { kernel.blocked_range_ids() } else { kernel.range_ids() };
        ids?.into_iter().try_for_each(|id| Ok(parts.send((id, String::new()))?))
    })
}

/// Ids of overlay entries, each with its note.
fn entries(located: impl FnOnce() -> Result<Located> + Send + 'static, _: &str) -> Vec<(String, String)> {
    in_time(move |parts| {
        for record in LastGoodStore::new(StateFile::new(&located()?.state_dir)).load()? {
            if let Record::Overlay(entry) = record {
                parts.send((entry.id.to_string(), entry.note))?;
            }
        }
        Ok(())
    })
}

/// The values that a thread sends in time. An error ends them: a completion has no place for it.
fn in_time<T: Send + 'static>(read: impl FnOnce(&Sender<T>) -> Result<()> + Send + 'static) -> Vec<T> {
    let (sender, receiver) = channel();
    let deadline = Instant::now() + PATIENCE;
    thread::spawn(move || read(&sender).unwrap_or_default());
    let next = || receiver.recv_timeout(deadline.saturating_duration_since(Instant::now())).ok();
    std::iter::from_fn(next).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_among_the_words_name_the_host() {
        let paths = |line: &str| {
            let words: Vec<OsString> = line.split(' ').map(Into::into).collect();
            let (config, directories) = named_paths(&words);
            [Some(config), directories.bpffs_dir, directories.state_dir]
                .map(|path| path.map(|path| path.display().to_string()))
        };
        let default = || Some(settings::DEFAULT_PATH.to_owned());
        let path = |path: &str| Some(path.to_owned());
        assert_eq!(paths("firewall-agent rules or"), [default(), None, None]);
        assert_eq!(paths("firewall-agent --config a rules or"), [path("a"), None, None]);
        assert_eq!(paths("firewall-agent rules --config=a --config b or"), [path("b"), None, None]);
        assert_eq!(paths("x rules --bpffs-dir=p --state-dir s or"), [default(), path("p"), path("s")]);
        assert_eq!(paths("firewall-agent rules --configuration x --config"), [default(), None, None]);
    }

    #[test]
    fn a_completion_waits_for_no_slow_host() {
        let started = Instant::now();
        let values = in_time(|values| {
            values.send("first")?;
            thread::sleep(10 * PATIENCE);
            Ok(values.send("late")?)
        });
        assert_eq!(values, ["first"]);
        assert!(started.elapsed() < 2 * PATIENCE, "{:?}", started.elapsed());
    }
}
