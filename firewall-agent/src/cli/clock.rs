//! `firewall-agent clock`: the time used for expiry, from the wall clock and the stored mark. Needs no daemon and
//! changes nothing.

use std::io::Write;

use anyhow::{Result, ensure};
use jiff::Timestamp;
use serde::Serialize;

use super::Exit;
use super::format::Format;
use super::settings::Located;
use crate::agent::{clock_at, join};
use crate::escape::write_json;
use crate::files::store::{LastGoodStore, StateFile};
use crate::host::clock::{Moment, synchronised};
use crate::sync::Live;

/// Complete output. Field names are an interface.
#[derive(Debug, Serialize)]
struct Report {
    wall_clock: Timestamp,
    /// `None` if the query is not permitted.
    synchronised: Option<bool>,
    /// Mark as last stored, at most a minute ago while the agent runs.
    mark: Option<Timestamp>,
    /// Time used for expiry.
    time: Timestamp,
    /// The wall clock, while the agent does not trust it.
    untrusted_wall_clock: Option<Timestamp>,
    /// Seconds by which the mark is ahead of the wall clock, if that is a condition.
    ahead_seconds: Option<i64>,
}

pub(super) fn clock(directories: &Located, format: Format, out: &mut impl Write) -> Result<Exit> {
    let records = LastGoodStore::new(StateFile::new(&directories.state_dir)).load()?;
    ensure!(!records.is_empty(), "{}: no stored state of an agent", directories.state_dir.display());
    let (accepted, persisted, _, problems) = join(records, &Live::default());
    let moment = Moment::now()?;
    let clock = clock_at(&accepted, &persisted, moment);
    let report = Report {
        wall_clock: moment.wall,
        synchronised: synchronised().ok().map(|_| moment.synchronised),
        mark: persisted.clock_mark(),
        time: clock.now(),
        untrusted_wall_clock: clock.untrusted_wall(),
        ahead_seconds: clock.ahead().map(|ahead| ahead.as_secs()),
    };
    match format {
        Format::Json => write_json(&report, out)?,
        Format::Table | Format::Wide => {
            write_people(&report, out)?;
            problems.values().try_for_each(|problem| writeln!(out, "! {problem}"))?;
        }
    }
    Ok(Exit::Done)
}

fn write_people(report: &Report, out: &mut impl Write) -> Result<()> {
    let synchronised = match report.synchronised {
        Some(true) => "synchronised",
        Some(false) => "not synchronised",
        None => "synchronisation unknown, the kernel refuses the query",
    };
    writeln!(out, "wall clock: {:.0}, {synchronised}", report.wall_clock)?;
    match report.mark {
        Some(mark) => writeln!(out, "mark: {mark:.0}")?,
        None => writeln!(
            out,
            "mark: none; stored once the clock is synchronised or a file of this hour is accepted"
        )?,
    }
    writeln!(out, "time for expiry: {:.0}", report.time)?;
    if report.untrusted_wall_clock.is_some() {
        writeln!(
            out,
            "! untrusted: the wall clock is more than an hour ahead and not synchronised; expiry continues from \
             the mark"
        )?;
    }
    if let Some(seconds) = report.ahead_seconds {
        let verb =
            if report.synchronised == Some(true) { "clock --lower" } else { "clock --lower --to TIME" };
        writeln!(
            out,
            "! ahead: the mark is {seconds} s ahead of the wall clock; if it is wrong, `{verb}` sets it back"
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::snapshots::{ago, check, now};

    #[test]
    fn screens_of_clock() {
        let report = Report {
            wall_clock: now(),
            synchronised: Some(false),
            mark: Some(ago(-7_200)),
            time: ago(-7_200),
            untrusted_wall_clock: Some(now()),
            ahead_seconds: Some(7_200),
        };
        check("clock", |_, out| write_people(&report, out));
    }
}
