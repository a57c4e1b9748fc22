//! `firewall-agent forget`, `rebase` and `packet-log`: through the daemon, or, but for the last, when none runs, in its
//! place.

use std::io::Write;

use anyhow::{Result, bail};
use jiff::SignedDuration;

use super::settings::Settings;
use super::{BadInput, Exit};
use crate::agent::{Host, Ownership, Reply, Verb, ask};
use crate::config::ConfigFile;
use crate::rules::DatabaseId;

pub(super) fn forget(settings: Settings, database: &str, open: bool, out: &mut impl Write) -> Result<Exit> {
    carry_out(settings, Verb::Forget { database: id(database)?, open }, out)
}

pub(super) fn rebase(settings: Settings, database: &str, out: &mut impl Write) -> Result<Exit> {
    carry_out(settings, Verb::Rebase { database: id(database)? }, out)
}

/// What to do about messages about single packets.
#[derive(Debug, Clone, clap::Subcommand)]
pub(super) enum PacketLog {
    /// Begin, for a while
    On {
        /// How long: 60s, 5m; at most 1h
        #[arg(long = "for", value_name = "TIME", default_value = "60s")]
        time: SignedDuration,
    },
    /// End
    Off,
}

pub(super) fn packet_log(settings: Settings, turn: &PacketLog, out: &mut impl Write) -> Result<Exit> {
    let seconds = match turn {
        PacketLog::On { time } => Some(
            u64::try_from(time.as_secs()).map_err(|_| BadInput(format!("--for {time}: lies in the past")))?,
        ),
        PacketLog::Off => None,
    };
    carry_out(settings, Verb::PacketLog { seconds }, out)
}

fn id(database: &str) -> Result<DatabaseId> {
    database.parse().map_err(|error| BadInput(format!("database {error}")).into())
}

fn carry_out(settings: Settings, verb: Verb, out: &mut impl Write) -> Result<Exit> {
    let config = settings.config(ConfigFile::default())?;
    let reply = match ask(&config.control_socket, &verb)? {
        Some(reply) => reply,
        None if matches!(verb, Verb::PacketLog { .. }) => {
            bail!("{}: no daemon listens: there is nobody to read messages", config.control_socket.display())
        }
        None => {
            let _ownership = Ownership::take(&config)?;
            let mut host = Host::open(&config)?;
            match verb {
                Verb::Forget { database, open } => host.forget(&database, open),
                Verb::Rebase { database } => host.rebase(&database),
                Verb::PacketLog { .. } => bail!("packet-log: takes a running daemon"),
            }
            .into()
        }
    };
    match reply {
        Reply::Done(done) => writeln!(out, "{done}")?,
        Reply::Error(error) => bail!(error),
    }
    Ok(Exit::Done)
}
