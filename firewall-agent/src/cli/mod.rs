//! The command line: one file for each command. Nouns only read, and work with the agent stopped.

mod audit;
mod databases;
mod explain;
mod format;
mod given;
mod plan;
mod ranges;
mod rules;
mod run;
mod settings;
mod status;
mod table;
mod validate;
mod verbs;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use self::format::Format;
use self::settings::Settings;
use crate::audit::Kind;
use crate::config::ConfigFile;
use crate::version::VERSION;

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Exit {
    Done,
    Failed,
    BadInput,
    WouldBeDenied,
    WaysFound,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        match exit {
            Exit::Done => Self::SUCCESS,
            Exit::Failed => Self::from(1),
            Exit::BadInput => Self::from(2),
            Exit::WouldBeDenied => Self::from(3),
            Exit::WaysFound => Self::from(5),
        }
    }
}

/// What the user typed is wrong: exit code 2.
#[derive(Debug)]
struct BadInput(String);

impl std::fmt::Display for BadInput {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for BadInput {}

/// The database firewall agent: an XDP program drops every packet to a database endpoint whose source no rule allows
///
/// Exit codes: 0 done, 1 failed, 2 bad input, 3 would be denied (`explain`), 5 ways found (`audit`).
#[derive(Debug, Parser)]
#[command(name = "firewall-agent", version = VERSION.as_str())]
struct Arguments {
    /// Configuration file
    #[arg(long, global = true, value_name = "FILE", default_value = settings::DEFAULT_PATH)]
    config: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the daemon: keep the kernel equal to the rule files
    #[command(
        after_help = "Exit codes: 0 stopped by SIGTERM or SIGINT, everything stays in force; 1 failed; 2 bad input.\n\n\
                            Example: firewall-agent run --interfaces eth0 --guarded-ports 5432,30000-32767"
    )]
    Run {
        #[command(flatten)]
        flags: Box<ConfigFile>,
    },
    /// Check rule files and managed ranges as `run` would; needs no privileges
    #[command(after_help = "Exit codes: 0 every file would be taken, 2 at least one refused.\n\n\
                            Example: firewall-agent validate /etc/firewall-agent/rules.d")]
    Validate {
        /// Files, or directories of rule files
        #[arg(required = true)]
        paths: Vec<PathBuf>,
        #[command(flatten)]
        output: Output,
    },
    /// What applying these files would change in the kernel, database by database; changes nothing
    #[command(after_help = "Exit codes: 0 done, 1 failed, 2 at least one file would be refused.\n\n\
                            Examples:\n  firewall-agent plan\n  firewall-agent plan new/orders.yaml -o json")]
    Plan {
        /// Files, or directories of rule files [default: the configured rules_dir and managed_ranges]
        paths: Vec<PathBuf>,
        #[command(flatten)]
        places: Places,
        #[command(flatten)]
        output: Output,
    },
    /// Interfaces, databases, refused files and counters
    #[command(after_help = "Exit codes: 0 done, 1 failed, as when no agent ever ran here.\n\n\
                            Example: firewall-agent status -o json")]
    Status {
        #[command(flatten)]
        places: Places,
        #[command(flatten)]
        output: Output,
    },
    /// The databases that are live in the kernel, and the endpoints that stay closed
    #[command(after_help = "Exit codes: 0 done, 1 failed, as when no agent ever ran here.\n\n\
                            Example: firewall-agent databases")]
    Databases {
        #[command(flatten)]
        places: Places,
        #[command(flatten)]
        output: Output,
    },
    /// The managed ranges that are live in the kernel, with their hits
    #[command(after_help = "Exit codes: 0 done, 1 failed, 2 no database uses the range.\n\n\
                            Example: firewall-agent ranges man-osc-fr1-egress")]
    Ranges {
        /// Only this range, with every prefix
        range: Option<String>,
        #[command(flatten)]
        places: Places,
        #[command(flatten)]
        output: Output,
    },
    /// The rules that are live in the kernel, with their hits
    #[command(after_help = "Exit codes: 0 done, 1 failed, 2 no such database.\n\n\
                            Example: firewall-agent rules 6a316183d0f1f10ecbcca123")]
    Rules {
        /// Only this database, with every prefix
        database: Option<String>,
        #[command(flatten)]
        places: Places,
        #[command(flatten)]
        output: Output,
    },
    /// The verdict for a packet, asked of the kernel: reason, rule, managed range
    #[command(after_help = "Exit codes: 0 would pass, 1 failed, 2 bad input, 3 would be denied.\n\n\
                            Examples:\n  firewall-agent explain 203.0.113.7 6a316183d0f1f10ecbcca123\n  \
                            firewall-agent explain 203.0.113.7 192.0.2.10:30092\n  \
                            firewall-agent explain 2001:db8::7 [2001:db8::10]:30092/udp")]
    Explain {
        /// Source address
        source: String,
        /// A database id, or ADDRESS:PORT[/udp]
        target: String,
        #[command(flatten)]
        places: Places,
        #[command(flatten)]
        output: Output,
    },
    /// Ways to a protected port that the attached programs do not see
    #[command(after_help = AUDIT_HELP)]
    Audit {
        /// Kinds of ways that are known and meant to be: told, and without effect on the exit code
        #[arg(long, value_name = "KIND", value_delimiter = ',')]
        accept: Vec<Kind>,
        #[command(flatten)]
        places: Places,
        #[command(flatten)]
        output: Output,
    },
    /// Drop a database whose file is gone; its endpoints stay closed
    #[command(after_help = "Example: firewall-agent forget 6a316183d0f1f10ecbcca123 --open\n\n\
                            Exit codes: 0 done, 1 failed, 2 bad input")]
    Forget {
        /// Database id
        database: String,
        /// Open what it leaves behind: everyone may connect there
        #[arg(long)]
        open: bool,
    },
    /// Let the next file of a database have any revision; its rules stay in force
    #[command(after_help = "Example: firewall-agent rebase 6a316183d0f1f10ecbcca123\n\n\
                            Exit codes: 0 done, 1 failed, 2 bad input")]
    Rebase {
        /// Database id
        database: String,
    },
}

const AUDIT_HELP: &str = "\
Kinds: loopback, container (bridge, veth, macvlan, …), interface (up, without our link), tunnel, unclaimed_address \
(something listens there, and no endpoint names it), dnat, ephemeral (a protected port among those of the host's own \
connections), source_routing, segment_routing, route_localnet.\n\n\
Looks at this network namespace only, and not at tc and other eBPF programs, IPVS, or rules inside of containers. \
Rules of nftables are shown to CAP_NET_ADMIN, those of iptables-legacy not at all: what could not be looked at is \
named.\n\n\
Exit codes: 0 nothing found, or only what is accepted; 1 failed, or something could not be looked at, whatever else \
was found; 2 bad input; 5 ways found.\n\n\
Examples:\n  firewall-agent audit\n  firewall-agent audit --accept loopback,container -o json";

/// Where the agent of this host keeps its things, when that is not what the configuration says.
#[derive(Debug, clap::Args)]
struct Places {
    /// Directory of the pins, on a bpffs
    #[arg(long, value_name = "DIR")]
    bpffs_dir: Option<PathBuf>,
    /// Directory of the agent's state
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
struct Output {
    /// How to print
    #[arg(short, long, value_enum, value_name = "FORMAT", default_value_t)]
    output: Format,
}

/// Runs the command line of this process.
#[must_use]
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let mut out = io::stdout().lock();
    let result = dispatch(arguments, &mut out).and_then(|exit| {
        out.flush()?;
        Ok(exit)
    });
    match result {
        Ok(exit) => exit.into(),
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "error: {error:#}");
            let exit = if error.is::<BadInput>() { Exit::BadInput } else { Exit::Failed };
            exit.into()
        }
    }
}

fn dispatch(arguments: Arguments, out: &mut impl Write) -> anyhow::Result<Exit> {
    let settings = Settings::read(&arguments.config)?;
    match arguments.command {
        Command::Run { flags } => run::run(settings, *flags),
        Command::Validate { paths, output } => {
            let (limits, keys) = (settings.limits()?, settings.trusted_keys());
            let outcome = validate::validate(&paths, &limits, &keys, output.output, out)?;
            Ok(match outcome {
                validate::Outcome::Accepted => Exit::Done,
                validate::Outcome::Refused => Exit::BadInput,
            })
        }
        Command::Plan { paths, places, output } => {
            plan::plan(&settings, &settings.places(places), &paths, output.output, out)
        }
        Command::Databases { places, output } => {
            databases::databases(&settings.places(places), output.output, out)
        }
        Command::Ranges { range, places, output } => {
            ranges::ranges(&settings.places(places), range.as_deref(), output.output, out)
        }
        Command::Status { places, output } => status::status(&settings.places(places), output.output, out),
        Command::Rules { database, places, output } => {
            rules::rules(&settings.places(places), database.as_deref(), output.output, out)
        }
        Command::Explain { source, target, places, output } => {
            explain::explain(&settings.places(places), &source, &target, output.output, out)
        }
        Command::Audit { accept, places, output } => {
            audit::run(&settings.places(places), &accept, output.output, out)
        }
        Command::Forget { database, open } => verbs::forget(settings, &database, open, out),
        Command::Rebase { database } => verbs::rebase(settings, &database, out),
    }
}

/// The reader of our output has seen enough.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        let kind = match cause.downcast_ref::<io::Error>() {
            Some(error) => Some(error.kind()),
            // It does not name the error of its writer as its source.
            None => cause.downcast_ref().and_then(serde_json::Error::io_error_kind),
        };
        kind == Some(io::ErrorKind::BrokenPipe)
    })
}
