//! Replaces the allow lists of any number of databases, with about as many RCU waits as for one.

use anyhow::{Error, Result};
use ipnet::{Ipv4Net, Ipv6Net};
use tracing::warn;

use super::Kernel;
use crate::{
    bpf::{convert::Prefix, filters::Filters, inner::Built, sources::SourceTries, stamps},
    sync::{DatabaseSlot, Live, Replacement, Sources},
};

/// The new tries of one database, built and unpublished; a family without a change has none.
struct Ready {
    v4: Option<Built>,
    v6: Option<Built>,
}

impl Kernel {
    /// See [`crate::sync::DataPlane::publish_sources`].
    pub(super) fn replace(&mut self, together: &[Replacement<'_>]) -> Vec<Result<()>> {
        let mut ready: Vec<Result<Ready>> = together.iter().map(|one| self.prepare(one)).collect();
        self.generation.suspend();
        publish_family(&mut self.v4, together, &mut ready, |ready| ready.v4.as_ref());
        publish_family(&mut self.v6, together, &mut ready, |ready| ready.v6.as_ref());
        // Also after a failure: the other databases are in force.
        self.generation.advance();
        let done = together.iter().zip(ready).map(|(one, ready)| {
            let ready = ready.inspect_err(|_| _ = self.leftovers.insert(one.slot))?;
            if let Err(error) = self.settle_down(one, ready) {
                // Costs time and changes no verdict; the next publish of the database retries.
                warn!(slot = one.slot, error = format!("{error:#}"), "a source filter stays too wide");
            }
            if self.leftovers.remove(&one.slot) {
                self.v4.remove_stale(&[one.slot]);
                self.v6.remove_stale(&[one.slot]);
            }
            Ok(())
        });
        done.collect()
    }

    /// Does everything that must precede the first packet judged by the new list.
    fn prepare(&mut self, one: &Replacement<'_>) -> Result<Ready> {
        let Replacement { slot, database, changed } = *one;
        let generation = database.stamp.as_ref().map_or(0, |stamp| stamp.generation);
        let Sources { v4, v6 } = &database.sources;
        let ready = Ready {
            v4: changed.v4.then(|| self.v4.build(slot, generation, v4)).transpose()?,
            v6: changed.v6.then(|| self.v6.build(slot, generation, v6)).transpose()?,
        };
        let live = self.trie_ids(slot)?;
        let id = |built: &Option<Built>, live| built.as_ref().map_or(live, |built| built.id);
        let ids = [id(&ready.v4, live[0]), id(&ready.v6, live[1])];
        let before = self.records.database(slot)?;
        self.records.set_database(slot, stamps::record(database, ids, before.as_ref(), live))?;
        if changed.v4 {
            self.prefilter_v4.widen(slot, v4.keys())?;
        }
        if changed.v6 {
            self.prefilter_v6.widen(slot, v6.keys())?;
        }
        Ok(ready)
    }

    /// Does everything that may follow at any time once the new list is in force.
    fn settle_down(&mut self, one: &Replacement<'_>, ready: Ready) -> Result<()> {
        let Sources { v4, v6 } = &one.database.sources;
        if let Some(built) = ready.v4 {
            self.v4.keep(one.slot, built);
        }
        if let Some(built) = ready.v6 {
            self.v6.keep(one.slot, built);
        }
        if one.changed.v4 {
            self.prefilter_v4.narrow(one.slot, v4.keys())?;
        }
        if one.changed.v6 {
            self.prefilter_v6.narrow(one.slot, v6.keys())?;
        }
        Ok(())
    }

    /// Makes the source prefilters match the tries and invalidates the caches, whatever an earlier process left
    /// unfinished.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn adopt(&mut self, live: &Live) -> Result<()> {
        for slot in 0..self.v4.capacity() {
            let known = live.databases.get(&slot).filter(|database| database.stamp.is_some());
            let sources = known.map(|database| &database.sources);
            let [v4, v6] = self.trie_ids(slot)?;
            adopt_filter::<Ipv4Net>(
                &mut self.prefilter_v4,
                slot,
                v4 == 0,
                sources.map(|known| known.v4.keys()),
            )?;
            adopt_filter::<Ipv6Net>(
                &mut self.prefilter_v6,
                slot,
                v6 == 0,
                sources.map(|known| known.v6.keys()),
            )?;
        }
        self.generation.advance();
        Ok(())
    }
}

/// Narrows one source prefilter to its trie. An unknown trie may contain anything: then every bit is set.
fn adopt_filter<'a, P: Prefix + 'a>(
    filters: &mut Filters,
    slot: DatabaseSlot,
    empty: bool,
    sources: Option<impl Iterator<Item = &'a P>>,
) -> Result<()> {
    match sources {
        Some(sources) => filters.narrow(slot, sources),
        None if empty => filters.narrow(slot, std::iter::empty::<&P>()),
        None => filters.open_wide(slot),
    }
}

/// Publishes one family of every database without an error up to now.
fn publish_family(
    tries: &mut SourceTries,
    together: &[Replacement<'_>],
    ready: &mut [Result<Ready>],
    family: impl Fn(&Ready) -> Option<&Built>,
) {
    let due: Vec<(usize, DatabaseSlot, &Built)> = ready
        .iter()
        .zip(together)
        .enumerate()
        .filter_map(|(at, (ready, one))| Some((at, one.slot, family(ready.as_ref().ok()?)?)))
        .collect();
    let built: Vec<(DatabaseSlot, &Built)> = due.iter().map(|(_, slot, built)| (*slot, *built)).collect();
    let places: Vec<usize> = due.iter().map(|(at, _, _)| *at).collect();
    let failures: Vec<(usize, Error)> = places
        .into_iter()
        .zip(tries.publish_all(&built))
        .filter_map(|(at, result)| Some((at, result.err()?)))
        .collect();
    for (at, error) in failures {
        ready[at] = Err(error);
    }
}
