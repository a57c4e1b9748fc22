//! `firewall-agent forget` and `rebase`: through the daemon, or, when none runs, in its place.

use std::io::Write;

use anyhow::{Result, bail};

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

fn id(database: &str) -> Result<DatabaseId> {
    database.parse().map_err(|error| BadInput(format!("database {error}")).into())
}

fn carry_out(settings: Settings, verb: Verb, out: &mut impl Write) -> Result<Exit> {
    let config = settings.config(ConfigFile::default())?;
    let reply = match ask(&config.control_socket, &verb)? {
        Some(reply) => reply,
        None => {
            let _ownership = Ownership::take(&config)?;
            let mut host = Host::open(&config)?;
            match verb {
                Verb::Forget { database, open } => host.forget(&database, open),
                Verb::Rebase { database } => host.rebase(&database),
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
