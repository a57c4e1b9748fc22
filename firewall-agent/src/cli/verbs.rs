//! `firewall-agent forget`, `rebase`, `detach`, `attach` and `packet-log`: by the daemon or, except for the last, in
//! its place when none runs.

use std::io::Write;
use std::time::Duration;

use anyhow::{Result, bail};
use jiff::{SignedDuration, Timestamp};
use tracing::info;

use super::known_databases::KnownDatabases;
use super::settings::Settings;
use super::{BadInput, Directories, Exit, log};
use crate::agent::{Ownership, Reconciler, Reply, Verb, restore, send_verb};
use crate::bpf::{Kernel, Pins, detach_all, other_layouts};
use crate::config::ConfigFile;
use crate::rules::DatabaseId;
use crate::status::event;

pub(super) fn forget(settings: Settings, database: &str, open: bool, out: &mut impl Write) -> Result<Exit> {
    let database = known(&settings, database)?;
    carry_out(settings, Verb::Forget { database, open }, out)
}

pub(super) fn rebase(settings: Settings, database: &str, out: &mut impl Write) -> Result<Exit> {
    let database = known(&settings, database)?;
    carry_out(settings, Verb::Rebase { database }, out)
}

pub(super) fn lower_clock(settings: Settings, to: Option<Timestamp>, out: &mut impl Write) -> Result<Exit> {
    carry_out(settings, Verb::LowerClock { to }, out)
}

pub(super) fn acknowledge_ranges(settings: Settings, out: &mut impl Write) -> Result<Exit> {
    carry_out(settings, Verb::AcknowledgeRanges {}, out)
}

pub(super) fn detach(settings: Settings, yes: bool, out: &mut impl Write) -> Result<Exit> {
    if !yes {
        return Err(BadInput(
            "detach opens every database of this host to everyone; confirm with --yes".to_owned(),
        )
        .into());
    }
    carry_out(settings, Verb::Detach {}, out)
}

pub(super) fn attach(settings: Settings, out: &mut impl Write) -> Result<Exit> {
    carry_out(settings, Verb::Attach {}, out)
}

/// Switch of the packet log.
#[derive(Debug, Clone, clap::Subcommand)]
pub(super) enum PacketLog {
    /// Start the packet log
    On {
        /// Duration: 60s, 5m; at most 1h
        #[arg(long = "for", value_name = "TIME", default_value = "60s")]
        time: SignedDuration,
    },
    /// Stop the packet log
    Off,
}

pub(super) fn packet_log(settings: Settings, switch: &PacketLog, out: &mut impl Write) -> Result<Exit> {
    let seconds = match switch {
        PacketLog::On { time } => Some(
            u64::try_from(time.as_secs())
                .map_err(|_| BadInput(format!("--for {time}: must not be negative")))?,
        ),
        PacketLog::Off => None,
    };
    carry_out(settings, Verb::PacketLog { seconds }, out)
}

/// The database that an operator names, in the store or in the kernel. A damaged store is left to the verb.
pub(super) fn known(settings: &Settings, database: &str) -> Result<DatabaseId> {
    let directories = settings.directories(Directories::default());
    // Without a kernel state, only the store knows databases.
    let live = Kernel::open(&directories.bpffs_dir).and_then(|kernel| kernel.live()).unwrap_or_default();
    match KnownDatabases::stored(&directories.state_dir, &live) {
        Ok(known) => Ok(known.find(database)?.clone()),
        Err(_) => database.parse().map_err(|error| BadInput(format!("database {error}")).into()),
    }
}

/// Fails while another map layout decides, as after an upgrade whose start failed: a change to this one would have no
/// effect.
fn ensure_in_force(pins: &Pins) -> Result<()> {
    let others = other_layouts(pins)?;
    if let Some(other) = others.first() {
        bail!(
            "{}: this map layout is in force, which belongs to another version: start the agent first",
            other.display()
        );
    }
    Ok(())
}

/// Has the daemon carry out a command, or does so in its place when none runs.
pub(super) fn carry_out(settings: Settings, verb: Verb, out: &mut impl Write) -> Result<Exit> {
    let config = settings.config(ConfigFile::default())?;
    let reply = match send_verb(&config.control_socket, &config.state_dir, &verb)? {
        Some(reply) => reply,
        None if matches!(verb, Verb::PacketLog { .. }) => {
            bail!("{}: no daemon listens: packet-log needs a running daemon", config.control_socket.display())
        }
        None => {
            let ownership = Ownership::take(&config)?;
            let _history = log::start_history(&config.state_dir)?;
            let pins = Pins::new(&config.bpffs_dir);
            if !matches!(verb, Verb::Attach {} | Verb::Detach {}) {
                ensure_in_force(&pins)?;
            }
            let opened = Reconciler::open(&config, &ownership);
            if matches!(verb, Verb::Detach {})
                && let Err(error) = opened
            {
                // Detaches in any state of the maps: the operator wants the host open.
                let down = detach_all(&pins)?;
                let down = if down.is_empty() { "nothing".to_owned() } else { down.join(", ") };
                return Err(error.context(format!(
                    "detached: {down}; this is not stored: the next start attaches again"
                )));
            }
            let mut reconciler = opened?;
            reconciler.wait_for_disk();
            match verb {
                Verb::Forget { database, open } => reconciler.forget(&database, open),
                Verb::Rebase { database } => reconciler.rebase(&database),
                Verb::LowerClock { to } => reconciler.lower_clock(to),
                Verb::AddOverlay { action, expiry, note } => reconciler.add_overlay(action, expiry, note),
                Verb::DropOverlay { entries } => reconciler.drop_overlay(&entries),
                Verb::AcknowledgeRanges {} => reconciler.acknowledge_ranges(),
                Verb::Detach {} => reconciler.detach(&pins),
                Verb::Attach {} => reconciler.set_detached(false).and_then(|()| {
                    drop((reconciler, ownership));
                    restore(&config, Duration::ZERO)?.ensure_complete()
                }),
                Verb::PacketLog { .. } => bail!("packet-log: needs a running daemon"),
            }
            .inspect(|done| info!(done, event = event::COMMAND, "command done without a daemon"))
            .into()
        }
    };
    match reply {
        Reply::Done(done) => done.lines().try_for_each(|line| writeln!(out, "{line}"))?,
        Reply::Error(error) => bail!(error),
    }
    Ok(Exit::Done)
}
