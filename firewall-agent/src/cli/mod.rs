//! Command line: one file for each command. Nouns only read, and work with the agent stopped.

mod audit;
mod clock;
mod colour;
mod command;
mod databases;
mod denied;
mod exit;
mod explain;
mod format;
mod health;
mod hits;
mod known_databases;
mod log;
mod plan;
mod prepare;
mod ranges;
mod restore;
mod rights;
mod rules;
mod run;
mod settings;
mod shell;
mod status;
mod table;
mod top;
mod validate;
mod verbs;

use std::io::{self, IsTerminal as _, Write};
use std::process::ExitCode;

use self::command::{Arguments, Command, Directories};
use self::exit::{BadConfiguration, BadInput, Exit, is_broken_pipe};
use self::settings::Settings;
use crate::escape::EscapedLines;

/// The definition of the command line.
#[must_use]
pub fn definition() -> clap::Command {
    <Arguments as clap::CommandFactory>::command()
}

/// Runs the command line of this process.
#[must_use]
pub fn main() -> ExitCode {
    let arguments = command::parse();
    rights::make_effective();
    let stdout = io::stdout().lock();
    let colour = stdout.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let mut out = EscapedLines::new(stdout, colour.then_some(colour::painted));
    let result = dispatch(arguments, &mut out).and_then(|exit| {
        out.flush()?;
        Ok(exit)
    });
    match result {
        Ok(exit) => exit.into(),
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            let (mut lines, exit) = exit::report(&error);
            if let (Some(last), Some(lacking)) = (lines.last_mut(), rights::lacking(&error)) {
                last.push_str(&format!(": {lacking}"));
            }
            for line in lines {
                let _ = writeln!(io::stderr(), "{line}");
            }
            exit.into()
        }
    }
}

fn dispatch(arguments: Arguments, out: &mut impl Write) -> anyhow::Result<Exit> {
    let settings = || Settings::read(&arguments.config);
    match arguments.command {
        Command::Completions { shell } => shell::completions(shell),
        Command::Man { dir } => shell::man(&dir, out),
        Command::Run { flags, log_format } => run::run(settings()?, *flags, log_format.unwrap_or_default()),
        Command::Validate { paths, output } => {
            let settings = settings()?;
            let (limits, keys) = (settings.limits()?, settings.trusted_keys());
            let most = settings.most_files();
            let outcome = validate::validate(&paths, &limits, keys, most, output.output, out)?;
            Ok(match outcome {
                validate::Outcome::Accepted => Exit::Done,
                validate::Outcome::Refused => Exit::BadInput,
            })
        }
        Command::Plan { paths, directories, output } => {
            let settings = settings()?;
            plan::plan(&settings, &settings.directories(directories), &paths, output.output, out)
        }
        Command::Databases { directories, output } => {
            databases::databases(&settings()?.directories(directories), output.output, out)
        }
        Command::Ranges { range, directories, output } => {
            ranges::ranges(&settings()?.directories(directories), range.as_deref(), output.output, out)
        }
        Command::Status { directories, output } => {
            status::status(&settings()?.directories(directories), output.output, out)
        }
        Command::Rules { database, directories, output } => {
            rules::rules(&settings()?.directories(directories), database.as_deref(), output.output, out)
        }
        Command::Explain { source, target, socket, directories, output } => {
            let directories = settings()?.directories(directories);
            explain::explain(&directories, (&source, &target), socket, output.output, out)
        }
        Command::Prepare { owner, directories } => {
            prepare::prepare(&settings()?.directories(directories), owner, out)
        }
        Command::Restore { wait } => restore::restore(settings()?, wait, out),
        Command::Clock { lower: true, to, .. } => verbs::lower_clock(settings()?, to, out),
        Command::Clock { directories, output, .. } => {
            clock::clock(&settings()?.directories(directories), output.output, out)
        }
        Command::Detach { yes } => verbs::detach(settings()?, yes, out),
        Command::Attach => verbs::attach(settings()?, out),
        Command::Health { ready, listen } => health::health(&settings()?, listen, ready, out),
        Command::Audit { accept, directories, output } => {
            audit::run(&settings()?.directories(directories), &accept, output.output, out)
        }
        Command::Denied { question, directories, output } => {
            denied::denied(&settings()?.directories(directories), question, output.output, out)
        }
        Command::Top { directories } => top::top(&settings()?.directories(directories)),
        Command::Forget { database, open } => verbs::forget(settings()?, &database, open, out),
        Command::PacketLog { switch } => verbs::packet_log(settings()?, &switch, out),
        Command::Rebase { database } => verbs::rebase(settings()?, &database, out),
    }
}
