//! Publishing of the block lists: entries that come are published before anything opens, entries that leave after
//! everything else is in force. A source is thus refused while the rules change under a block that leaves.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use anyhow::{Error, Result};

use super::block_list::{BlockId, BlockList, BlockListKind, BlockReplacement, BlockedSource, BlockedSources};
use super::counters::{free_counters, name, next_free};
use super::data_plane::DataPlane;
use super::desired::Desired;
use super::model::{DatabaseSlot, Live, RuleCounter};
use super::room::ensure_memory;
use crate::rules::DatabaseId;

/// Result of publishing what comes into the block lists.
#[derive(Debug, Default)]
pub(super) struct Blocked {
    /// A list was published.
    pub is_new: bool,
    /// The first refusal: entries of that list are not in force.
    pub refusal: Option<Error>,
}

/// Publishes desired entries that are not in force; entries in force stay, except those of databases that have left. An
/// entry at a database without a slot is left out. A list that the data plane refuses does not delay the other.
pub(super) fn block(
    desired: &Desired,
    slots: &BTreeMap<DatabaseId, DatabaseSlot>,
    live: &mut Live,
    data_plane: &mut impl DataPlane,
) -> Blocked {
    let mut blocked = Blocked::default();
    for kind in BlockListKind::ALL {
        let wanted = desired.blocked_sources(kind, slots);
        let current = live.blocks.get(kind);
        // Of a database that has left: its slot is for another one.
        let is_stale =
            |source: &BlockedSource| source.database.is_some_and(|slot| !live.databases.contains_key(&slot));
        let has_stale = kind == BlockListKind::Local && current.sources.keys().any(is_stale);
        if current.contains(&wanted) && !has_stale {
            continue;
        }
        let stays =
            |(source, _): &(&BlockedSource, &BlockId)| !wanted.contains_key(*source) && !is_stale(source);
        let mut left = current.sources.iter().filter(stays).peekable();
        let merged = if left.peek().is_none() {
            Arc::clone(&wanted)
        } else {
            let left = left.map(|(source, id)| (*source, Arc::clone(id)));
            Arc::new(left.chain(wanted.iter().map(|(source, id)| (*source, Arc::clone(id)))).collect())
        };
        match replace(kind, merged, desired, live, data_plane) {
            Ok(()) => blocked.is_new = true,
            Err(error) => _ = blocked.refusal.get_or_insert(error),
        }
    }
    blocked
}

/// Returns `true` if no entry is in force that is to leave.
pub(super) fn has_unblocked(desired: &Desired, live: &Live) -> bool {
    let slots = live.slots();
    BlockListKind::ALL
        .into_iter()
        .all(|kind| live.blocks.get(kind).is(&desired.blocked_sources(kind, &slots)))
}

/// Publishes the desired lists where entries in force leave, and frees the counters of ids without entries. While a list
/// lacks desired entries, as without memory for it, no entry of the other leaves: a source in both would get in.
/// Otherwise each list is published whatever becomes of the other.
pub(super) fn unblock(desired: &Desired, live: &mut Live, data_plane: &mut impl DataPlane) -> Result<()> {
    let (slots, mut refusal) = (live.slots(), None);
    let wanted = BlockListKind::ALL.map(|kind| (kind, desired.blocked_sources(kind, &slots)));
    let (complete, lacking): (Vec<_>, Vec<_>) =
        wanted.into_iter().partition(|(kind, wanted)| live.blocks.get(*kind).contains(wanted));
    for (kind, wanted) in lacking {
        replace(kind, wanted, desired, live, data_plane)?;
    }
    for (kind, wanted) in complete {
        if live.blocks.get(kind).is(&wanted) {
            // Later comparisons compare pointers.
            live.blocks.get_mut(kind).sources = wanted;
        } else if let Err(error) = replace(kind, wanted, desired, live, data_plane) {
            refusal.get_or_insert(error);
        }
    }
    if let Some(error) = refusal {
        return Err(error);
    }
    if desired.frees_nothing {
        return Ok(());
    }
    let is_unused = |_, rule: &RuleCounter| {
        let of = |kind: &BlockListKind| kind.counter_kind() == rule.kind;
        let list = BlockListKind::ALL.into_iter().find(of);
        list.is_some_and(|kind| desired.block_label(kind, &rule.id.as_str().into()).is_none())
    };
    if live.counters.iter().any(|(counter, rule)| is_unused(*counter, rule)) {
        free_counters(is_unused, live, data_plane, &mut BTreeMap::new())?;
    }
    Ok(())
}

/// Publishes one list, after its counters have their names. Fails before any write if the agent has no memory for it.
fn replace(
    kind: BlockListKind,
    sources: Arc<BlockedSources>,
    desired: &Desired,
    live: &mut Live,
    data_plane: &mut impl DataPlane,
) -> Result<()> {
    if kind == BlockListKind::Ranges {
        // Otherwise the kernel ends the agent, at each start again. Blocks of operators are few.
        ensure_memory(sources.len(), live.blocks.get(kind).sources.len(), &desired.limits)?;
    }
    let ids: BTreeSet<&BlockId> = sources.values().collect();
    let known = live.counters.iter().filter(|(_, rule)| rule.kind == kind.counter_kind());
    let known: BTreeMap<String, _> = known.map(|(counter, rule)| (rule.id.clone(), *counter)).collect();
    let mut free = data_plane.sizes().rule_counters();
    let mut counters = BTreeMap::new();
    for id in ids {
        let label = match desired.block_label(kind, id) {
            Some(label) => label.to_owned(),
            None => known
                .get(&**id)
                .and_then(|counter| live.counters.get(counter))
                .map(|rule| rule.label.clone())
                .unwrap_or_default(),
        };
        let Some(counter) = known.get(&**id).copied().or_else(|| next_free(&mut free, live)) else {
            continue;
        };
        let rule = RuleCounter {
            database: DatabaseSlot::NONE,
            kind: kind.counter_kind(),
            id: id.to_string(),
            label,
        };
        name(counter, Arc::new(rule), live, data_plane)?;
        counters.insert(Arc::clone(id), counter);
    }
    data_plane.publish_blocks(&BlockReplacement { kind, sources: &sources, counters: &counters })?;
    *live.blocks.get_mut(kind) = BlockList { sources, is_known: true };
    Ok(())
}

/// Publishes the lists in force again.
pub(super) fn restore(live: &Live, data_plane: &mut impl DataPlane) -> Result<()> {
    for kind in BlockListKind::ALL {
        let of_kind = live.counters.iter().filter(|(_, rule)| rule.kind == kind.counter_kind());
        let counters = of_kind.map(|(counter, rule)| (BlockId::from(rule.id.as_str()), *counter)).collect();
        let sources = &live.blocks.get(kind).sources;
        data_plane.publish_blocks(&BlockReplacement { kind, sources, counters: &counters })?;
    }
    Ok(())
}
