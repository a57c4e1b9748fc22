//! nftables rules that rewrite destinations, including those of iptables on nftables.

mod attributes;
mod condition;
mod expression;
mod xtables;

use std::io;

use anyhow::{Context as _, Result};
use netlink_sys::protocols::NETLINK_NETFILTER;

use self::attributes::Attributes;
use self::expression::translation;
use super::netlink::{Message, dump};
use crate::audit::Translation;

const NFNL_SUBSYS_NFTABLES: u16 = 10;
const NFT_MSG_GETRULE: u16 = 7;
/// Family, version, resource id.
const NFGENMSG: usize = 4;

const NFTA_RULE_TABLE: u16 = 1;
const NFTA_RULE_CHAIN: u16 = 2;
const NFTA_RULE_HANDLE: u16 = 3;
const NFTA_RULE_EXPRESSIONS: u16 = 4;
const NFTA_LIST_ELEM: u16 = 1;

/// Every destination rewrite of this network namespace, in all tables of all families.
///
/// # Errors
/// When the kernel refuses, as it does without CAP_NET_ADMIN, or the reply is malformed.
pub fn translations() -> Result<Vec<Translation>> {
    let kind = NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETRULE;
    let rules = match dump(NETLINK_NETFILTER, Message { kind, body: vec![0; NFGENMSG] }) {
        Ok(rules) => rules,
        Err(error) if is(&error, libc::EPROTONOSUPPORT) => return Ok(Vec::new()),
        Err(error) if is(&error, libc::EPERM) => {
            return Err(error.context("reading them requires CAP_NET_ADMIN"));
        }
        Err(error) => return Err(error),
    };
    rules.iter().filter_map(|rule| read(rule).transpose()).collect()
}

/// Parses a rule; `None` when it rewrites no destination.
fn read(message: &Message) -> Result<Option<Translation>> {
    let (head, rest) = message.body.split_first_chunk::<NFGENMSG>().context("short answer")?;
    let rule = Attributes::new(rest);
    let elements = rule.inside(NFTA_RULE_EXPRESSIONS)?.all(NFTA_LIST_ELEM)?;
    let Some(mut found) = translation(&elements)? else { return Ok(None) };
    let text = |number| rule.text(number).map(Option::unwrap_or_default);
    let handle =
        rule.get(NFTA_RULE_HANDLE)?.and_then(|bytes| Some(u64::from_be_bytes(*bytes.first_chunk()?)));
    found.rule = format!(
        "nftables: {} {} {}, handle {}",
        family(i32::from(head[0])),
        text(NFTA_RULE_TABLE)?,
        text(NFTA_RULE_CHAIN)?,
        handle.unwrap_or_default()
    );
    Ok(Some(found))
}

fn family(number: i32) -> &'static str {
    match number {
        libc::NFPROTO_INET => "inet",
        libc::NFPROTO_IPV4 => "ip",
        libc::NFPROTO_IPV6 => "ip6",
        libc::NFPROTO_BRIDGE => "bridge",
        libc::NFPROTO_NETDEV => "netdev",
        _ => "?",
    }
}

fn is(error: &anyhow::Error, code: i32) -> bool {
    error.chain().any(|cause| {
        cause.downcast_ref::<io::Error>().is_some_and(|error| error.raw_os_error() == Some(code))
    })
}
