//! Targets and matches of iptables, which iptables-nft stores in their old binary form.

use anyhow::Result;

use super::attributes::{Attributes, ip};
use super::condition::protocol;
use crate::audit::{NewPorts, Translation};

const NFTA_TARGET_NAME: u16 = 1;
const NFTA_TARGET_REV: u16 = 2;
const NFTA_TARGET_INFO: u16 = 3;
const NFTA_MATCH_NAME: u16 = 1;
const NFTA_MATCH_INFO: u16 = 3;

const NF_NAT_RANGE_MAP_IPS: u32 = 1;
const NF_NAT_RANGE_PROTO_SPECIFIED: u32 = 2;

/// Offsets in bytes of a target's range: flags, first address and its length, first port, last port.
struct Shape {
    flags: usize,
    address: usize,
    length: usize,
    first: usize,
    last: usize,
}

/// `nf_nat_range`, `nf_nat_range2`.
const RANGE: Shape = Shape { flags: 0, address: 4, length: 16, first: 36, last: 38 };
/// `nf_nat_ipv4_multi_range_compat`.
const COMPAT: Shape = Shape { flags: 4, address: 8, length: 4, first: 16, last: 18 };
const COMPAT_BYTES: usize = 20;

/// Returns whether the target rewrites the destination; if so, fills in `found` as far as the target is known.
pub(super) fn target(data: Attributes<'_>, found: &mut Translation) -> Result<bool> {
    let name = data.text(NFTA_TARGET_NAME)?.unwrap_or_default();
    if !["DNAT", "REDIRECT", "TPROXY"].contains(&name.as_str()) {
        return Ok(false);
    }
    let info = data.get(NFTA_TARGET_INFO)?.unwrap_or_default();
    let revision = data.wire_number(NFTA_TARGET_REV)?.unwrap_or_default();
    found.new_ports = NewPorts::Unknown;
    if name == "TPROXY" {
        return Ok(true);
    }
    let compat = revision == 0 && info.len() < RANGE.last + 2 && info.len() >= COMPAT_BYTES;
    if let Some((address, ports)) = range(info, if compat { &COMPAT } else { &RANGE }) {
        (found.new_address, found.new_ports) = (address.and_then(address_of), ports);
    }
    Ok(true)
}

/// Parses the conditions of `-p tcp --dport`: a range of ports, used only when it is a single one.
pub(super) fn condition(data: Attributes<'_>, found: &mut Translation) -> Result<()> {
    let name = data.text(NFTA_MATCH_NAME)?.unwrap_or_default();
    let info = data.get(NFTA_MATCH_INFO)?.unwrap_or_default();
    let number = match name.as_str() {
        "tcp" => libc::IPPROTO_TCP,
        "udp" => libc::IPPROTO_UDP,
        _ => return Ok(()),
    };
    found.protocol = u8::try_from(number).ok().and_then(protocol);
    // Source ports first, then destination ports, then, among others, the inversion flags.
    let inverted = info.get(if name == "tcp" { 11 } else { 8 }).copied().unwrap_or(1);
    if let (Some(first), Some(last), 0) = (host_port(info, 4), host_port(info, 6), inverted)
        && first == last
    {
        found.port = Some(first);
    }
    Ok(())
}

fn range<'a>(info: &'a [u8], shape: &Shape) -> Option<(Option<&'a [u8]>, NewPorts)> {
    let flags = u32::from_ne_bytes(*info.get(shape.flags..)?.first_chunk()?);
    let address = info.get(shape.address..shape.address + shape.length)?;
    let port = |at: usize| Some(u16::from_be_bytes(*info.get(at..)?.first_chunk()?));
    let ports = if flags & NF_NAT_RANGE_PROTO_SPECIFIED != 0 {
        NewPorts::To(port(shape.first)?..=port(shape.last)?)
    } else {
        NewPorts::Unchanged
    };
    Some(((flags & NF_NAT_RANGE_MAP_IPS != 0).then_some(address), ports))
}

/// Parses an address from a union of both families: IPv4 uses only the first four bytes.
fn address_of(bytes: &[u8]) -> Option<std::net::IpAddr> {
    let (v4, rest) = bytes.split_at_checked(4)?;
    ip(if rest.iter().all(|byte| *byte == 0) { v4 } else { bytes })
}

/// Reads a port of an iptables match, which is in host byte order.
fn host_port(info: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(*info.get(at..)?.first_chunk()?))
}
