//! IPsec policies and states for incoming packets, by xfrm netlink.
//!
//! Reads fields by offset and attributes by number: netlink-packet-route covers rtnetlink, not this protocol.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;

use anyhow::{Context as _, Result};
use netlink_packet_core::parse_ip;

use super::link::attributes;
use super::request::{Message, dump};
use crate::audit::{Unwrapping, UnwrappingKind};

const NETLINK_XFRM: isize = 6;

// Of <linux/xfrm.h>: message types, the requests with their least lengths in bytes, and offsets in the answers.
const XFRM_MSG_GETSA: (u16, usize) = (18, 24);
const XFRM_MSG_GETPOLICY: (u16, usize) = (21, 64);
const XFRMA_TMPL: u16 = 5;
const XFRM_POLICY_IN: u8 = 0;
const XFRM_POLICY_ALLOW: u8 = 0;

/// `struct xfrm_selector`: destination, source, and their prefix lengths and family.
const SELECTOR: Selector = Selector { destination: 0, source: 16, family: 40, lengths: [42, 43] };
/// Fields and length of `struct xfrm_userpolicy_info`.
const POLICY: Policy = Policy { direction: 160, action: 161, length: 168 };
/// Fields of `struct xfrm_usersa_info`: the identity and the source behind its selector.
const STATE: State =
    State { destination: 56, spi: 72, protocol: 76, source: 80, family: 212, mode: 214, length: 224 };

struct Selector {
    destination: usize,
    source: usize,
    family: usize,
    /// Of destination and source.
    lengths: [usize; 2],
}

struct Policy {
    direction: usize,
    action: usize,
    length: usize,
}

struct State {
    destination: usize,
    spi: usize,
    protocol: usize,
    source: usize,
    family: usize,
    mode: usize,
    length: usize,
}

/// Policies that expect decapsulated packets, and states to the addresses of this host, each once.
///
/// # Errors
/// When the kernel refuses, as it does without CAP_NET_ADMIN, or the reply is malformed.
pub fn ipsec(is_own: impl Fn(IpAddr) -> bool) -> Result<Vec<Unwrapping>> {
    let ask = |(kind, length)| match dump(NETLINK_XFRM, Message { kind, body: vec![0; length] }) {
        Err(error) if has_code(&error, libc::EPROTONOSUPPORT) => Ok(Vec::new()),
        Err(error) if has_code(&error, libc::EPERM) => {
            Err(error.context("reading them requires CAP_NET_ADMIN"))
        }
        answer => answer,
    };
    let mut found = BTreeSet::new();
    for message in ask(XFRM_MSG_GETPOLICY)? {
        found.extend(policy(&message.body)?);
    }
    for message in ask(XFRM_MSG_GETSA)? {
        found.extend(state(&message.body, &is_own)?);
    }
    Ok(found.into_iter().map(|object| Unwrapping { kind: UnwrappingKind::Ipsec, object }).collect())
}

fn policy(body: &[u8]) -> Result<Option<String>> {
    let at = |at: usize| body.get(at).copied().context("short policy");
    if at(POLICY.direction)? != XFRM_POLICY_IN || at(POLICY.action)? != XFRM_POLICY_ALLOW {
        return Ok(None);
    }
    // A policy without a template lets packets pass that were never encrypted.
    let list = attributes(body.get(POLICY.length..).unwrap_or_default())?;
    if !list.iter().any(|attribute| attribute.kind() == XFRMA_TMPL) {
        return Ok(None);
    }
    let family = family(body, SELECTOR.family)?;
    let [destination, source] = SELECTOR.lengths;
    Ok(Some(format!(
        "xfrm policy: in, {}/{} → {}/{}",
        address(body, SELECTOR.source, family)?,
        at(source)?,
        address(body, SELECTOR.destination, family)?,
        at(destination)?
    )))
}

/// Without the SPI, which changes with every new key.
fn state(body: &[u8], is_own: impl Fn(IpAddr) -> bool) -> Result<Option<String>> {
    let at = |at: usize| body.get(at).copied().context("short state");
    at(STATE.length - 1)?;
    let family = family(body, STATE.family)?;
    let destination = address(body, STATE.destination, family)?;
    if !is_own(destination) && !destination.is_unspecified()
        || body.get(STATE.spi..STATE.spi + 4) == Some(&[0; 4])
    {
        return Ok(None);
    }
    let protocol = match i32::from(at(STATE.protocol)?) {
        libc::IPPROTO_ESP => "esp",
        libc::IPPROTO_AH => "ah",
        libc::IPPROTO_COMP => "comp",
        _ => "other",
    };
    let mode = match at(STATE.mode)? {
        0 => "transport",
        1 => "tunnel",
        4 => "beet",
        _ => "other",
    };
    let source = address(body, STATE.source, family)?;
    Ok(Some(format!("xfrm state: {source} → {destination}, {protocol} {mode}")))
}

fn family(body: &[u8], at: usize) -> Result<i32> {
    let family = body.get(at..).and_then(|bytes| bytes.first_chunk()).context("short answer")?;
    Ok(i32::from(u16::from_ne_bytes(*family)))
}

/// An `xfrm_address_t`: IPv4 uses its first four bytes.
fn address(body: &[u8], at: usize, family: i32) -> Result<IpAddr> {
    let length = if family == libc::AF_INET6 { 16 } else { 4 };
    Ok(parse_ip(body.get(at..at + length).context("short answer")?)?)
}

fn has_code(error: &anyhow::Error, code: i32) -> bool {
    let codes = error.chain().filter_map(|cause| cause.downcast_ref::<io::Error>()?.raw_os_error());
    codes.into_iter().any(|found| found == code)
}

#[cfg(test)]
#[cfg(target_endian = "little")]
mod tests {
    use super::*;

    /// Answers of Linux 6.18 after `ip xfrm policy add src 192.0.2.20/32 dst 192.0.2.10/32 dir in tmpl src 192.0.2.20 dst
    /// 192.0.2.10 proto esp mode tunnel`, and `ip xfrm state allocspi` of the same state.
    const POLICY_IN: &str = "c000020a000000000000000000000000c0000214000000000000000000000000000000000000000002002020000000000000\
        000000000000ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff000000000000000000000000\
        000000000000000000000000000000000000000000000000000000000000000000000000a04e0a6b00000000000000000000\
        00000000000008000000000000000000000044000500c000020a000000000000000000000000000000003200000002000000\
        c00002140000000000000000000000000000000001000000ffffffffffffffffffffffff0a0010000000000000000000";
    const TUNNEL: &str = "c000020a000000000000000000000000c0000214000000000000000000000000000000000000000000002020000000000000\
        000000000000c000020a0000000000000000000000000000018b32000000c0000214000000000000000000000000ffffffff\
        ffffffffffffffffffffffffffffffffffffffffffffffffffffffff00000000000000001e00000000000000000000000000\
        0000000000000000000000000000000000000000000000000000a04e0a6b0000000000000000000000000000000000000000\
        00000000000000000000000002000100000000000000000010000a00000000000000000000000000";

    /// The bytes with another one at this offset.
    fn with(mut bytes: Vec<u8>, at: usize, value: u8) -> Vec<u8> {
        bytes[at] = value;
        bytes
    }

    #[test]
    fn recorded_policies_count_if_they_expect_decapsulated_packets() {
        let own = hex::decode(POLICY_IN).unwrap();
        let expected = "xfrm policy: in, 192.0.2.20/32 → 192.0.2.10/32";
        assert_eq!(policy(&own).unwrap().as_deref(), Some(expected));
        for (text, other) in [
            ("out", with(own.clone(), POLICY.direction, 1)),
            ("block", with(own.clone(), POLICY.action, 1)),
            ("no template", own[..POLICY.length].to_vec()),
        ] {
            assert_eq!(policy(&other).unwrap(), None, "{text}");
        }
        assert!(policy(&own[..160]).is_err());
    }

    #[test]
    fn recorded_states_count_if_they_end_here() {
        let tunnel = hex::decode(TUNNEL).unwrap();
        let here = |address: IpAddr| address.to_string() == "192.0.2.10";
        let expected = "xfrm state: 192.0.2.20 → 192.0.2.10, esp tunnel";
        assert_eq!(state(&tunnel, here).unwrap().as_deref(), Some(expected));
        let transport = state(&with(tunnel.clone(), STATE.mode, 0), here).unwrap();
        assert_eq!(transport.as_deref(), Some("xfrm state: 192.0.2.20 → 192.0.2.10, esp transport"));
        assert_eq!(state(&tunnel, |_| false).unwrap(), None, "to another host");
        assert!(state(&tunnel[..200], here).is_err());
    }
}
