//! What must be so of one host, in every state that its kernel is in and after every look.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, ensure};
use ipnet::IpNet;
use jiff::Timestamp;

use super::channel::Channel;
use super::machine::{Disk, Twin};
use super::provider::Provider;
use crate::agent::keeper::Keeper;
use crate::rules::DatabaseId;
use crate::sync::{Claim, Database, Live, Slot};

/// What is known of one database on one host.
#[derive(Debug, Clone, Copy, Default)]
struct Known {
    /// Never less than this again.
    least: u64,
    /// Up to this may have been taken by a look that was cut off.
    most: u64,
    /// `least` that a reboot may not undo.
    stored: u64,
    /// The last revision that was wholly in force.
    in_force: u64,
    /// Rules that expired until then were seen gone.
    reached: Timestamp,
}

/// What is known of one host.
#[derive(Debug, Clone, Default)]
pub struct Oracle {
    databases: BTreeMap<DatabaseId, Known>,
    /// The revision of the managed ranges: as [`Known`].
    ranges: Known,
    seen: BTreeMap<Slot, Database>,
}

impl Oracle {
    /// No state of the kernel holds anything but revisions that were issued, and none older than what was there.
    pub fn state(&mut self, live: &Live, provider: &Provider) -> Result<()> {
        for (slot, database) in &live.databases {
            // What leaves is emptied once nothing points at it.
            let is_leaving = database.sources.is_empty() && open(live, *slot).next().is_none();
            if self.seen.get(slot) != Some(database) && !is_leaving {
                self.database(database, provider)
                    .with_context(|| format!("database {} as {:?}", database.id, database.stamp))?;
            }
        }
        self.seen.clone_from(&live.databases);
        Ok(())
    }

    fn database(&mut self, database: &Database, provider: &Provider) -> Result<()> {
        ensure!(provider.databases.contains_key(&database.id), "was never issued");
        let known = self.databases.entry(database.id.clone()).or_default();
        let revisions = match &database.stamp {
            Some(stamp) => stamp.revision..=stamp.revision,
            None => known.in_force..=database.floor,
        };
        ensure!(
            *revisions.start() >= known.in_force,
            "revision {} after {}",
            revisions.start(),
            known.in_force
        );
        let meanings = meanings(provider, &database.id, revisions, known.reached);
        let nets = nets(database);
        let of_family = |v4| nets.iter().filter(|net| net.addr().is_ipv4() == v4).copied().collect();
        let is_family = |v4: bool| {
            let held: BTreeSet<IpNet> = of_family(v4);
            let meant = |all: &BTreeSet<IpNet>| all.iter().filter(|net| net.addr().is_ipv4() == v4).eq(&held);
            held.is_empty() && database.stamp.is_none() || meanings.iter().any(meant)
        };
        let whole = database.stamp.is_none() || meanings.contains(&nets);
        ensure!(whole && is_family(true) && is_family(false), "{nets:?} is none of {meanings:?}");
        if let Some(stamp) = &database.stamp {
            known.in_force = stamp.revision;
        }
        Ok(())
    }

    /// After a look that published without an error exactly the newest revisions are in force.
    pub fn look(
        &mut self,
        keeper: &Keeper<Twin, Disk>,
        channel: &Channel,
        provider: &Provider,
    ) -> Result<()> {
        let (host, now) = (&keeper.host, keeper.clock.now());
        let ranges = host.taken.ranges.revision;
        let least = self.ranges.least.max(channel.whole_ranges.unwrap_or(0));
        ensure!(
            (least..=least.max(self.ranges.most)).contains(&ranges),
            "managed ranges of revision {ranges} instead of {least}"
        );
        ensure!(now >= self.ranges.reached, "the time is {now} after {}", self.ranges.reached);
        (self.ranges.least, self.ranges.most) = (ranges, ranges);
        for id in provider.ids() {
            let visible = channel.visible(&id).unwrap_or(0);
            let known = self.databases.entry(id.clone()).or_default();
            let Some(taken) = host.taken.admitted.get(&id) else {
                let floor = host.live.slot(&id).map_or(0, |slot| host.live.databases[&slot].floor);
                ensure!(visible == 0 || visible < floor, "{id} {visible} is there, and was not taken");
                ensure!(floor >= known.least, "{id} is gone after revision {}", known.least);
                continue;
            };
            let (revision, least) = (taken.rules.revision, known.least.max(visible));
            ensure!(
                (least..=least.max(known.most)).contains(&revision),
                "{id} {revision} was taken instead of {least}"
            );
            let issue =
                provider.issue(&id, revision).with_context(|| format!("{id} {revision}: not issued"))?;
            stands(&host.live, &id, revision, issue.removed, &issue.target)?;
            if let Some(slot) = host.live.slot(&id) {
                let held = nets(&host.live.databases[&slot]);
                // Without a list that was read or stored, what the kernel remembers of one goes on.
                let lists = if ranges == 0 { 0..=provider.ranges.len() as u64 } else { ranges..=ranges };
                let meant: Vec<_> = lists.map(|ranges| provider.meaning(issue, ranges, now)).collect();
                ensure!(meant.contains(&held), "{id} {revision} at {now} is {held:?}, none of {meant:?}");
            }
            (known.least, known.most, known.in_force) = (revision, revision, revision);
            if !host.unstored.contains_key(&id) {
                known.stored = revision;
            }
            let gone = provider.expiries(issue).filter(|at| *at <= now).max();
            known.reached = known.reached.max(gone.unwrap_or_default());
            self.ranges.reached = self.ranges.reached.max(known.reached);
        }
        if !host.is_unstored() {
            self.ranges.stored = ranges;
        }
        Ok(())
    }

    /// A look may have taken what it saw, and was not seen to the end.
    pub fn cut_off(&mut self, channel: &Channel, provider: &Provider) {
        self.ranges.most = self.ranges.most.max(channel.whole_ranges.unwrap_or(0));
        for id in provider.ids() {
            let known = self.databases.entry(id.clone()).or_default();
            known.most = known.most.max(channel.visible(&id).unwrap_or(0));
        }
    }

    /// The agent is gone, with what it could not store; the kernel holds what it held.
    pub fn killed(&mut self, live: &Live, unstored: bool) {
        let Self { databases, ranges, .. } = self;
        let forget = |known: &mut Known| {
            known.most = known.most.max(known.least);
            known.least = known.stored;
        };
        if unstored {
            forget(ranges);
            ranges.reached = Timestamp::default();
            for (id, known) in databases {
                known.reached = Timestamp::default();
                // What left is in no kernel.
                if live.slot(id).is_none() {
                    forget(known);
                    known.in_force = known.stored;
                }
            }
        }
    }

    /// The kernel is gone, too.
    pub fn rebooted(&mut self) {
        self.seen.clear();
        for known in self.databases.values_mut() {
            known.most = known.most.max(known.least);
            (known.least, known.in_force) = (known.stored, known.stored);
        }
    }
}

/// Slot and endpoints of a database are those of its revision.
fn stands(live: &Live, id: &DatabaseId, revision: u64, removed: bool, target: &str) -> Result<()> {
    let slot = live.slot(id);
    ensure!(slot.is_none() == removed, "{id} {revision}: removed {removed}, slot {slot:?}");
    let Some(slot) = slot else { return Ok(()) };
    let stamp = live.databases[&slot].stamp.as_ref().map(|stamp| stamp.revision);
    ensure!(stamp == Some(revision), "{id}: {stamp:?} in force instead of {revision}");
    let open: Vec<String> = open(live, slot).collect();
    ensure!(open == [target], "{id} {revision}: {open:?} open instead of {target}");
    Ok(())
}

/// The open endpoints of a slot.
fn open(live: &Live, slot: Slot) -> impl Iterator<Item = String> {
    live.table.endpoints.iter().filter_map(move |(target, claim)| match claim {
        Claim::Open { slot: of, .. } if *of == slot => Some(target.to_string()),
        Claim::Open { .. } | Claim::Closed => None,
    })
}

/// Everything that some of these revisions may mean from a time on.
fn meanings(
    provider: &Provider,
    id: &DatabaseId,
    revisions: std::ops::RangeInclusive<u64>,
    from: Timestamp,
) -> BTreeSet<BTreeSet<IpNet>> {
    let mut meanings = BTreeSet::new();
    for issue in revisions.filter_map(|revision| provider.issue(id, revision)) {
        for at in provider.expiries(issue).filter(|at| *at > from).chain([from]) {
            let ranges = 0..=provider.ranges.len() as u64;
            meanings.extend(ranges.map(|ranges| provider.meaning(issue, ranges, at)));
        }
    }
    meanings
}

pub fn nets(database: &Database) -> BTreeSet<IpNet> {
    database.sources.iter().map(|(net, _)| net).collect()
}
