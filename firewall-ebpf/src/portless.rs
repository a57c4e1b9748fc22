//! Portless packets: the verdict of all databases at the destination address.

use firewall_common::{
    EVERY_DATABASE, EVERY_ENDPOINT, Endpoint, EndpointKey, MONITOR, NO_RULE, Reason, TOMBSTONE, packet::Flow,
};

use crate::{
    decide::Decision,
    lookup::{Maps, Table as _},
};

/// The number of databases at an address that must allow the source.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum PortlessRule {
    /// A later fragment: the first fragment was judged by its port, and without it there is no reassembly.
    Any,
    /// An unreadable chain: the packet may be for any of them.
    Every,
}

/// A database was evaluated.
const EVALUATED: u32 = 1;
/// Something at the address is closed.
const CLOSED: u32 = 2;
/// A block list refuses the source at a database.
const BLOCKED: u32 = 4;
/// A block list refuses the source at every database.
const BLOCKED_EVERYWHERE: u32 = 8;
/// An enforcing database does not allow the source.
const REFUSED: u32 = 16;
/// The rule is [`PortlessRule::Every`].
const EVERY: u32 = 32;

/// Input and result of the walk over the address index. Its size is bounded by the stack: 512 bytes for the frames of all
/// functions in a chain of calls, each rounded up to 32 bytes where the kernel has no newer rule.
#[repr(C)]
pub struct PortlessWalk<'f, 'a, M: Maps<'a>> {
    maps: M,
    table: M::Table,
    flow: &'f Flow,
    /// The key of the next row.
    key: EndpointKey,
    /// The rule counter of a database that allows the source.
    allowing: u32,
    /// The default counter of a database in monitor mode that does not allow it.
    monitoring: u32,
    /// [`EVERY`], and the other bits as far as the walk has met them. Bits of a plain number: with enums, the compiler turns
    /// comparisons into arithmetic with bounds that the verifier does not follow.
    met: u32,
    /// The default counter of an enforcing database that does not allow it ([`REFUSED`]).
    refusing: u32,
    /// The rule counter of the block list's entry that refuses it ([`BLOCKED`]). A field of its own: before Linux 6.7 the
    /// verifier follows one row only, and removes a branch on what an earlier row has met.
    blocking: u32,
}

#[inline(always)]
pub fn decide_portless<'a, M: Maps<'a>>(flow: &Flow, maps: M, rule: PortlessRule) -> Decision {
    let Some(table) = maps.live_table() else { return Decision::without_rule(Reason::NotProtected) };
    let Some((key, first)) = table.members(flow) else { return Decision::without_rule(Reason::NotProtected) };
    let mut walk = PortlessWalk::new(flow, maps, table, key, rule);
    walk.run(first);
    walk.decision(rule)
}

/// The verdict of every database of the host together, about a packet to a closed port at an address that no file claims:
/// translation hides the packet's database. The packet passes when one of them allows the source or is in monitor mode.
#[inline(always)]
pub fn decide_by_every_database<'a, M: Maps<'a>>(flow: &Flow, maps: M) -> Decision {
    let Some(table) = maps.live_table() else { return Decision::without_rule(Reason::Closed) };
    let mut walk = PortlessWalk::new(flow, maps, table, EVERY_DATABASE, PortlessRule::Any);
    maps.walk_members(&mut walk);
    if walk.allowing != NO_RULE {
        Decision::new(Reason::Allowed, walk.allowing)
    } else if walk.monitoring != NO_RULE {
        Decision::new(Reason::WouldDeny, walk.monitoring)
    } else if walk.met & (EVALUATED | BLOCKED | REFUSED) == EVALUATED | BLOCKED {
        Decision::new(Reason::Blocked, walk.blocking)
    } else {
        Decision::without_rule(Reason::Closed)
    }
}

impl<'f, 'a, M: Maps<'a>> PortlessWalk<'f, 'a, M> {
    #[inline(always)]
    fn new(flow: &'f Flow, maps: M, table: M::Table, key: EndpointKey, rule: PortlessRule) -> Self {
        let block = maps.block(flow, EVERY_ENDPOINT);
        // Without a branch: the verifier would follow the walk on both ways.
        let met = block.is_found() * (BLOCKED | BLOCKED_EVERYWHERE);
        let every = if rule == PortlessRule::Every { EVERY } else { 0 };
        Self {
            maps,
            table,
            flow,
            key,
            met: met | every,
            allowing: NO_RULE,
            monitoring: NO_RULE,
            refusing: NO_RULE,
            blocking: block.rule(),
        }
    }

    /// Evaluates the rows of the index, of which the first is known. Most addresses have one database: only for more does
    /// it enter the kernel's loop, which costs more than such a row.
    #[inline(always)]
    fn run(&mut self, first: &Endpoint) {
        self.key.port = 1;
        if self.evaluate_row(first) && self.evaluate() {
            self.maps.walk_members(self);
        }
    }

    /// Evaluates the next row; returns whether the walk continues.
    #[inline(always)]
    pub fn evaluate(&mut self) -> bool {
        let Some(member) = self.table.row(&self.key) else { return false };
        self.key.port += 1;
        self.evaluate_row(member)
    }

    #[inline(always)]
    fn evaluate_row(&mut self, member: &Endpoint) -> bool {
        if member.mode == TOMBSTONE {
            self.met |= CLOSED;
            return true;
        }
        self.met |= EVALUATED;
        if self.met & BLOCKED_EVERYWHERE != 0 {
            return false;
        }
        if let Some(rule) = self.maps.blocked_at_member(self.flow, member.slot) {
            self.blocking = rule;
            self.met |= BLOCKED;
            return self.met & EVERY == 0;
        }
        let searched = self.maps.may_allow(self.flow, member.slot);
        let rule = if searched { self.maps.source_rule(self.flow, member.slot) } else { None };
        match rule {
            Some(rule) => {
                self.allowing = rule;
                self.met & EVERY != 0
            }
            None if member.mode == MONITOR => {
                self.monitoring = member.default_counter;
                true
            }
            None => {
                self.refusing = member.default_counter;
                self.met |= REFUSED;
                self.met & EVERY == 0
            }
        }
    }

    #[inline(always)]
    fn decision(&self, rule: PortlessRule) -> Decision {
        match rule {
            PortlessRule::Any if self.met & EVALUATED == 0 => Decision::without_rule(Reason::NotProtected),
            PortlessRule::Any if self.allowing != NO_RULE => Decision::new(Reason::Allowed, self.allowing),
            PortlessRule::Any if self.monitoring != NO_RULE => {
                Decision::new(Reason::WouldDeny, self.monitoring)
            }
            PortlessRule::Any if self.met & REFUSED != 0 => Decision::new(Reason::Fragment, self.refusing),
            PortlessRule::Any => Decision::new(Reason::Blocked, self.blocking),
            PortlessRule::Every if self.met & CLOSED != 0 => Decision::without_rule(Reason::NoPort),
            PortlessRule::Every if self.met & EVALUATED == 0 => Decision::without_rule(Reason::NotProtected),
            PortlessRule::Every if self.met & REFUSED != 0 => Decision::new(Reason::NoPort, self.refusing),
            PortlessRule::Every if self.met & BLOCKED != 0 => Decision::new(Reason::Blocked, self.blocking),
            PortlessRule::Every if self.monitoring != NO_RULE => {
                Decision::new(Reason::WouldDeny, self.monitoring)
            }
            PortlessRule::Every => Decision::new(Reason::Allowed, self.allowing),
        }
    }
}
