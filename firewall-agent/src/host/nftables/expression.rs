//! Expressions of a rule that rewrite the destination.

use std::ops::RangeInclusive;

use anyhow::Result;

use super::attributes::{Attributes, ip};
use super::condition::Registers;
use super::xtables;
use crate::audit::{NewPorts, Translation};

const NFTA_EXPR_NAME: u16 = 1;
const NFTA_EXPR_DATA: u16 = 2;

const NFTA_NAT_TYPE: u16 = 1;
const NFTA_NAT_REG_ADDR_MIN: u16 = 3;
const NFTA_NAT_REG_PROTO_MIN: u16 = 5;
const NFTA_NAT_REG_PROTO_MAX: u16 = 6;
const NFT_NAT_DNAT: u32 = 1;

const NFTA_REDIR_REG_PROTO_MIN: u16 = 1;
const NFTA_REDIR_REG_PROTO_MAX: u16 = 2;

const NFTA_TPROXY_REG_ADDR: u16 = 2;
const NFTA_TPROXY_REG_PORT: u16 = 3;

/// The rewrite of the rule with these expressions, without its table and chain; `None` when it rewrites no destination.
pub(super) fn translation(elements: &[&[u8]]) -> Result<Option<Translation>> {
    let mut registers = Registers::default();
    let mut found = Translation {
        rule: String::new(),
        protocol: None,
        address: None,
        port: None,
        new_address: None,
        new_ports: NewPorts::Unchanged,
    };
    for element in elements {
        let expression = Attributes::new(element);
        let name = expression.text(NFTA_EXPR_NAME)?.unwrap_or_default();
        let data = expression.inside(NFTA_EXPR_DATA)?;
        let (address, ports) = match name.as_str() {
            "nat" if data.wire_number(NFTA_NAT_TYPE)? == Some(NFT_NAT_DNAT) => {
                (Some(NFTA_NAT_REG_ADDR_MIN), [NFTA_NAT_REG_PROTO_MIN, NFTA_NAT_REG_PROTO_MAX])
            }
            "redir" => (None, [NFTA_REDIR_REG_PROTO_MIN, NFTA_REDIR_REG_PROTO_MAX]),
            "tproxy" => (Some(NFTA_TPROXY_REG_ADDR), [NFTA_TPROXY_REG_PORT; 2]),
            "target" => {
                if xtables::target(data, &mut found)? {
                    return Ok(Some(found));
                }
                continue;
            }
            "match" => {
                xtables::condition(data, &mut found)?;
                continue;
            }
            other => {
                registers.follow(other, data, &mut found)?;
                continue;
            }
        };
        let address = address.map(|number| data.wire_number(number)).transpose()?.flatten();
        found.new_address = registers.value(address).and_then(ip);
        found.new_ports = new_ports(&registers, data.wire_number(ports[0])?, data.wire_number(ports[1])?);
        return Ok(Some(found));
    }
    Ok(None)
}

fn new_ports(registers: &Registers, first: Option<u32>, last: Option<u32>) -> NewPorts {
    let Some(first) = first else { return NewPorts::Unchanged };
    let port = |register| registers.value(register)?.first_chunk().map(|port| u16::from_be_bytes(*port));
    match (port(Some(first)), port(last.or(Some(first)))) {
        (Some(first), Some(last)) => NewPorts::To(RangeInclusive::new(first, last)),
        _ => NewPorts::Unknown,
    }
}
