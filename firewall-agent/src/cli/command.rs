//! Definition of the command line, with its `--help` texts.

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::Resettable;
use clap::{Arg, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use clap_complete::Shell;
use jiff::Timestamp;

use super::format::Format;
use super::log::LogFormat;
use super::{denied, settings, verbs};
use crate::audit::Kind;
use crate::config::{ConfigFile, Listen, duration};
use crate::version::{LONG_VERSION, VERSION};

/// The database firewall agent: an XDP program drops every packet to a database endpoint whose source no rule allows
///
/// Exit codes: 0 done, 1 failed, 2 bad input, 3 would be denied (`explain`), 4 not ready (`health`),
/// 5 ways found (`audit`), 6 filtered but not all in force (`restore`).
#[derive(Debug, Parser)]
#[command(name = "firewall-agent", version = VERSION.as_str(), long_version = LONG_VERSION.as_str())]
pub(super) struct Arguments {
    /// Configuration file
    #[arg(long, global = true, value_name = "FILE", default_value = settings::DEFAULT_PATH)]
    pub config: PathBuf,
    #[command(subcommand)]
    pub command: Command,
}

/// Parses the command line of this process, or ends the process with an error.
pub(super) fn parse() -> Arguments {
    let mut command =
        Arguments::command().mut_subcommands(|command| command.mut_args(without_empty_variable));
    let arguments = Arguments::from_arg_matches(&command.get_matches_mut());
    arguments.unwrap_or_else(|error| error.format(&mut command).exit())
}

/// Treats an empty environment variable as unset.
fn without_empty_variable(argument: Arg) -> Arg {
    let is_empty = |name| std::env::var_os(name).is_some_and(|value| value.is_empty());
    if argument.get_env().is_some_and(is_empty) { argument.env(Resettable::Reset) } else { argument }
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Run the daemon: keep the kernel equal to the rule files
    #[command(
        after_help = "Exit codes: 0 stopped by SIGTERM or SIGINT, everything stays in force; 1 failed; 2 bad input.\n\n\
                            Example: firewall-agent run --interfaces eth0 --guarded-ports 5432,30000-32767"
    )]
    Run {
        #[command(flatten)]
        flags: Box<ConfigFile>,
        /// How the log on stderr is written; its level is that of RUST_LOG [default: human]
        #[arg(
            long,
            value_enum,
            value_name = "FORMAT",
            env = "FIREWALL_AGENT_LOG_FORMAT",
            hide_possible_values = true
        )]
        log_format: Option<LogFormat>,
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
    /// Put the last good state in force and attach, then exit: for a unit ordered before the network
    #[command(
        after_help = "Where an agent runs already, checks that it filters every configured interface that is present.\n\n\
                            Exit codes: 0 every interface is filtered and everything is in force, or an operator has \
                            detached the host; 1 not filtered; 2 bad input; 6 filtered, but not everything is in force.\n\n\
                            Example: firewall-agent restore --wait 20s"
    )]
    Restore {
        /// How long to wait for configured interfaces that are not there yet
        #[arg(long, value_name = "SPAN", value_parser = duration, default_value = "10s")]
        wait: Duration,
    },
    /// Take everything down, and stay down, daemon or not, until `attach`: opens every database to everyone
    #[command(after_help = "Exit codes: 0 done, 1 failed, 2 without --yes.\n\n\
                            Example: firewall-agent detach --yes")]
    Detach {
        /// Yes, everything is to be open
        #[arg(long)]
        yes: bool,
    },
    /// Put everything up again after `detach`
    #[command(after_help = "Exit codes: 0 every configured interface is filtered, 1 failed.\n\n\
                            Example: firewall-agent attach")]
    Attach,
    /// Whether the daemon is alive, or ready with `--ready`: for exec probes
    #[command(
        after_help = "Alive: the daemon's loop runs. Ready: everything configured is in force and probed. A probe of \
                            liveness must not ask for readiness: a restart cures no rule file.\n\n\
                            Exit codes: 0 alive, or ready; 1 failed, as when no daemon answers or its loop stands still; \
                            2 bad input; 4 alive and not ready.\n\n\
                            Example: firewall-agent health --ready"
    )]
    Health {
        /// Ask for readiness instead of liveness; says what is missing
        #[arg(long)]
        ready: bool,
        /// Where the daemon serves HTTP [default: the first unix socket of the configured `listen`]
        #[arg(long, value_name = "unix:PATH|ADDR:PORT")]
        listen: Option<Listen>,
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
    /// Who was refused, how often, and the rule that would admit them
    #[command(
        after_help = "Exit codes: 0 done, 1 failed, as when no agent ever ran here, 2 no such database.\n\n\
                            Examples:\n  firewall-agent denied\n  firewall-agent denied orders --by 24\n  \
                            firewall-agent denied --follow -o json"
    )]
    Denied {
        #[command(flatten)]
        question: denied::Question,
        #[command(flatten)]
        places: Places,
        #[command(flatten)]
        output: Output,
    },
    /// Databases, rates of verdicts and the most refused sources, live; q quits
    #[command(
        after_help = "Exit codes: 0 done, 1 failed, as when no agent ever ran here, 2 no terminal.\n\n\
                            Example: firewall-agent top"
    )]
    Top {
        #[command(flatten)]
        places: Places,
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
    /// Show the time that expiry goes by, and lower its mark with `--lower`
    #[command(
        after_help = "The mark is the latest time that was believed; it is stored, so that no expired rule comes back. A \
                            mark that a wrong clock moved ahead keeps rules expired until the time reaches it. Lowered \
                            under a synchronised clock, it goes no further back than that; else no further than the \
                            newest accepted file.\n\n\
                            Exit codes: 0 done, 1 failed, as when nothing is to be lowered; 2 bad input.\n\n\
                            Examples:\n  firewall-agent clock\n  firewall-agent clock --lower\n  \
                            firewall-agent clock --lower --to 2026-08-21T15:27:32Z"
    )]
    Clock {
        /// Set the mark back to the synchronised clock: rules that end after it count again
        #[arg(long, conflicts_with_all = ["output", "bpffs_dir", "state_dir"])]
        lower: bool,
        /// Set it back to this time instead
        #[arg(long, value_name = "TIME", requires = "lower")]
        to: Option<Timestamp>,
        #[command(flatten)]
        places: Places,
        #[command(flatten)]
        output: Output,
    },
    /// Let the daemon log single packets for a while: another build of the program, swapped in without a gap
    #[command(
        after_help = "Messages are sampled: at most 50 a second, with the number of those left out.\n\n\
                            Examples:\n  firewall-agent packet-log on --for 60s\n  firewall-agent packet-log off\n\n\
                            Exit codes: 0 done, 1 failed, as when no daemon runs, 2 bad input"
    )]
    PacketLog {
        #[command(subcommand)]
        turn: verbs::PacketLog,
    },
    /// Write a shell's completion script to standard output
    #[command(
        after_help = "Example: firewall-agent completions bash >/etc/bash_completion.d/firewall-agent\n\n\
                            Exit codes: 0 done, 1 failed, 2 bad input"
    )]
    Completions { shell: Shell },
    /// Write the manual pages into a directory
    #[command(after_help = "Example: firewall-agent man /usr/local/share/man/man1\n\n\
                            Exit codes: 0 done, 1 failed, 2 bad input")]
    Man {
        /// Made when it is not there
        dir: PathBuf,
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
pub(super) struct Places {
    /// Directory of the pins, on a bpffs
    #[arg(long, value_name = "DIR")]
    pub bpffs_dir: Option<PathBuf>,
    /// Directory of the agent's state
    #[arg(long, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub(super) struct Output {
    /// How to print
    #[arg(short, long, value_enum, value_name = "FORMAT", default_value_t)]
    pub output: Format,
}
