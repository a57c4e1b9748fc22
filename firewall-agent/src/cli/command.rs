//! Definition of the command line, with its `--help` texts.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::Resettable;
use clap::{Arg, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use clap_complete::Shell;
use jiff::Timestamp;

use super::format::Format;
use super::log::LogFormat;
use super::most_hit::MostHit;
use super::watch::{Part, Watch};
use super::{denied, events, overlay, prepare, settings, verbs, wait};
use crate::audit::Kind;
use crate::config::{ConfigFile, Listen, duration};
use crate::version::{LONG_VERSION, VERSION};

/// The database firewall agent: an XDP program drops every packet to a database endpoint whose source no rule allows
///
/// Exit codes: 0 done, 1 failed, 2 bad input, 3 would be denied (`explain`), 4 not ready (`health`, `wait`),
/// 5 findings that are not accepted (`audit`), 6 filtered, but not everything in force (`restore`).
#[derive(Debug, Clone, Parser)]
#[command(name = "firewall-agent", version = VERSION.as_str(), long_version = LONG_VERSION.as_str())]
pub(super) struct Arguments {
    /// Configuration file
    #[arg(long, global = true, value_name = "FILE", default_value = settings::DEFAULT_PATH)]
    pub config: PathBuf,
    /// Format of lists, reports and errors
    #[arg(short, long, global = true, value_enum, value_name = "FORMAT", default_value_t)]
    pub output: Format,
    /// Print times, not ages such as "5 min ago"; JSON always has times
    #[arg(long, global = true)]
    pub absolute: bool,
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

#[derive(Debug, Clone, Subcommand)]
pub(super) enum Command {
    /// Run the daemon: put the rule files in force and keep them in force
    #[command(
        after_help = "Exit codes: 0 stopped by SIGTERM or SIGINT, everything stays in force; 1 failed; 2 bad input.\n\n\
                            Example: firewall-agent run --interfaces eth0 --guarded-ports 5432,30000-32767"
    )]
    Run {
        #[command(flatten)]
        flags: Box<ConfigFile>,
        /// Format of the log on stderr; RUST_LOG sets its level [default: human]
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
    #[command(after_help = "Exit codes: 0 every file would be accepted, 2 at least one rejected.\n\n\
                            Example: firewall-agent validate /etc/firewall-agent/rules.d")]
    Validate {
        /// Files, or directories of rule files
        #[arg(required = true)]
        paths: Vec<PathBuf>,
    },
    /// Show, by database, what these files would change in the kernel; changes nothing
    #[command(after_help = "Exit codes: 0 done, 1 failed, 2 at least one file would be rejected.\n\n\
                            Examples:\n  firewall-agent plan\n  firewall-agent plan new/orders.yaml -o json")]
    Plan {
        /// Files, or directories of rule files [default: the configured rules_dir and managed_ranges]
        paths: Vec<PathBuf>,
        #[command(flatten)]
        directories: Directories,
    },
    /// Show problems, interfaces and databases
    #[command(after_help = "Exit codes: 0 done, 1 failed (also if no agent has run since the boot).\n\n\
             Examples:\n  firewall-agent status\n  firewall-agent status -v\n  firewall-agent status -o json")]
    Status {
        /// Show every problem, counters and the identity of the programs, too
        #[arg(short, long)]
        verbose: bool,
        #[command(flatten)]
        watch: Watch,
        #[command(flatten)]
        directories: Directories,
    },
    /// List the databases in force, and the closed endpoints
    #[command(after_help = "Exit codes: 0 done, 1 failed (also if no agent has run since the boot).\n\n\
             Example: firewall-agent databases")]
    Databases {
        #[command(flatten)]
        watch: Watch,
        #[command(flatten)]
        directories: Directories,
    },
    /// List the managed ranges in force, with hits
    #[command(after_help = "Exit codes: 0 done, 1 failed, 2 no database uses the range.\n\n\
                            Examples:\n  firewall-agent ranges man-osc-fr1-egress\n  \
                            firewall-agent ranges --history\n  firewall-agent ranges --ack")]
    Ranges {
        /// Show only this range, with its prefixes
        range: Option<String>,
        #[command(flatten)]
        most: MostHit,
        /// Show the last ten changes of each range, with their times
        #[arg(long, conflicts_with_all = ["hits", "top"])]
        history: bool,
        /// Acknowledge unusual changes: the condition `range_change` ends
        #[arg(long = "ack", conflicts_with_all = ["range", "hits", "top", "history", "watch", "output", "bpffs_dir", "state_dir"])]
        acknowledge: bool,
        #[command(flatten)]
        watch: Watch,
        #[command(flatten)]
        directories: Directories,
    },
    /// List the rules in force, with hits
    #[command(after_help = "Exit codes: 0 done, 1 failed, 2 no such database.\n\n\
                            Examples:\n  firewall-agent rules 6a316183d0f1f10ecbcca123\n  \
                            firewall-agent rules --hits --top 10")]
    Rules {
        /// Show only this database, with the prefixes of each rule
        database: Option<String>,
        #[command(flatten)]
        most: MostHit,
        #[command(flatten)]
        watch: Watch,
        #[command(flatten)]
        directories: Directories,
    },
    /// Ask the kernel for the verdict on a packet, and say why: rule, newer file, earlier refusals
    #[command(after_help = "Exit codes: 0 would pass, 1 failed, 2 bad input, 3 would be denied.\n\n\
                            Examples:\n  firewall-agent explain 203.0.113.7\n  \
                            firewall-agent explain 203.0.113.7 6a316183d0f1f10ecbcca123\n  \
                            firewall-agent explain 203.0.113.7 192.0.2.10:30092\n  \
                            firewall-agent explain 2001:db8::7 [2001:db8::10]:30092/udp")]
    Explain {
        /// Source address
        source: String,
        /// A database, or ADDRESS:PORT[/udp]; without it, list the endpoints that would admit the source
        target: Option<String>,
        /// Ask the socket filter about a new connection, with the destination after translation
        #[arg(long)]
        socket: bool,
        #[command(flatten)]
        directories: Directories,
    },
    /// Restore the last good state, attach and exit: for a unit ordered before the network
    #[command(
        after_help = "If an agent is running, only check that it filters every configured interface that is \
             present.\n\n\
             Exit codes: 0 every interface is filtered and everything is in force, or an operator has \
             detached the host; 1 not filtered; 2 bad input; 6 filtered, but not everything is in force.\n\n\
             Example: firewall-agent restore --wait 20s"
    )]
    Restore {
        /// Time to wait for configured interfaces that are absent
        #[arg(long, value_name = "SPAN", value_parser = duration, default_value = "10s")]
        wait: Duration,
    },
    /// Create the agent's directories and give them to its user, as root after every boot
    #[command(
        after_help = "Needs CAP_CHOWN and CAP_FOWNER only: an init container runs it. It checks that bpffs_dir is on \
             the host's bpffs.\n\n\
             Exit codes: 0 done, 1 failed, 2 bad input.\n\n\
             Example: firewall-agent prepare --owner 65532:65532"
    )]
    Prepare {
        /// Numeric user and group that the agent runs as
        #[arg(long, value_name = "UID:GID")]
        owner: prepare::Owner,
        #[command(flatten)]
        directories: Directories,
    },
    /// Stop filtering until `attach`, also after restarts and reboots: every database becomes reachable
    #[command(after_help = "Exit codes: 0 done, 1 failed, 2 without --yes.\n\n\
                            Example: firewall-agent detach --yes")]
    Detach {
        /// Confirm that every database becomes reachable
        #[arg(long)]
        yes: bool,
    },
    /// Filter again after `detach`
    #[command(after_help = "Exit codes: 0 every configured interface is filtered, 1 failed.\n\n\
                            Example: firewall-agent attach")]
    Attach,
    /// Check that the daemon is alive, or ready with `--ready`: for exec probes
    #[command(
        after_help = "Alive: the daemon's event loop runs. Ready: everything configured is in force and \
             probed. Do not use readiness in a liveness probe: a restart repairs no rule file.\n\n\
             Exit codes: 0 alive, or ready; 1 failed (also if no daemon answers or its event loop is \
             blocked); 2 bad input; 4 alive and not ready.\n\n\
             Example: firewall-agent health --ready"
    )]
    Health {
        /// Ask for readiness instead of liveness, and print the reasons
        #[arg(long)]
        ready: bool,
        /// Address of the daemon's HTTP server [default: the first unix socket of the configured `listen`]
        #[arg(long, value_name = "unix:PATH|ADDR:PORT")]
        listen: Option<Listen>,
    },
    /// Find ways to a protected port that bypass the attached programs
    #[command(after_help = AUDIT_HELP)]
    Audit {
        /// Accept these kinds: list them without effect on the exit code
        #[arg(long, value_name = "KIND", value_delimiter = ',')]
        accept: Vec<Kind>,
        #[command(flatten)]
        directories: Directories,
    },
    /// Show denied sources with packet counts, and the rule that would admit each
    #[command(
        after_help = "Exit codes: 0 done, 1 failed (also if no agent has run since the boot, without --since), 2 no such \
             database.\n\n\
             Examples:\n  firewall-agent denied\n  firewall-agent denied orders --by 24\n  \
             firewall-agent denied --since 12h\n  firewall-agent denied --follow -o json"
    )]
    Denied {
        #[command(flatten)]
        question: denied::Question,
        #[command(flatten)]
        watch: Watch,
        #[command(flatten)]
        directories: Directories,
    },
    /// Watch databases, verdict rates and the most denied sources; q quits
    #[command(
        after_help = "Exit codes: 0 done, 1 failed (also if no agent has run since the boot), 2 no terminal.\n\n\
             Example: firewall-agent top"
    )]
    Top {
        #[command(flatten)]
        directories: Directories,
    },
    /// Show the history of this host: files accepted and rejected, revisions in force, links, drift, commands
    #[command(after_help = "Exit codes: 0 done, 1 failed, 2 bad input.\n\n\
                            Examples:\n  firewall-agent events\n  \
                            firewall-agent events 6a316183d0f1f10ecbcca123 --since 12h\n  \
                            firewall-agent events --kind rejected --kind drift -o json")]
    Events {
        #[command(flatten)]
        selection: events::Selection,
        #[command(flatten)]
        watch: Watch,
        #[command(flatten)]
        directories: Directories,
    },
    /// Wait until a revision of a database, or a newer one, is in force
    #[command(after_help = "Exit codes: 0 in force, 1 failed, 2 bad input, 4 not in force in time.\n\n\
                            Example: firewall-agent wait 6a316183d0f1f10ecbcca123 --revision 42 --timeout 30s")]
    Wait {
        #[command(flatten)]
        awaited: wait::Awaited,
        #[command(flatten)]
        directories: Directories,
    },
    /// Print one JSON document for support: status, rules, history, configuration, kernel objects, versions
    #[command(
        after_help = "Sources, labels, names and values in errors are replaced, unless --unredacted.\n\n\
                            Exit codes: 0 done, also when a part could not be read; 1 failed, 2 bad input.\n\n\
                            Example: firewall-agent support-bundle >bundle.json"
    )]
    SupportBundle {
        /// Leave sources, labels, names and values in errors as they are
        #[arg(long)]
        unredacted: bool,
    },
    /// List the blocked ranges in force, with hits
    #[command(after_help = "Exit codes: 0 done, 1 failed, 2 no such range.\n\n\
                            Examples:\n  firewall-agent blocked\n  firewall-agent blocked abuse-2026-11")]
    Blocked {
        /// Show only this range, with every prefix
        range: Option<String>,
        #[command(flatten)]
        directories: Directories,
    },
    /// Refuse a source for a while, before any rule: at one database, or everywhere
    #[command(
        after_help = "Also drops its open sessions at their next packet. Exit codes: 0 done, 1 failed, 2 bad input.\n\n\
                            Examples:\n  firewall-agent block 203.0.113.0/24 --for 1h --note 'scan'\n  \
                            firewall-agent block 203.0.113.7 orders --until 2026-08-21T15:27:32Z"
    )]
    Block {
        /// Address or network
        source: String,
        /// Only at this database: its id, name, beginning of its id, ADDRESS:PORT[/udp] or :PORT
        database: Option<String>,
        #[command(flatten)]
        duration: overlay::Duration,
    },
    /// Close every endpoint of a database for a while
    #[command(after_help = "Exit codes: 0 done, 1 failed, 2 bad input.\n\n\
                            Example: firewall-agent close 6a316183d0f1f10ecbcca123 --for 1h")]
    Close {
        /// Id of the database, its name, the beginning of its id, ADDRESS:PORT[/udp] or :PORT
        database: String,
        #[command(flatten)]
        duration: overlay::Duration,
    },
    /// Allow a source at a database for a while; blocks and closings come first
    #[command(after_help = "Exit codes: 0 done, 1 failed, 2 bad input.\n\n\
                            Example: firewall-agent allow 198.51.100.9 6a316183d0f1f10ecbcca123 --for 2h")]
    Allow {
        /// Address or network
        source: String,
        /// Id of the database, its name, the beginning of its id, ADDRESS:PORT[/udp] or :PORT
        database: String,
        #[command(flatten)]
        duration: overlay::Duration,
    },
    /// List what `block`, `close` and `allow` put over the files, or end it with `overlay drop`
    #[command(after_help = "Exit codes: 0 done, 1 failed, 2 bad input.\n\n\
                            Examples:\n  firewall-agent overlay\n  firewall-agent overlay drop block:3f9a")]
    #[command(args_conflicts_with_subcommands = true)]
    Overlay {
        #[command(subcommand)]
        edit: Option<overlay::Edit>,
        #[command(flatten)]
        directories: Directories,
    },
    /// Drop a database whose rule file is gone; its endpoints stay closed
    #[command(after_help = "Example: firewall-agent forget 6a316183d0f1f10ecbcca123 --open\n\n\
                            Exit codes: 0 done, 1 failed, 2 bad input")]
    Forget {
        /// Id of the database, its name, the beginning of its id, ADDRESS:PORT[/udp] or :PORT
        database: String,
        /// Open its former endpoints: everyone may connect there
        #[arg(long)]
        open: bool,
    },
    /// Accept any revision in the next file of a database; its rules stay in force
    #[command(after_help = "Example: firewall-agent rebase 6a316183d0f1f10ecbcca123\n\n\
                            Exit codes: 0 done, 1 failed, 2 bad input")]
    Rebase {
        /// Id of the database, its name, the beginning of its id, ADDRESS:PORT[/udp] or :PORT
        database: String,
    },
    /// Show the clock mark used for expiry, or lower it with `--lower`
    #[command(
        after_help = "The mark is the latest accepted time. The agent stores it, so that no expired rule \
             applies again. A mark that a wrong clock moved ahead keeps rules expired until that time. The \
             lower limit of the mark is the wall clock if it is synchronised, and the time of the newest \
             accepted file otherwise.\n\n\
             Exit codes: 0 done, 1 failed (also if there is nothing to lower), 2 bad input.\n\n\
             Examples:\n  firewall-agent clock\n  firewall-agent clock --lower\n  \
             firewall-agent clock --lower --to 2026-08-21T15:27:32Z"
    )]
    Clock {
        /// Set the mark back to the synchronised clock: rules that expire after it apply again
        #[arg(long, conflicts_with_all = ["output", "bpffs_dir", "state_dir"])]
        lower: bool,
        /// Set the mark back to this time instead
        #[arg(long, value_name = "TIME", requires = "lower")]
        to: Option<Timestamp>,
        #[command(flatten)]
        directories: Directories,
    },
    /// Log single packets for a limited time with a debug build of the program; filtering continues
    #[command(
        after_help = "Messages are sampled: at most 50 per second, with the number of omitted ones.\n\n\
             Examples:\n  firewall-agent packet-log on --for 60s\n  firewall-agent packet-log off\n\n\
             Exit codes: 0 done, 1 failed (also if no daemon runs), 2 bad input"
    )]
    PacketLog {
        #[command(subcommand)]
        switch: verbs::PacketLog,
    },
    /// Write a shell's completion script to standard output
    #[command(
        after_help = "Example: firewall-agent completions bash >/etc/bash_completion.d/firewall-agent\n\n\
                            Exit codes: 0 done, 1 failed, 2 bad input"
    )]
    Completions {
        shell: Shell,
        /// The typed words: write the candidates for the last one
        #[arg(last = true, hide = true)]
        words: Option<Vec<OsString>>,
    },
    /// Write the manual pages into a directory
    #[command(after_help = "Example: firewall-agent man /usr/local/share/man/man1\n\n\
                            Exit codes: 0 done, 1 failed, 2 bad input")]
    Man {
        /// Directory of the pages, created if absent
        dir: PathBuf,
    },
}

impl Command {
    /// Time between two screens, and the part of them that a terminal shows; `None` for a single screen.
    pub fn watch(&self) -> Option<(Duration, Part)> {
        let (watch, part) = if let Self::Status { watch, .. }
        | Self::Databases { watch, .. }
        | Self::Ranges { watch, .. }
        | Self::Rules { watch, .. }
        | Self::Denied { watch, .. } = self
        {
            (watch, Part::Beginning)
        } else if let Self::Events { watch, .. } = self {
            (watch, Part::End)
        } else {
            return None;
        };
        watch.period.map(|period| (period, part))
    }
}

const AUDIT_HELP: &str = "\
Kinds of bypasses: loopback, container (bridge, veth, macvlan, …), interface (up, without the agent's link), tunnel, \
generic_mode, unclaimed_address (a listener that no endpoint covers), local_route, broadcast, dnat, rewrite, redirect, \
ipsec, mpls, source_routing, segment_routing, route_localnet.\n\
Kinds of allowed packets that are dropped: ephemeral (a protected port in the host's ephemeral port range), masquerade, \
resolver.\n\n\
Checks this network namespace only. Does not check eBPF programs other than those of tc filters, IPVS, or traffic \
between containers. Reading rules of nftables and policies of IPsec requires CAP_NET_ADMIN, those of iptables-legacy \
root. The report lists unchecked objects.\n\n\
Exit codes: 0 nothing found, or only accepted kinds; 1 failed, or an object was not checked, whatever else was found; \
2 bad input; 5 findings that are not accepted.\n\n\
Examples:\n  firewall-agent audit\n  firewall-agent audit --accept loopback,container -o json";

/// Directories of the agent that differ from the configuration.
#[derive(Debug, Clone, Default, clap::Args)]
pub(super) struct Directories {
    /// Directory of the pins, on a bpffs
    #[arg(long, value_name = "DIR")]
    pub bpffs_dir: Option<PathBuf>,
    /// Directory of the agent's state
    #[arg(long, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
}
