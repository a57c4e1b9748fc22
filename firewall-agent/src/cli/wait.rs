//! `firewall-agent wait DATABASE --revision N`: returns once a revision is in force.

use std::io::Write;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::Result;
use jiff::SignedDuration;

use super::evidence::{Evidence, FileState, RevisionInForce, in_force};
use super::known_databases::KnownDatabases;
use super::settings::{Located, Settings};
use super::style::time;
use super::{BadInput, Exit};
use crate::agent::join;
use crate::bpf::Kernel;
use crate::files::store::{LastGoodStore, StateFile};
use crate::rules::DatabaseId;
use crate::sync::{Live, Presence};

/// Time between two looks at the kernel.
const PAUSE: Duration = Duration::from_millis(50);

/// The awaited revision.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Awaited {
    /// Id of the database, its name, the beginning of its id, ADDRESS:PORT[/udp] or :PORT. May be an id that this host
    /// does not know yet
    pub database: String,
    /// Lowest revision to wait for
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub revision: u64,
    /// Longest wait: 30s, 2m
    #[arg(long, value_name = "TIME", default_value = "2m")]
    pub timeout: SignedDuration,
}

pub(super) fn wait(
    settings: Settings,
    directories: &Located,
    awaited: &Awaited,
    out: &mut impl Write,
) -> Result<Exit> {
    let Awaited { database, revision, timeout } = awaited;
    let timeout = Duration::try_from(*timeout)
        .map_err(|_| BadInput(format!("--timeout {timeout}: must not be negative")))?;
    let started = Instant::now();
    loop {
        let known = match Kernel::open(&directories.bpffs_dir).and_then(|kernel| kernel.live()) {
            Ok(live) => match look(directories, database, *revision, &live)? {
                Look::Reached(done) => {
                    writeln!(out, "{done}")?;
                    return Ok(Exit::Done);
                }
                Look::Waiting(id) => Ok((id, live)),
            },
            Err(error) => Err(format!("{error:#}")),
        };
        if started.elapsed() >= timeout {
            let why = match known {
                Ok((id, live)) => reason(settings, directories, &id, &live),
                Err(error) => error,
            };
            writeln!(out, "database {database}: revision {revision} not in force after {timeout:?}: {why}")?;
            return Ok(Exit::NotReady);
        }
        sleep(PAUSE.min(timeout.saturating_sub(started.elapsed())));
    }
}

/// State of the wait at one moment.
enum Look {
    /// The revision or a newer one decides about the database's packets: the line to print.
    Reached(String),
    Waiting(DatabaseId),
}

/// Looks at the kernel, and at the store for a database that the kernel does not have.
fn look(directories: &Located, database: &str, revision: u64, live: &Live) -> Result<Look, BadInput> {
    let known = KnownDatabases::live(live);
    if let Ok(id) = known.find(database) {
        let reached = in_force(id, live).filter(|live| live.revision >= revision);
        return Ok(reached.map_or_else(
            || Look::Waiting(id.clone()),
            |RevisionInForce { revision, generation, applied_at }| {
                let since = time(applied_at);
                Look::Reached(format!(
                    "database {id}: revision {revision} in force since {since}, generation {generation}"
                ))
            },
        ));
    }
    let Ok(records) = LastGoodStore::new(StateFile::new(&directories.state_dir)).load() else {
        return Ok(Look::Waiting(known.find_or_parse(database)?));
    };
    let (accepted, persisted, ..) = join(records, live);
    let id = KnownDatabases::joined(&accepted, &persisted, live).find_or_parse(database)?;
    // A revision that removes the database is in force when the kernel does not have it any more.
    let floor = persisted.floor(&id);
    let is_removed = persisted.presence(&id) == Some(Presence::Removed) && floor >= revision;
    if is_removed && live.slot(&id).is_none() {
        return Ok(Look::Reached(format!(
            "database {id}: removed by revision {floor}, its endpoints stay closed"
        )));
    }
    Ok(Look::Waiting(id))
}

/// The reason for which a database is not at the awaited revision.
fn reason(settings: Settings, directories: &Located, id: &DatabaseId, live: &Live) -> String {
    let in_force = in_force(id, live)
        .map_or("not in the kernel".to_owned(), |live| format!("revision {} is in force", live.revision));
    let file = Kernel::open(&directories.bpffs_dir)
        .and_then(|kernel| Evidence::read(settings, directories, &kernel, live))
        .map(|evidence| evidence.file(id, live));
    let file = match file {
        Ok(Some(file)) => match file.state {
            FileState::InForce => "its file is in force".to_owned(),
            FileState::NotInForce => format!("{} is not in force yet", file.path),
            FileState::Rejected => format!("{} is rejected: {}", file.path, file.errors.join("; ")),
            FileState::Gone => format!("{} is gone", file.path),
        },
        Ok(None) => "no file names it".to_owned(),
        Err(error) => format!("{error:#}"),
    };
    format!("{in_force}; {file}")
}
