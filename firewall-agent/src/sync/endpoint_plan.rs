//! Endpoint tables of a publish: the first closes the endpoints that leave, the last opens the new ones.

use std::collections::{BTreeMap, BTreeSet};

use super::desired::{Desired, DesiredDatabase};
use super::model::{CounterId, DatabaseSlot, Destination, Live, TableEntry};
use super::open_endpoints::OpenEndpoint;
use super::room::Crowded;
use super::table::Table;
use crate::rules::{DatabaseId, Mode, Protocol};

/// The rows of an endpoint table: both lists ordered by destination, no destination in both.
pub(super) struct Rows {
    pub open: Vec<(Destination, TableEntry)>,
    pub closed: Vec<Destination>,
}

/// A published database: its slot and its default counter.
pub(super) type Assigned = (DatabaseSlot, CounterId);

/// The live endpoints that a publish retains, and those that it closes.
pub(super) struct EndpointPlan<'a> {
    desired: &'a Desired,
    crowded: &'a BTreeMap<DatabaseId, Crowded>,
    opens_nothing: bool,
    /// Live endpoints that their databases retain. A change to monitor mode takes effect at once: a source that leaves
    /// the allow list must not be cut off in between.
    retained: BTreeMap<DatabaseSlot, BTreeMap<Destination, TableEntry>>,
    /// Live endpoints that leave.
    leaving: BTreeSet<Destination>,
    /// Databases that leave monitor mode, also where their new allow list is refused: an unlisted source must not get in
    /// for as long as the refusal lasts.
    enforced: BTreeSet<DatabaseSlot>,
}

impl<'a> EndpointPlan<'a> {
    /// `opens_nothing`: no database changes to monitor mode either.
    pub fn new(
        desired: &'a Desired,
        crowded: &'a BTreeMap<DatabaseId, Crowded>,
        live: &Live,
        opens_nothing: bool,
    ) -> Self {
        let (retained, leaving, enforced) = (BTreeMap::new(), BTreeSet::new(), BTreeSet::new());
        let mut plan = Self { desired, crowded, opens_nothing, retained, leaving, enforced };
        for (slot, endpoints) in live.open_endpoints().iter() {
            plan.divide(slot, live.databases.get(&slot).map(|database| &database.id), endpoints);
        }
        plan
    }

    /// Divides the live endpoints of one slot into those that stay and those that leave.
    fn divide(&mut self, slot: DatabaseSlot, id: Option<&DatabaseId>, endpoints: &[OpenEndpoint]) {
        let desired = self.desired;
        let stays = id.filter(|id| !desired.removed.contains(*id));
        let Some(id) = stays else {
            // Removed, or without a database: left by an interrupted migration of the map layout.
            self.leaving.extend(endpoints.iter().map(|endpoint| endpoint.destination));
            return;
        };
        let Some(wanted) = desired.databases.get(id) else {
            // Without a file, monitor mode stays only where this host permits it.
            let mode = |mode| if desired.monitor { mode } else { Mode::Enforce };
            let rows = endpoints.iter().map(|endpoint| (endpoint.destination, endpoint.with_mode(mode)));
            self.retained.insert(slot, rows.collect());
            return;
        };
        if wanted.mode == Mode::Enforce {
            self.enforced.insert(slot);
        }
        let crowded = self.crowded.contains_key(id);
        let is_monitored = wanted.mode == Mode::Monitor && !self.opens_nothing;
        let mode = |mode| match (is_monitored, crowded) {
            (true, false) => Mode::Monitor,
            (true, true) if desired.monitor => mode,
            (_, true) => Mode::Enforce,
            (false, false) => mode,
        };
        let (mut rows, mut wildcards) = (BTreeMap::new(), BTreeMap::new());
        for endpoint in endpoints {
            let (destination, entry) = (endpoint.destination, endpoint.with_mode(mode));
            if !wanted.is_closed && wanted.claims(&destination) {
                rows.insert(destination, entry);
                continue;
            }
            self.leaving.insert(destination);
            if destination.address.is_none() {
                wildcards.insert(destination, entry);
            }
        }
        // Of a wildcard that leaves, the addresses still desired stay open.
        let within = |to: &Destination| Some((*to, *wildcards.get(&to.everywhere())?));
        let stays = wanted.destinations.iter().filter(|_| !wanted.is_closed);
        let parts: Vec<_> = stays.filter_map(within).collect();
        for (to, entry) in parts {
            rows.entry(to).or_insert(entry);
        }
        self.retained.insert(slot, rows);
    }

    /// The table that must be in force before any allow list changes: it closes the leaving endpoints and all that must
    /// be closed, and retains the tombstones in `live`. Released destinations stay closed until then: an overlapping
    /// endpoint may be desired and not open yet.
    pub fn closing(&self, live: &Table) -> Rows {
        let desired = self.desired;
        let to_open = desired.databases.iter().filter(|(id, _)| !self.crowded.contains_key(*id));
        let to_open: BTreeSet<&Destination> = to_open.flat_map(|(_, wanted)| self.opens(wanted)).collect();
        // A destination about to be opened is not closed in between.
        let is_closed = |to: &Destination| !to_open.contains(to) && !to_open.contains(&to.everywhere());
        let crowded = self.crowded.keys().filter_map(|id| desired.databases.get(id));
        let crowded = crowded.flat_map(|wanted| &wanted.destinations);
        let withheld = desired.databases.values().flat_map(|wanted| &wanted.destinations);
        let withheld = withheld.filter(|to| desired.withheld.contains(to));
        let open = self.retained.values().flatten().map(|(to, entry)| (*to, *entry)).collect();
        self.rows(open, is_closed, live.endpoints.closed().iter().chain(crowded).chain(withheld))
    }

    /// The table after a publish. `published` returns the databases with the desired allow list in force.
    pub fn opening(&self, published: impl Fn(&DatabaseId) -> Option<Assigned>) -> Rows {
        let desired = self.desired;
        let (mut open, mut opened) = (Vec::new(), BTreeSet::new());
        for (id, wanted) in &desired.databases {
            if let Some((slot, default_counter)) = published(id) {
                opened.insert(slot);
                let entry = TableEntry::Open { slot, mode: wanted.mode, default_counter };
                self.open(wanted, slot, entry, &mut open);
            }
        }
        let retained = self.retained.iter().filter(|(slot, _)| !opened.contains(slot));
        open.extend(retained.flat_map(|(_, rows)| rows).map(|(to, entry)| (*to, self.enforced(*entry))));
        // An accepted file protects its destinations: those not open are closed.
        let wanted = desired.databases.values().flat_map(|wanted| &wanted.destinations);
        let mut rows = self.rows(open, |_| true, wanted);
        if !desired.opened.is_empty() {
            rows.closed.retain(|to| !desired.opened.contains(to));
        }
        rows
    }

    /// The entry in enforce mode, if its database leaves monitor mode.
    fn enforced(&self, entry: TableEntry) -> TableEntry {
        match entry {
            TableEntry::Open { slot, default_counter, .. } if self.enforced.contains(&slot) => {
                TableEntry::Open { slot, mode: Mode::Enforce, default_counter }
            }
            entry @ (TableEntry::Open { .. } | TableEntry::Tombstone) => entry,
        }
    }

    /// Adds the endpoints of a database with the desired allow list in force.
    fn open(
        &self,
        wanted: &DesiredDatabase,
        slot: DatabaseSlot,
        entry: TableEntry,
        open: &mut Vec<(Destination, TableEntry)>,
    ) {
        let first = open.len();
        open.extend(self.opens(wanted).map(|to| (*to, entry)));
        if self.desired.withheld.is_empty() {
            return;
        }
        // Withheld destinations that are open already, themselves or by a wildcard, stay open.
        let opened: BTreeSet<Destination> = open[first..].iter().map(|(to, _)| *to).collect();
        let retained = self.retained.get(&slot).into_iter().flatten().map(|(to, _)| to);
        let stays = retained.filter(|to| !opened.contains(to) && !opened.contains(&to.everywhere()));
        open.extend(stays.map(|to| (*to, entry)));
    }

    /// The destinations of a published database that are not withheld; none if the overlay closes it.
    fn opens<'b>(&'b self, wanted: &'b DesiredDatabase) -> impl Iterator<Item = &'b Destination> {
        let opens = |to: &&Destination| !wanted.is_closed && !self.desired.withheld.contains(to);
        wanted.destinations.iter().filter(opens)
    }

    /// Rows for the `open` endpoints, with tombstones at the desired closed destinations that `is_closed` accepts, at the
    /// leaving endpoints and at `others`. No tombstone is below an open wildcard, where it would cut off allowed sources,
    /// or at a port that is closed without one.
    fn rows<'b>(
        &'b self,
        mut open: Vec<(Destination, TableEntry)>,
        is_closed: impl Fn(&Destination) -> bool,
        others: impl Iterator<Item = &'b Destination>,
    ) -> Rows {
        let desired = self.desired;
        let wildcards = open.iter().filter(|(to, _)| to.address.is_none());
        let wildcards: BTreeSet<(u16, Protocol)> = wildcards.map(|(to, _)| (to.port, to.protocol)).collect();
        let needs_row = |to: &Destination| {
            !desired.closes_without_tombstone(to.port)
                && (wildcards.is_empty() || !wildcards.contains(&(to.port, to.protocol)))
        };
        let mut closed: Vec<Destination> =
            desired.closed.iter().filter(|to| needs_row(to) && is_closed(to)).copied().collect();
        let is_there = |to: &Destination| desired.closed.contains(to) && is_closed(to);
        let sorted = closed.len();
        closed.extend(others.chain(&self.leaving).filter(|to| needs_row(to) && !is_there(to)));
        if closed.len() > sorted {
            closed.sort();
            closed.dedup();
        }
        open.sort_by_key(|(to, _)| *to);
        open.dedup_by_key(|(to, _)| *to);
        // An open endpoint takes precedence over a tombstone at the same destination.
        let mut ahead = open.iter().map(|(to, _)| to).peekable();
        closed.retain(|to| {
            while ahead.next_if(|open| *open < to).is_some() {}
            ahead.peek() != Some(&to)
        });
        Rows { open, closed }
    }
}

impl OpenEndpoint {
    /// Its table entry in another mode.
    fn with_mode(&self, map: impl Fn(Mode) -> Mode) -> TableEntry {
        Self { mode: map(self.mode), ..*self }.entry()
    }
}

impl DesiredDatabase {
    /// Returns `true` if the database claims the destination, itself or by a wildcard.
    pub(super) fn claims(&self, destination: &Destination) -> bool {
        self.destinations.contains(destination) || self.destinations.contains(&destination.everywhere())
    }
}

/// The databases with an endpoint that differs between a table and the live one.
pub(super) fn differing(table: Option<&Table>, live: &Live) -> BTreeSet<DatabaseSlot> {
    let Some(Table { endpoints: rows, .. }) = table else { return BTreeSet::new() };
    let (rows, live) = (rows.open(), live.table.endpoints.open());
    let changed = live.iter().filter(|(to, entry)| rows.get(*to) != Some(*entry));
    let new = rows.iter().filter(|(to, entry)| live.get(*to) != Some(*entry));
    changed.chain(new).filter_map(|(_, entry)| entry.slot()).collect()
}
