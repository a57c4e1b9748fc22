//! The reference decision: the expected verdict on a frame under a policy.

use std::net::IpAddr;

use crate::parsed_flow::{Aim, ParsedFlow, parse_flow};
use crate::policy::{Database, Owner, Policy};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The reason's public name.
    pub reason: &'static str,
    /// The rule that allowed a packet with a known port.
    pub rule: Option<u32>,
}

/// Decides on a whole frame, Ethernet header first.
pub fn decide(policy: &Policy, frame: &[u8]) -> Decision {
    match parse_flow(frame) {
        ParsedFlow::NotIp => because("not_ip"),
        ParsedFlow::VlanDepth => because("vlan_depth"),
        ParsedFlow::Malformed => because("malformed"),
        ParsedFlow::OtherProtocol => because("not_protected"),
        ParsedFlow::Aimed { source, destination, at: Aim::Port { protocol, port, opens } } => {
            at_port(policy, (source, destination), protocol, port, opens)
        }
        ParsedFlow::Aimed { source, destination, at } => {
            because(without_port(policy, source, destination, at))
        }
    }
}

fn because(reason: &'static str) -> Decision {
    Decision { reason, rule: None }
}

fn at_port(
    policy: &Policy,
    (source, destination): (IpAddr, IpAddr),
    protocol: u8,
    port: u16,
    opens: bool,
) -> Decision {
    match policy.owner(destination, port, protocol) {
        Some(Owner::Closed) => because("closed"),
        Some(Owner::Database(at)) if policy.is_blocked(source, at) => because("blocked"),
        Some(Owner::Database(at)) => {
            let database = &policy.databases[at];
            match database.rule_for(source) {
                Some(rule) => Decision { reason: "allowed", rule: Some(rule) },
                None if database.monitor => because("would_deny"),
                None => because("no_match"),
            }
        }
        None if policy.is_strict(port) => because("closed"),
        None if policy.is_guarded(port) && opens => because("closed"),
        None => because("not_protected"),
    }
}

fn without_port(policy: &Policy, source: IpAddr, destination: IpAddr, at: Aim) -> &'static str {
    let has_members = policy.members(destination).next().is_some();
    let closed = policy.closes_some_port(destination);
    let members = || policy.members(destination);
    let unblocked = || members().filter(|(at, _)| !policy.is_blocked(source, *at)).map(|(_, one)| one);
    match at {
        Aim::Truncated if has_members || closed => "malformed",
        Aim::NoPort if has_members || closed => "no_port",
        Aim::LaterFragment if has_members => {
            if unblocked().any(|database| database.rule_for(source).is_some()) {
                "allowed"
            } else if unblocked().any(|database| database.monitor) {
                "would_deny"
            } else if unblocked().next().is_some() {
                "fragment"
            } else {
                "blocked"
            }
        }
        Aim::Unreadable if closed => "no_port",
        Aim::Unreadable if has_members => {
            // Enforcing databases are asked first, those of one mode in the order of their ids.
            let mut asked: Vec<(usize, &Database)> = members().collect();
            asked.sort_by_key(|(at, database)| (database.monitor, *at));
            let allows = |database: &Database| database.rule_for(source).is_some();
            let refuses = |(at, database): &&(usize, &Database)| {
                policy.is_blocked(source, *at) || !database.monitor && !allows(database)
            };
            match asked.iter().find(refuses) {
                Some((at, _)) if policy.is_blocked(source, *at) => "blocked",
                Some(_) => "no_port",
                None if asked.iter().all(|(_, database)| allows(database)) => "allowed",
                None => "would_deny",
            }
        }
        Aim::Port { .. } | Aim::Truncated | Aim::NoPort | Aim::LaterFragment | Aim::Unreadable => {
            "not_protected"
        }
    }
}
