//! `firewall-agent forget`, `rebase`, `detach` and `attach`: through the daemon, or, when none runs, in its place.

use std::io::Write;
use std::time::Duration;

use anyhow::{Result, bail};

use super::settings::Settings;
use super::{BadInput, Exit};
use crate::agent::{Agent, Host, Ownership, Reply, Verb, ask};
use crate::config::ConfigFile;
use crate::rules::DatabaseId;

pub(super) fn forget(settings: Settings, database: &str, open: bool, out: &mut impl Write) -> Result<Exit> {
    carry_out(settings, Verb::Forget { database: id(database)?, open }, out)
}

pub(super) fn rebase(settings: Settings, database: &str, out: &mut impl Write) -> Result<Exit> {
    carry_out(settings, Verb::Rebase { database: id(database)? }, out)
}

pub(super) fn detach(settings: Settings, yes: bool, out: &mut impl Write) -> Result<Exit> {
    if !yes {
        return Err(BadInput(
            "detach opens every database of this host to everyone; say --yes if that is meant".to_owned(),
        )
        .into());
    }
    carry_out(settings, Verb::Detach, out)
}

pub(super) fn attach(settings: Settings, out: &mut impl Write) -> Result<Exit> {
    carry_out(settings, Verb::Attach, out)
}

fn id(database: &str) -> Result<DatabaseId> {
    database.parse().map_err(|error| BadInput(format!("database {error}")).into())
}

fn carry_out(settings: Settings, verb: Verb, out: &mut impl Write) -> Result<Exit> {
    let config = settings.config(ConfigFile::default())?;
    let reply = match ask(&config.control_socket, &verb)? {
        Some(reply) => reply,
        None => {
            let ownership = Ownership::take(&config)?;
            let mut host = Host::open(&config)?;
            match verb {
                Verb::Forget { database, open } => host.forget(&database, open),
                Verb::Rebase { database } => host.rebase(&database),
                Verb::Detach => host.detach(),
                Verb::Attach => host.set_detached(false).and_then(|()| {
                    drop((host, ownership));
                    Agent::start(config)?.restore(Duration::ZERO)
                }),
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
