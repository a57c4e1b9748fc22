//! Command line: one file for each command. Nouns only read, and work with the agent stopped.

mod audit;
mod blocked;
mod clock;
mod colour;
mod command;
mod completions;
mod count_memory;
mod daemon_http;
mod databases;
mod denied;
mod events;
mod evidence;
mod exit;
mod explain;
mod format;
mod health;
mod hits;
mod known_databases;
mod log;
mod man;
mod most_hit;
mod overlay;
mod plan;
mod prepare;
mod pushed_files;
mod range_history;
mod ranges;
mod restore;
mod rights;
mod rules;
mod run;
mod screen;
mod seen_at_sockets;
mod settings;
mod since;
#[cfg(test)]
mod snapshots;
mod status;
mod style;
mod support_bundle;
mod table;
mod top;
mod validate;
mod verbs;
mod wait;
mod watch;

use std::io::{self, IsTerminal as _, Write};
use std::process::ExitCode;

use self::command::{Arguments, Command, Directories};
use self::exit::{BadConfiguration, BadInput, Exit, Failure, is_broken_pipe};
use self::format::Format;
use self::screen::Screen;
use self::settings::Settings;
use self::style::Style;
use crate::escape::{EscapedLines, write_json_line};

/// The definition of the command line.
#[must_use]
pub fn definition() -> clap::Command {
    <Arguments as clap::CommandFactory>::command()
}

/// Runs the command line of this process.
#[must_use]
pub fn main() -> ExitCode {
    let arguments = command::parse();
    let (format, absolute) = (arguments.output, arguments.absolute);
    let style = || Style::new(format, absolute);
    rights::make_effective();
    let result = match arguments.command.watch() {
        Some((period, part)) => {
            watch::watch(period, part, style, |style, out| dispatch(arguments.clone(), style, out))
        }
        None => once(arguments, style()),
    };
    match result {
        Ok(exit) => exit.into(),
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => report_failure(&error, format).into(),
    }
}

fn once(arguments: Arguments, style: Style) -> anyhow::Result<Exit> {
    let stdout = io::stdout().lock();
    let colour = stdout.is_terminal() && uses_colour();
    let mut out = EscapedLines::new(Screen::new(stdout, style.width, colour));
    let exit = dispatch(arguments, style, &mut out)?;
    out.flush()?;
    Ok(exit)
}

/// Returns `true` unless the user refuses colours on a terminal.
fn uses_colour() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Reports a failed command on stderr, with the rights that it lacks.
fn report_failure(error: &anyhow::Error, format: Format) -> Exit {
    let mut failure = Failure::new(error);
    if let (Some(last), Some(lacking)) = (failure.errors.last_mut(), rights::lacking(error)) {
        last.push_str(&format!(": {lacking}"));
    }
    // A closed stderr leaves no reader.
    let _ = match format {
        Format::Table | Format::Wide => {
            failure.lines().iter().try_for_each(|line| writeln!(io::stderr(), "{line}"))
        }
        Format::Json => write_json_line(&failure, io::stderr()),
    };
    failure.exit
}

fn dispatch(arguments: Arguments, style: Style, out: &mut impl Write) -> anyhow::Result<Exit> {
    let (settings, format) = (|| Settings::read(&arguments.config), style.format);
    match arguments.command {
        Command::Completions { shell, words } => completions::completions(shell, words),
        Command::Man { dir } => man::man(&dir, out),
        Command::Run { flags, log_format } => run::run(settings()?, *flags, log_format.unwrap_or_default()),
        Command::Validate { paths } => {
            let settings = settings()?;
            let (limits, keys) = (settings.limits()?, settings.trusted_keys());
            let most = settings.most_files();
            let (_, _, blocked) = settings.inputs();
            let outcome = validate::validate(&paths, &limits, keys, &blocked, most, format, out)?;
            Ok(match outcome {
                validate::Outcome::Accepted => Exit::Done,
                validate::Outcome::Refused => Exit::BadInput,
            })
        }
        Command::Plan { paths, directories } => {
            let settings = settings()?;
            plan::plan(&settings, &settings.directories(directories), &paths, style, out)
        }
        Command::Databases { directories, .. } => {
            databases::databases(&settings()?.directories(directories), style, out)
        }
        Command::Ranges { acknowledge: true, .. } => verbs::acknowledge_ranges(settings()?, out),
        Command::Ranges { range, history: true, directories, .. } => {
            range_history::history(&settings()?.directories(directories), range.as_deref(), style, out)
        }
        Command::Ranges { range, most, directories, .. } => {
            ranges::ranges(&settings()?.directories(directories), range.as_deref(), most, style, out)
        }
        Command::Status { verbose, directories, .. } => {
            status::status(&settings()?, directories, verbose, style, out)
        }
        Command::Rules { database, most, directories, .. } => {
            rules::rules(&settings()?.directories(directories), database.as_deref(), most, style, out)
        }
        Command::Explain { source, target, socket, directories } => {
            let settings = settings()?;
            let directories = settings.directories(directories);
            explain::explain(settings, &directories, (&source, target.as_deref()), socket, style, out)
        }
        Command::Prepare { owner, directories } => {
            prepare::prepare(&settings()?.directories(directories), owner, out)
        }
        Command::Restore { wait } => restore::restore(settings()?, wait, out),
        Command::Clock { lower: true, to, .. } => verbs::lower_clock(settings()?, to, out),
        Command::Clock { directories, .. } => {
            clock::clock(&settings()?.directories(directories), format, out)
        }
        Command::Detach { yes } => verbs::detach(settings()?, yes, out),
        Command::Attach => verbs::attach(settings()?, out),
        Command::Health { ready, listen } => health::health(&settings()?, listen, ready, out),
        Command::Audit { accept, directories } => {
            audit::run(&settings()?.directories(directories), &accept, format, out)
        }
        Command::Denied { question, directories, .. } => {
            denied::denied(&settings()?.directories(directories), question, style, out)
        }
        Command::Events { selection, directories, .. } => {
            events::events(&settings()?.directories(directories), &selection, style, out)
        }
        Command::Wait { awaited, directories } => {
            let settings = settings()?;
            let directories = settings.directories(directories);
            wait::wait(settings, &directories, &awaited, out)
        }
        Command::SupportBundle { unredacted } => {
            support_bundle::support_bundle(&arguments.config, settings(), unredacted, out)
        }
        Command::Top { directories } => top::top(&settings()?.directories(directories), style),
        Command::Forget { database, open } => verbs::forget(settings()?, &database, open, out),
        Command::Blocked { range, directories } => {
            blocked::blocked(&settings()?.directories(directories), range.as_deref(), style, out)
        }
        Command::Block { source, database, duration } => {
            overlay::block(settings()?, (&source, database.as_deref()), &duration, out)
        }
        Command::Close { database, duration } => overlay::close(settings()?, &database, &duration, out),
        Command::Allow { source, database, duration } => {
            overlay::allow(settings()?, (&source, &database), &duration, out)
        }
        Command::Overlay { edit: Some(edit), .. } => overlay::edit(settings()?, &edit, out),
        Command::Overlay { edit: None, directories } => {
            overlay::list(&settings()?.directories(directories), style, out)
        }
        Command::PacketLog { switch } => verbs::packet_log(settings()?, &switch, out),
        Command::Rebase { database } => verbs::rebase(settings()?, &database, out),
    }
}
