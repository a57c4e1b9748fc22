//! Portless packets: the verdict of all databases at the destination address.

use firewall_common::{EVERY_DATABASE, EndpointKey, MONITOR, NO_RULE, Reason, TOMBSTONE, packet::Flow};

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

/// Input and result of the walk over the address index.
#[repr(C)]
pub struct PortlessWalk<'a, M: Maps<'a>> {
    maps: M,
    table: M::Table,
    flow: Flow,
    key: EndpointKey,
    /// A [`PortlessRule`] as a plain number: with an enum, the compiler turns a comparison into arithmetic with bounds
    /// that the verifier does not follow.
    rule: u32,
    /// 1 once a database was evaluated.
    evaluated: u32,
    /// The rule counter of a database that allows the source.
    allowing: u32,
    /// The default counter of a database in monitor mode that does not allow it.
    monitoring: u32,
    /// The default counter of an enforcing database that does not allow it.
    refusing: u32,
    /// 1 when something at the address is closed.
    closed: u32,
}

#[inline(always)]
pub fn decide_portless<'a, M: Maps<'a>>(flow: &Flow, maps: M, rule: PortlessRule) -> Decision {
    let Some(table) = maps.live_table() else { return Decision::without_rule(Reason::NotProtected) };
    let Some(key) = table.members(flow) else { return Decision::without_rule(Reason::NotProtected) };
    let mut walk = PortlessWalk::new(flow, maps, table, key, rule);
    maps.walk_members(&mut walk);
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
        Decision { reason: Reason::Allowed, rule: walk.allowing }
    } else if walk.monitoring != NO_RULE {
        Decision { reason: Reason::WouldDeny, rule: walk.monitoring }
    } else {
        Decision::without_rule(Reason::Closed)
    }
}

impl<'a, M: Maps<'a>> PortlessWalk<'a, M> {
    #[inline(always)]
    fn new(flow: &Flow, maps: M, table: M::Table, key: EndpointKey, rule: PortlessRule) -> Self {
        Self {
            maps,
            table,
            flow: *flow,
            key,
            rule: rule as u32,
            evaluated: 0,
            allowing: NO_RULE,
            monitoring: NO_RULE,
            refusing: NO_RULE,
            closed: 0,
        }
    }

    /// Evaluates one row of the index; returns whether the walk continues.
    #[inline(always)]
    pub fn evaluate(&mut self, row: u32) -> bool {
        self.key.port = row as u16;
        let Some(member) = self.table.row(&self.key) else { return false };
        if member.mode == TOMBSTONE {
            self.closed = 1;
            return true;
        }
        self.evaluated = 1;
        match self.maps.source_rule(&self.flow, member.slot) {
            Some(rule) => {
                self.allowing = rule;
                self.rule != PortlessRule::Any as u32
            }
            None if member.mode == MONITOR => {
                self.monitoring = member.default_counter;
                true
            }
            None => {
                self.refusing = member.default_counter;
                self.rule != PortlessRule::Every as u32
            }
        }
    }

    #[inline(always)]
    fn decision(&self, rule: PortlessRule) -> Decision {
        match rule {
            PortlessRule::Any if self.evaluated == 0 => Decision::without_rule(Reason::NotProtected),
            PortlessRule::Any if self.allowing != NO_RULE => {
                Decision { reason: Reason::Allowed, rule: self.allowing }
            }
            PortlessRule::Any if self.monitoring != NO_RULE => {
                Decision { reason: Reason::WouldDeny, rule: self.monitoring }
            }
            PortlessRule::Any => Decision { reason: Reason::Fragment, rule: self.refusing },
            PortlessRule::Every if self.closed != 0 => Decision::without_rule(Reason::NoPort),
            PortlessRule::Every if self.refusing != NO_RULE => {
                Decision { reason: Reason::NoPort, rule: self.refusing }
            }
            PortlessRule::Every if self.evaluated == 0 => Decision::without_rule(Reason::NotProtected),
            PortlessRule::Every if self.monitoring != NO_RULE => {
                Decision { reason: Reason::WouldDeny, rule: self.monitoring }
            }
            PortlessRule::Every => Decision { reason: Reason::Allowed, rule: self.allowing },
        }
    }
}
