//! Entries of a table: rules, and the heads of chains.

use anyhow::{Context as _, Result, ensure};
use netlink_packet_core::parse_ip;

use super::family::{Family, Info};
use crate::audit::{Masquerade, Rule, Translation};
use crate::host::xtables::{Effect, condition, target};
use crate::rules::Protocol;

const HOOKS: [&str; 5] = ["PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"];
/// Hooks of packets that the host sends.
const OUTGOING: [&str; 2] = ["OUTPUT", "POSTROUTING"];
/// `struct xt_entry_match` and `struct xt_entry_target` before their data: length, name, revision.
const EXTENSION: usize = 32;
const REVISION: usize = 31;
/// The target at the head of a user's chain, whose name is its data.
const HEAD: &str = "ERROR";
const INVERTED_DESTINATION: u8 = 0x10;
const INVERTED_PROTOCOL: u8 = 0x40;

/// The rules of a table that matter here.
pub(super) fn rules(family: &Family, table: &str, info: &Info, entries: &[u8]) -> Result<Vec<Rule>> {
    let (mut found, mut at) = (Vec::new(), 0);
    let (mut chain, mut number) = (String::new(), 0);
    while at < entries.len() {
        let entry = entries.get(at..).unwrap_or_default();
        let short = |offset: usize| {
            let bytes = entry.get(offset..).and_then(|bytes| bytes.first_chunk()).context("short entry")?;
            Ok::<_, anyhow::Error>(usize::from(u16::from_ne_bytes(*bytes)))
        };
        let (to_target, to_next) = (short(family.target_offset)?, short(family.target_offset + 2)?);
        ensure!(to_target >= family.length && to_next >= to_target + EXTENSION, "malformed entry");
        let entry = entry.get(..to_next).context("short entry")?;
        let starts =
            |hook: &usize| info.valid_hooks >> hook & 1 == 1 && usize::try_from(info.hooks[*hook]) == Ok(at);
        if let Some(hook) = (0..HOOKS.len()).find(starts) {
            (chain, number) = (HOOKS[hook].to_owned(), 0);
        }
        let (name, revision, data) = extension(entry.get(to_target..).unwrap_or_default())?;
        if name == HEAD {
            (chain, number) = (text(data), 0);
        } else {
            number += 1;
            let mut translation = conditions(family, entry, to_target)?;
            translation.rule = format!("{}: {table} {chain}, rule {number}", family.program);
            match target(&name, revision, data, &mut translation) {
                // What the host sends has passed no program, and is not of other hosts.
                Some(Effect::Destination) if OUTGOING.contains(&chain.as_str()) => {}
                Some(Effect::Destination) => found.push(Rule::Translation(translation)),
                Some(Effect::SourcePorts(ports)) => {
                    let Translation { rule, protocol, .. } = translation;
                    found.push(Rule::Masquerade(Masquerade { rule, protocol, ports }));
                }
                None => {}
            }
        }
        at += to_next;
    }
    Ok(found)
}

/// Destination, protocol and port of a rule, as far as they are plain.
fn conditions(family: &Family, entry: &[u8], end: usize) -> Result<Translation> {
    let mut found = Translation::default();
    let field = |at: usize, length: usize| entry.get(at..at + length).context("short entry");
    let inversions = *field(family.inversions, 1)?.first().context("short entry")?;
    let mask = field(family.destination_mask, family.address)?;
    if mask.iter().all(|byte| *byte == u8::MAX) && inversions & INVERTED_DESTINATION == 0 {
        found.address = Some(parse_ip(field(family.destination, family.address)?)?);
    }
    if inversions & INVERTED_PROTOCOL == 0 {
        let number = field(family.protocol, 2)?.first_chunk().map(|bytes| u16::from_ne_bytes(*bytes));
        found.protocol = match number.map(i32::from) {
            Some(libc::IPPROTO_TCP) => Some(Protocol::Tcp),
            Some(libc::IPPROTO_UDP) => Some(Protocol::Udp),
            _ => None,
        };
    }
    let mut rest = entry.get(family.length..end).unwrap_or_default();
    while !rest.is_empty() {
        let (name, _, data) = extension(rest)?;
        condition(&name, data, &mut found);
        rest = rest.get(EXTENSION + data.len()..).unwrap_or_default();
    }
    Ok(found)
}

/// Name, revision and data of the first match or target.
fn extension(bytes: &[u8]) -> Result<(String, u32, &[u8])> {
    let length = usize::from(u16::from_ne_bytes(*bytes.first_chunk().context("short extension")?));
    let whole = bytes.get(..length).filter(|whole| whole.len() >= EXTENSION).context("short extension")?;
    let (head, data) = whole.split_at(EXTENSION);
    Ok((text(&head[2..REVISION]), u32::from(head[REVISION]), data))
}

/// Text up to its NUL.
fn text(bytes: &[u8]) -> String {
    let text = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(text).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const INFO: Info = Info { valid_hooks: 0b11, hooks: [0, 0, 0, 0, 0] };

    /// A rule of IPv4 with a target, and another length if set.
    fn entry(name: &str, length: Option<u16>) -> Vec<u8> {
        let family = &Family::ALL[0];
        let mut bytes = vec![0; family.length + EXTENSION];
        let whole = u16::try_from(bytes.len()).unwrap();
        let target = u16::try_from(family.length).unwrap();
        bytes.splice(family.target_offset..family.target_offset + 2, target.to_ne_bytes());
        bytes.splice(
            family.target_offset + 2..family.target_offset + 4,
            length.unwrap_or(whole).to_ne_bytes(),
        );
        bytes.splice(family.length..family.length + 2, u16::try_from(EXTENSION).unwrap().to_ne_bytes());
        bytes.splice(family.length + 2..family.length + 2 + name.len(), name.bytes());
        bytes
    }

    #[test]
    fn malformed_entries_are_an_error_and_end() {
        let read = |entries: &[u8]| rules(&Family::ALL[0], "nat", &INFO, entries);
        assert_eq!(read(&[]).unwrap(), []);
        let two = [entry("ACCEPT", None), entry("REDIRECT", None)].concat();
        let [Rule::Translation(found)] = &read(&two).unwrap()[..] else { panic!("{:?}", read(&two)) };
        assert_eq!(found.rule, "iptables-legacy: nat PREROUTING, rule 2");
        for malformed in [
            vec![0; 200],
            two[..200].to_vec(),
            entry("ACCEPT", Some(0)),
            entry("ACCEPT", Some(112)),
            entry("ACCEPT", Some(u16::MAX)),
        ] {
            assert!(read(&malformed).is_err(), "{malformed:?}");
        }
    }
}
