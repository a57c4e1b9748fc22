//! Expressions of a rule that rewrite the destination, choose source ports, or move the packet.

use std::ops::RangeInclusive;

use anyhow::Result;

use super::attributes::{Attributes, ip};
use super::condition::Registers;
use crate::audit::{Masquerade, NewPorts, Redirect, Rule, SourcePorts, Target, Translation};
use crate::host::xtables::{self, Effect};
use crate::rules::Protocol;

const NFTA_EXPR_NAME: u16 = 1;
const NFTA_EXPR_DATA: u16 = 2;

const NFTA_NAT_TYPE: u16 = 1;
const NFTA_NAT_REG_ADDR_MIN: u16 = 3;
const NFTA_NAT_REG_PROTO_MIN: u16 = 5;
const NFTA_NAT_REG_PROTO_MAX: u16 = 6;
const NFTA_NAT_FLAGS: u16 = 7;
const NFT_NAT_DNAT: u32 = 1;

const NFTA_REDIR_REG_PROTO_MIN: u16 = 1;
const NFTA_REDIR_REG_PROTO_MAX: u16 = 2;

const NFTA_TPROXY_REG_PORT: u16 = 3;

const NFTA_MASQ_FLAGS: u16 = 1;
const NFTA_MASQ_REG_PROTO_MIN: u16 = 2;
const NFTA_MASQ_REG_PROTO_MAX: u16 = 3;
/// Random and fully random.
const NF_NAT_RANGE_RANDOM: u32 = 4 | 16;

const NFTA_FWD_SREG_DEV: u16 = 1;
const NFTA_DUP_SREG_DEV: u16 = 2;

const NFTA_TARGET_NAME: u16 = 1;
const NFTA_TARGET_REV: u16 = 2;
const NFTA_TARGET_INFO: u16 = 3;
const NFTA_MATCH_NAME: u16 = 1;
const NFTA_MATCH_INFO: u16 = 3;

/// The effects of the rule with these expressions, without its table and chain.
pub(super) fn effects(elements: &[&[u8]]) -> Result<Vec<Rule>> {
    let mut registers = Registers::default();
    let (mut found, mut effects) = (Translation::default(), Vec::new());
    for element in elements {
        let expression = Attributes::new(element);
        let name = expression.text(NFTA_EXPR_NAME)?.unwrap_or_default();
        let data = expression.inside(NFTA_EXPR_DATA)?;
        let (address, ports) = match name.as_str() {
            "nat" if data.wire_number(NFTA_NAT_TYPE)? == Some(NFT_NAT_DNAT) => {
                (Some(NFTA_NAT_REG_ADDR_MIN), [NFTA_NAT_REG_PROTO_MIN, NFTA_NAT_REG_PROTO_MAX])
            }
            "redir" => (None, [NFTA_REDIR_REG_PROTO_MIN, NFTA_REDIR_REG_PROTO_MAX]),
            "tproxy" => (None, [NFTA_TPROXY_REG_PORT; 2]),
            "nat" => {
                let ports = [NFTA_NAT_REG_PROTO_MIN, NFTA_NAT_REG_PROTO_MAX];
                effects.push(masquerade(&registers, data, ports, (NFTA_NAT_FLAGS, found.protocol))?);
                continue;
            }
            "masq" => {
                let ports = [NFTA_MASQ_REG_PROTO_MIN, NFTA_MASQ_REG_PROTO_MAX];
                effects.push(masquerade(&registers, data, ports, (NFTA_MASQ_FLAGS, found.protocol))?);
                continue;
            }
            "fwd" => {
                effects.push(redirect(&registers, data.wire_number(NFTA_FWD_SREG_DEV)?));
                continue;
            }
            "dup" => {
                effects.push(redirect(&registers, data.wire_number(NFTA_DUP_SREG_DEV)?));
                continue;
            }
            "target" => {
                let name = data.text(NFTA_TARGET_NAME)?.unwrap_or_default();
                let revision = data.wire_number(NFTA_TARGET_REV)?.unwrap_or_default();
                let info = data.get(NFTA_TARGET_INFO)?.unwrap_or_default();
                match xtables::target(&name, revision, info, &mut found) {
                    Some(Effect::Destination) => effects.push(Rule::Translation(found.clone())),
                    Some(Effect::SourcePorts(ports)) => {
                        let (rule, protocol) = (String::new(), found.protocol);
                        effects.push(Rule::Masquerade(Masquerade { rule, protocol, ports }));
                    }
                    None => {}
                }
                continue;
            }
            "match" => {
                let name = data.text(NFTA_MATCH_NAME)?.unwrap_or_default();
                xtables::condition(&name, data.get(NFTA_MATCH_INFO)?.unwrap_or_default(), &mut found);
                continue;
            }
            other => {
                registers.follow(other, data, &mut found)?;
                continue;
            }
        };
        let address = address.map(|number| data.wire_number(number)).transpose()?.flatten();
        // TPROXY hands the packet as it is to another socket: its address is of the socket only.
        let is_unchanged = name == "tproxy";
        found.new_address = if is_unchanged { found.address } else { registers.value(address).and_then(ip) };
        found.new_ports = new_ports(&registers, data.wire_number(ports[0])?, data.wire_number(ports[1])?);
        found.stateless = false;
        effects.push(Rule::Translation(found.clone()));
    }
    // Writes into the packet; nothing ends the rule at them.
    if found.stateless {
        effects.push(Rule::Translation(found));
    }
    Ok(effects)
}

fn masquerade(
    registers: &Registers,
    data: Attributes<'_>,
    ports: [u16; 2],
    (flags, protocol): (u16, Option<Protocol>),
) -> Result<Rule> {
    let ports = new_ports(registers, data.wire_number(ports[0])?, data.wire_number(ports[1])?);
    let is_random = data.wire_number(flags)?.unwrap_or_default() & NF_NAT_RANGE_RANDOM != 0;
    let ports = match ports {
        NewPorts::To(ports) => SourcePorts::To(ports),
        // From a map: perhaps any.
        NewPorts::Unknown => SourcePorts::Random,
        NewPorts::Unchanged if is_random => SourcePorts::Random,
        NewPorts::Unchanged => SourcePorts::Unchanged,
    };
    Ok(Rule::Masquerade(Masquerade { rule: String::new(), protocol, ports }))
}

fn redirect(registers: &Registers, device: Option<u32>) -> Rule {
    let index = registers.value(device).and_then(|bytes| bytes.first_chunk());
    let to = Target::Sent(index.map(|index| u32::from_ne_bytes(*index)));
    Rule::Redirect(Redirect { rule: String::new(), from: None, to })
}

fn new_ports(registers: &Registers, first: Option<u32>, last: Option<u32>) -> NewPorts {
    let Some(first) = first else { return NewPorts::Unchanged };
    let port = |register| registers.value(register)?.first_chunk().map(|port| u16::from_be_bytes(*port));
    match (port(Some(first)), port(last.or(Some(first)))) {
        (Some(first), Some(last)) => NewPorts::To(RangeInclusive::new(first, last)),
        _ => NewPorts::Unknown,
    }
}
