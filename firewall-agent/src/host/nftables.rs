//! nftables rules that change the way of a packet, including those of iptables on nftables.

mod attributes;
mod chains;
mod condition;
mod expression;

use std::io;

use anyhow::{Context as _, Result};
use netlink_sys::protocols::NETLINK_NETFILTER;

use self::attributes::Attributes;
use self::chains::{Chains, Hook};
use self::expression::effects;
use super::netlink::{Message, dump};
use crate::audit::{Masquerade, Redirect, Rule, Translation};

const NFNL_SUBSYS_NFTABLES: u16 = 10;
const NFT_MSG_GETRULE: u16 = 7;
/// Family, version, resource id.
const NFGENMSG: usize = 4;

const NFTA_RULE_TABLE: u16 = 1;
const NFTA_RULE_CHAIN: u16 = 2;
const NFTA_RULE_HANDLE: u16 = 3;
const NFTA_RULE_EXPRESSIONS: u16 = 4;
const NFTA_LIST_ELEM: u16 = 1;

/// Every rule of this network namespace that rewrites destinations, chooses source ports or moves packets, in all tables of
/// all families.
///
/// # Errors
/// When the kernel refuses, as it does without CAP_NET_ADMIN, or the reply is malformed.
pub fn rules() -> Result<Vec<Rule>> {
    let rules = query(NFT_MSG_GETRULE)?;
    let chains = Chains::read()?;
    let mut found = Vec::new();
    for rule in &rules {
        found.extend(read(rule, &chains)?);
    }
    Ok(found)
}

/// Every object of this type; none where the kernel has no nftables.
fn query(kind: u16) -> Result<Vec<Message>> {
    let kind = NFNL_SUBSYS_NFTABLES << 8 | kind;
    match dump(NETLINK_NETFILTER, Message { kind, body: vec![0; NFGENMSG] }) {
        Err(error) if is(&error, libc::EPROTONOSUPPORT) => Ok(Vec::new()),
        Err(error) if is(&error, libc::EPERM) => Err(error.context("reading them requires CAP_NET_ADMIN")),
        answer => answer,
    }
}

/// The effects of a rule; none when it does nothing of the kind.
fn read(message: &Message, chains: &Chains) -> Result<Vec<Rule>> {
    let (head, rest) = message.body.split_first_chunk::<NFGENMSG>().context("short answer")?;
    let rule = Attributes::new(rest);
    let elements = rule.inside(NFTA_RULE_EXPRESSIONS)?.all(NFTA_LIST_ELEM)?;
    let mut effects = effects(&elements)?;
    if effects.is_empty() {
        return Ok(effects);
    }
    let text = |number| rule.text(number).map(Option::unwrap_or_default);
    let handle =
        rule.get(NFTA_RULE_HANDLE)?.and_then(|bytes| Some(u64::from_be_bytes(*bytes.first_chunk()?)));
    let (table, chain) = (text(NFTA_RULE_TABLE)?, text(NFTA_RULE_CHAIN)?);
    let hook = chains.hook(head[0], &table, &chain);
    // What the host sends has passed no program, and is not of other hosts.
    effects.retain(|one| matches!(one, Rule::Masquerade(_)) || !hook.is_some_and(|hook| hook.outgoing));
    let name = format!(
        "nftables: {} {table} {chain}, handle {}",
        family(i32::from(head[0])),
        handle.unwrap_or_default()
    );
    Ok(effects.into_iter().flat_map(|one| located(one, &name, hook)).collect())
}

/// The effect with the place of its rule; once for each interface that a redirect takes packets from.
fn located(effect: Rule, name: &str, hook: Option<&Hook>) -> Vec<Rule> {
    let rule = name.to_owned();
    match effect {
        Rule::Translation(one) => vec![Rule::Translation(Translation { rule, ..one })],
        Rule::Masquerade(one) => vec![Rule::Masquerade(Masquerade { rule, ..one })],
        Rule::Redirect(one) => {
            let devices = hook.map(|hook| hook.devices.clone()).unwrap_or_default();
            let from: Vec<Option<String>> =
                if devices.is_empty() { vec![None] } else { devices.into_iter().map(Some).collect() };
            let one = |from| Rule::Redirect(Redirect { rule: rule.clone(), from, to: one.to.clone() });
            from.into_iter().map(one).collect()
        }
    }
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
