//! What an operator may ask for, with a daemon or without one.

use anyhow::{Context as _, Result, ensure};
use jiff::Timestamp;

use super::host::Host;
use super::machine::{Plane, Shelf};
use crate::bpf::detach_all;
use crate::config::GuardedPorts;
use crate::files::store::Entry;
use crate::rules::DatabaseId;
use crate::sync::{Desired, Published, Target};

impl<K: Plane, S: Shelf> Host<K, S> {
    /// Drops a database whose file is gone. Its endpoints stay closed, unless they are to be opened.
    ///
    /// # Errors
    /// When it is not known, its file is still there, or the kernel refuses.
    pub fn forget(&mut self, id: &DatabaseId, open: bool) -> Result<String> {
        let known = self.taken.admitted.get(id);
        let closed = self.taken.ledger.left_by(id);
        ensure!(
            known.is_some() || self.live.slot(id).is_some() || !closed.is_empty(),
            "database {id}: not known on this host"
        );
        if let Some(candidate) = known.filter(|candidate| candidate.path.exists()) {
            anyhow::bail!(
                "database {id}: its file is still there: remove {} first",
                candidate.path.display()
            );
        }
        let now = self.taken.ledger.high_water;
        let mut desired = Desired { closed: self.taken.ledger.closed(), ..self.untouched() };
        desired.removed.insert(id.clone());
        finish(self.publish(&desired, now))?;
        self.taken.admitted.remove(id);
        self.store.remove(&Entry::Database(id))?;
        self.taken.ledger.rebased.remove(id.as_str());
        let left = self.taken.ledger.left_by(id);
        if open {
            let desired = Desired { opened: left.clone(), ..self.untouched() };
            finish(self.publish(&desired, now))?;
        }
        self.save_ledger();
        let (opened, closed): (Vec<&Target>, Vec<&Target>) =
            left.iter().partition(|target| open && !self.live.guarded.contains(&target.port));
        let list = |targets: Vec<&Target>| match targets.as_slice() {
            [] => "nothing".to_owned(),
            some => some.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
        };
        let guarded = if open { " (guarded)" } else { "" };
        Ok(format!("database {id}: forgotten; opened: {}; closed{guarded}: {}", list(opened), list(closed)))
    }

    /// Lets the next file of a database have any revision. Its rules stay in force.
    ///
    /// # Errors
    /// When it is not known.
    pub fn rebase(&mut self, id: &DatabaseId) -> Result<String> {
        ensure!(
            self.taken.admitted.contains_key(id) || self.live.slot(id).is_some(),
            "database {id}: not known on this host"
        );
        self.taken.ledger.rebased.insert(id.to_string());
        self.save_ledger();
        Ok(format!("database {id}: its next file may have any revision; its rules are untouched"))
    }

    /// Since when everything is down by an operator's will.
    pub fn detached(&self) -> Option<Timestamp> {
        self.taken.ledger.detached
    }

    /// Notes that everything is taken down, or to be put up; over restarts and reboots.
    ///
    /// # Errors
    /// When it cannot be stored.
    pub fn set_detached(&mut self, detached: bool) -> Result<()> {
        self.taken.ledger.detached = detached.then(Timestamp::now);
        self.save_ledger();
        ensure!(
            self.taken.ledger == self.saved,
            "{}",
            self.troubles.last().map_or("not stored", String::as_str)
        );
        Ok(())
    }

    /// Takes every link down where no daemon runs, until `attach`; says what is open now.
    ///
    /// # Errors
    /// When a link cannot be taken down, or that cannot be stored.
    pub fn detach(&mut self) -> Result<String> {
        // A full disk is no reason to stay closed when an operator wants it open.
        let noted = self.set_detached(true);
        let interfaces = detach_all(&self.pins)?;
        noted.context("everything is down, but the next start will attach again")?;
        Ok(self.describe_open(&interfaces))
    }

    /// What anybody may reach now that `interfaces` are not filtered.
    #[must_use]
    pub fn describe_open(&self, interfaces: &[String]) -> String {
        let list = |items: Vec<String>| if items.is_empty() { "none".to_owned() } else { items.join(", ") };
        let endpoints = self.live.table.endpoints.keys().map(Target::to_string).collect();
        format!(
            "detached until `attach`: {}\nopen to everyone now: {}; guarded ports: {}",
            list(interfaces.to_vec()),
            list(endpoints),
            GuardedPorts::new(self.live.guarded.iter().map(|port| *port..=*port))
        )
    }

    /// A wish that changes nothing.
    fn untouched(&self) -> Desired {
        Desired { guarded: self.live.guarded.clone(), monitor: self.monitor, ..Desired::default() }
    }
}

fn finish(published: Published) -> Result<()> {
    match published.failed.into_values().chain(published.errors).next() {
        Some(error) => Err(error),
        None => Ok(()),
    }
}
