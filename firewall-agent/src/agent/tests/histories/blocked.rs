//! Sources that the blocked ranges must refuse: derived from the files that a host could read, with a shrink guard of
//! its own. The agent's claim only decides, after a start, which of the lists that its store may contain is there.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, ensure};
use ipnet::IpNet;

use super::blocked_file::{BlockedFile, BlockedRange};
use super::kernel::Judgement;
use super::packets::{Packets, describe, from_anywhere};
use crate::sync::Live;

/// Ranges that block, and the revision that they come from; 0 for those of a kernel without a stored file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BlockedList {
    pub revision: u64,
    pub ranges: BTreeMap<String, BTreeSet<IpNet>>,
}

impl BlockedList {
    /// The list of a kernel: each network has one range.
    fn of_kernel(live: &Live) -> Self {
        let mut ranges: BTreeMap<String, BTreeSet<IpNet>> = BTreeMap::new();
        for (source, id) in &*live.blocks.ranges.sources {
            ranges.entry(id.to_string()).or_default().insert(source.net);
        }
        Self { revision: 0, ranges }
    }

    pub fn nets(&self) -> BTreeSet<IpNet> {
        self.ranges.values().flatten().copied().collect()
    }

    /// The list after an accepted file: a range that is missing, has become empty, or has lost more than half of 4 or
    /// more networks stays as it is, unless the file says `accept_shrink`.
    fn after(&self, file: &BlockedFile) -> Self {
        let ranges = file.ranges.iter().map(|(id, range)| (String::from(*id), range.nets.clone()));
        let mut ranges: BTreeMap<String, BTreeSet<IpNet>> = ranges.collect();
        for (id, nets) in &self.ranges {
            let stays =
                file.ranges.get(id.as_str()).is_none_or(|BlockedRange { nets: new, accept_shrink }| {
                    let lost = nets.difference(new).count();
                    !accept_shrink && lost > 0 && (new.is_empty() || nets.len() >= 4 && lost * 2 > nets.len())
                });
            if stays {
                ranges.insert(id.clone(), nets.clone());
            }
        }
        Self { revision: file.revision, ranges }
    }
}

/// A list that an agent acts on.
#[derive(Debug, Clone, Default)]
struct Accepted {
    list: BlockedList,
    /// The last accepted file; `None` where the list is the kernel's.
    file: Option<BlockedFile>,
    /// Packets from its networks, to any destination.
    packets: Packets,
}

impl Accepted {
    fn new(list: BlockedList, file: Option<BlockedFile>) -> Self {
        let packets = list.nets().iter().fold(0, |sum, net| sum | from_anywhere(net));
        Self { list, file, packets }
    }
}

/// Facts about the blocked ranges of one host.
#[derive(Debug, Default)]
pub struct BlockedOracle {
    /// The newest accepted list.
    known: Accepted,
    /// The list known to be stored, if any: a start finds it, or one accepted since.
    firm: Option<Accepted>,
    since: Vec<Accepted>,
    /// Packets that passed when the newest list was accepted, and must not after a finished pass.
    pending: Packets,
    /// Packets from the networks of every list that may be in force: until a pass is finished, earlier ones, too.
    judging: Packets,
}

impl BlockedOracle {
    /// An agent reads a file of blocked ranges with at most `most` prefixes, in a kernel with this judgement.
    pub fn reads(&mut self, file: Option<&BlockedFile>, most: usize, judgement: &Judgement) {
        let Some(file) = file.filter(|file| self.accepts(file, most)) else { return };
        self.known = Accepted::new(self.known.list.after(file), Some(file.clone()));
        self.since.push(self.known.clone());
        self.is_known(judgement);
    }

    /// Returns `true` for a file that changes anything: revisions only rise, and one has one content.
    fn accepts(&self, file: &BlockedFile, most: usize) -> bool {
        self.known.file.as_ref().is_none_or(|known| known.revision < file.revision) && file.prefixes() <= most
    }

    fn is_known(&mut self, judgement: &Judgement) {
        self.pending = judgement.passed & judgement.at_endpoints & self.known.packets;
        self.judging |= self.known.packets;
    }

    /// The property: at endpoints no source of the newest list gets in, from its acceptance on; one that has access
    /// loses it for good within the pass.
    pub fn state(&mut self, judgement: &Judgement) -> Result<()> {
        let passed = judgement.passed & judgement.at_endpoints & self.known.packets;
        let wrong = passed & !self.pending;
        ensure!(wrong == 0, "blocked ranges {} refuse {}", self.known.list.revision, describe(wrong));
        self.pending &= passed;
        Ok(())
    }

    /// The kernel accepted every write of a pass.
    pub fn finished(&mut self, judgement: &Judgement, live: &Live) -> Result<()> {
        self.pending = 0;
        self.state(judgement)?;
        let (known, in_force) = (self.known.list.nets(), BlockedList::of_kernel(live).nets());
        ensure!(known == in_force, "{in_force:?} are blocked, not {:?}", self.known.list);
        self.judging = self.known.packets;
        Ok(())
    }

    /// The agent's state is durable.
    pub fn durable(&mut self) {
        if self.known.file.is_some() {
            self.firm = Some(self.known.clone());
        }
        self.since.clear();
    }

    /// An agent has started, and claims to act on this list: the stored one, or one accepted since that may have been
    /// stored; without any, the kernel's.
    pub fn started(
        &mut self,
        claimed: &BlockedList,
        live: &Live,
        judgement: &Judgement,
        is_boot: bool,
    ) -> Result<()> {
        let of_kernel = self.firm.is_none().then(|| Accepted::new(BlockedList::of_kernel(live), None));
        let known = self.firm.iter().chain(&self.since).chain(&of_kernel).find(|one| one.list == *claimed);
        let Some(known) = known.cloned() else {
            let firm = self.firm.as_ref().map(|firm| &firm.list);
            anyhow::bail!("blocked ranges {claimed:?} after a start; {firm:?} were durable");
        };
        if is_boot {
            self.judging = 0;
        }
        self.known = known;
        self.is_known(judgement);
        Ok(())
    }

    /// Networks of the newest accepted list.
    pub fn nets(&self) -> BTreeSet<IpNet> {
        self.known.list.nets()
    }

    /// Packets that are refused at every endpoint after a finished pass.
    pub fn refused(&self) -> Packets {
        self.known.packets
    }

    /// Packets that a list in force may refuse.
    pub fn concerned(&self) -> Packets {
        self.judging
    }
}
