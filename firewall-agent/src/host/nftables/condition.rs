//! Conditions of a rule, as far as they are plain comparisons; any other counts as no condition.

use std::collections::BTreeMap;
use std::ops::Range;

use anyhow::Result;

use super::attributes::{Attributes, ip};
use crate::audit::{NewPorts, Translation};
use crate::rules::Protocol;

const NFTA_PAYLOAD_DREG: u16 = 1;
const NFTA_PAYLOAD_BASE: u16 = 2;
const NFTA_PAYLOAD_OFFSET: u16 = 3;
const NFTA_PAYLOAD_LEN: u16 = 4;
const NFTA_PAYLOAD_SREG: u16 = 5;
const NETWORK: u32 = 1;
const TRANSPORT: u32 = 2;

/// Offsets in bytes of the destination port, and of the destination address in IPv4 and IPv6.
const DESTINATION_PORT: Range<u32> = 2..4;
const DESTINATIONS: [Range<u32>; 2] = [16..20, 24..40];

const NFTA_META_DREG: u16 = 1;
const NFTA_META_KEY: u16 = 2;
const NFT_META_L4PROTO: u32 = 16;

const NFTA_CMP_SREG: u16 = 1;
const NFTA_CMP_OP: u16 = 2;
const NFTA_CMP_DATA: u16 = 3;
const NFT_CMP_EQ: u32 = 0;

const NFTA_IMMEDIATE_DREG: u16 = 1;
const NFTA_IMMEDIATE_DATA: u16 = 2;
const NFTA_DATA_VALUE: u16 = 1;

/// Content of a register.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Content {
    Protocol,
    Address,
    Port,
    Value(Vec<u8>),
}

/// The registers while a rule is evaluated from left to right.
#[derive(Debug, Default)]
pub(super) struct Registers(BTreeMap<u32, Content>);

impl Registers {
    /// Applies an expression. An unknown one clears every register: it may have written any.
    pub fn follow(&mut self, name: &str, data: Attributes<'_>, found: &mut Translation) -> Result<()> {
        match name {
            "payload" if data.get(NFTA_PAYLOAD_SREG)?.is_some() => self.write(data, found)?,
            "payload" => self.load(data.wire_number(NFTA_PAYLOAD_DREG)?, payload(data)?),
            "meta" => {
                let key = data.wire_number(NFTA_META_KEY)?;
                let content = (key == Some(NFT_META_L4PROTO)).then_some(Content::Protocol);
                self.load(data.wire_number(NFTA_META_DREG)?, content);
            }
            "immediate" => {
                let value = data.inside(NFTA_IMMEDIATE_DATA)?.get(NFTA_DATA_VALUE)?;
                let content = value.map(|value| Content::Value(value.to_vec()));
                self.load(data.wire_number(NFTA_IMMEDIATE_DREG)?, content);
            }
            "cmp" => self.compare(data, found)?,
            // These write no register.
            "counter" | "log" | "limit" | "lookup" | "range" | "quota" | "match" => {}
            _ => self.0.clear(),
        }
        Ok(())
    }

    /// The bytes that an `immediate` loaded into this register.
    pub fn value(&self, register: Option<u32>) -> Option<&[u8]> {
        match self.0.get(&register?)? {
            Content::Value(bytes) => Some(bytes),
            Content::Protocol | Content::Address | Content::Port => None,
        }
    }

    fn load(&mut self, register: Option<u32>, content: Option<Content>) {
        match (register, content) {
            (Some(register), Some(content)) => drop(self.0.insert(register, content)),
            (Some(register), None) => drop(self.0.remove(&register)),
            (None, _) => {}
        }
    }

    /// Records a write to the destination port or address. A write of other bytes, too, or of a value that the rule does
    /// not state, leaves the new destination unknown.
    fn write(&self, data: Attributes<'_>, found: &mut Translation) -> Result<()> {
        let base = data.wire_number(NFTA_PAYLOAD_BASE)?;
        let offset = data.wire_number(NFTA_PAYLOAD_OFFSET)?.unwrap_or_default();
        let length = data.wire_number(NFTA_PAYLOAD_LEN)?.unwrap_or_default();
        let meets = |field: Range<u32>| offset < field.end && field.start < offset.saturating_add(length);
        let value = self.value(data.wire_number(NFTA_PAYLOAD_SREG)?);
        if base == Some(TRANSPORT) && meets(DESTINATION_PORT) {
            let port = value.filter(|_| (offset, length) == (DESTINATION_PORT.start, 2));
            let port = port.and_then(|port| port.first_chunk()).map(|port| u16::from_be_bytes(*port));
            found.new_ports = port.map_or(NewPorts::Unknown, |port| NewPorts::To(port..=port));
            found.stateless = true;
        } else if base == Some(NETWORK) && DESTINATIONS.into_iter().any(meets) {
            found.new_address = value.and_then(ip);
            found.stateless = true;
        }
        Ok(())
    }

    fn compare(&self, data: Attributes<'_>, found: &mut Translation) -> Result<()> {
        let equal = data.wire_number(NFTA_CMP_OP)? == Some(NFT_CMP_EQ);
        let value = data.inside(NFTA_CMP_DATA)?.get(NFTA_DATA_VALUE)?;
        let register = data.wire_number(NFTA_CMP_SREG)?;
        let (true, Some(value), Some(register)) = (equal, value, register) else { return Ok(()) };
        match self.0.get(&register) {
            Some(Content::Protocol) => found.protocol = value.first().and_then(|number| protocol(*number)),
            Some(Content::Address) => found.address = ip(value),
            Some(Content::Port) => found.port = value.first_chunk().map(|port| u16::from_be_bytes(*port)),
            Some(Content::Value(_)) | None => {}
        }
        Ok(())
    }
}

fn payload(data: Attributes<'_>) -> Result<Option<Content>> {
    let base = data.wire_number(NFTA_PAYLOAD_BASE)?;
    let field = (data.wire_number(NFTA_PAYLOAD_OFFSET)?, data.wire_number(NFTA_PAYLOAD_LEN)?);
    Ok(match (base, field) {
        (Some(TRANSPORT), (Some(2), Some(2))) => Some(Content::Port),
        (Some(NETWORK), (Some(16), Some(4)) | (Some(24), Some(16))) => Some(Content::Address),
        (Some(NETWORK), (Some(9), Some(1))) => Some(Content::Protocol),
        _ => None,
    })
}

fn protocol(number: u8) -> Option<Protocol> {
    match i32::from(number) {
        libc::IPPROTO_TCP => Some(Protocol::Tcp),
        libc::IPPROTO_UDP => Some(Protocol::Udp),
        _ => None,
    }
}
