//! One host's machine: a kernel in memory and a real directory, each failing, or ending the process, on demand.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ops::Range;
use std::panic::resume_unwind;
use std::rc::Rc;

use anyhow::{Result, bail, ensure};

use crate::agent::machine::{Plane, Shelf};
use crate::bpf::LineHits;
use crate::files::store::{Entry, Loaded, Store};
use crate::sync::memory::{Killed, Memory};
use crate::sync::{DataPlane, Line, Live, Ports, Replacement, RuleSlot, Slot, Table};

/// Enough lines for every rule to have its own, before and after a change.
const LINES: RuleSlot = 96;

/// What outlives the agent.
#[derive(Debug, Clone, Default)]
pub struct Machine {
    pub memory: Rc<RefCell<Memory>>,
    /// The kernel cannot be read back.
    pub unreadable: Rc<Cell<bool>>,
    pub full: Rc<Cell<bool>>,
    /// Saves until the process is killed, before that one is done or after.
    pub fuse: Rc<Cell<Option<(u32, bool)>>>,
}

impl Machine {
    /// Everything that is in force, as it is read back.
    pub fn held(&self) -> Live {
        let live = self.memory.borrow().live.clone();
        let stamps = live.databases.values().filter_map(|database| database.stamp.as_ref());
        Live { generation: stamps.map(|stamp| stamp.generation).max().unwrap_or(0), ..live }
    }
}

/// The kernel as an agent holds it.
#[derive(Debug)]
pub struct Twin(pub Machine);

/// The disk as an agent holds it.
#[derive(Debug)]
pub struct Disk {
    pub store: Store,
    pub machine: Machine,
}

impl Plane for Twin {
    fn live(&self) -> Result<Live> {
        ensure!(!self.0.unreadable.get(), "the kernel cannot be read");
        Ok(self.0.held())
    }

    fn take_freed(&mut self) -> BTreeMap<RuleSlot, LineHits> {
        BTreeMap::new()
    }
}

impl DataPlane for Twin {
    fn capacity(&self) -> (Slot, RuleSlot) {
        (self.0.memory.borrow().capacity().0, LINES)
    }

    fn prefix_lines(&self) -> Range<RuleSlot> {
        LINES / 2..LINES
    }

    fn set_ports(&mut self, claimed: &Ports, guarded: &Ports) -> Result<()> {
        self.0.memory.borrow_mut().set_ports(claimed, guarded)
    }

    fn set_line(&mut self, slot: RuleSlot, line: &Line) -> Result<()> {
        self.0.memory.borrow_mut().set_line(slot, line)
    }

    fn free_line(&mut self, slot: RuleSlot) -> Result<()> {
        self.0.memory.borrow_mut().free_line(slot)
    }

    fn publish_sources(&mut self, together: &[Replacement<'_>]) -> Vec<Result<()>> {
        self.0.memory.borrow_mut().publish_sources(together)
    }

    fn settle(&mut self) -> Result<()> {
        self.0.memory.borrow_mut().settle()
    }

    fn free_database(&mut self, slot: Slot) -> Result<()> {
        self.0.memory.borrow_mut().free_database(slot)
    }

    fn publish_table(&mut self, table: &Table) -> Result<()> {
        self.0.memory.borrow_mut().publish_table(table)
    }
}

impl Disk {
    /// Burns the fuse; whether the process ends after this save.
    fn burn(&self) -> bool {
        let fuse = &self.machine.fuse;
        match fuse.get() {
            Some((0, before)) => {
                fuse.set(None);
                if before {
                    resume_unwind(Box::new(Killed));
                }
                true
            }
            Some((left, before)) => {
                fuse.set(Some((left - 1, before)));
                false
            }
            None => false,
        }
    }
}

impl Shelf for Disk {
    fn load(&self) -> Loaded {
        self.store.load()
    }

    fn save(&self, entry: &Entry<'_>, content: &[u8]) -> Result<()> {
        let last = self.burn();
        if self.machine.full.get() {
            bail!("no space left on the disk");
        }
        self.store.save(entry, content)?;
        if last {
            resume_unwind(Box::new(Killed));
        }
        Ok(())
    }

    fn remove(&self, entry: &Entry<'_>) -> Result<()> {
        self.store.remove(entry)
    }

    fn is_stored_since(&self, _: &Entry<'_>) -> bool {
        false
    }
}
