//! tc filters for received packets that redirect or rewrite them, by rtnetlink. eBPF programs of tcx are not among them.
//!
//! Reads attributes by number: netlink-packet-route 0.34 has types for the filters bpf (without their actions), flower,
//! matchall and u32, but none for the five other kinds in `ACTIONS`, nor for the actions bpf and pedit.

use anyhow::{Context as _, Result};
use libc::RTM_GETTFILTER;
use netlink_sys::protocols::NETLINK_ROUTE;

use super::link::{attributes, text};
use super::request::{Message, dump};
use crate::audit::{NewPorts, Redirect, Rule, Target, Translation};

/// `struct tcmsg`, in bytes: family, interface index, handle, parent, priority and protocol.
const HEADER: usize = 20;
const PRIORITY: usize = 18;
/// The place of filters for received packets, of the queueing disciplines `ingress` and `clsact`.
const INGRESS: u32 = 0xffff_fff2;

const TCA_KIND: u16 = 1;
const TCA_OPTIONS: u16 = 2;
const TCA_BPF_NAME: u16 = 7;
const TCA_BPF_ID: u16 = 11;
const TCA_ACT_KIND: u16 = 1;
const TCA_ACT_OPTIONS: u16 = 2;
const TCA_ACT_BPF_ID: u16 = 9;
const TCA_MIRRED_PARMS: u16 = 2;
/// Of `struct tc_mirred`: the action and the interface index.
const MIRRED_ACTION: usize = 20;
const MIRRED_INDEX: usize = 24;
const EGRESS: [u32; 2] = [1, 2];

/// Attributes with the actions, by the kind of the filter.
const ACTIONS: [(&str, u16); 9] = [
    ("basic", 3),
    ("bpf", 1),
    ("cgroup", 1),
    ("flow", 9),
    ("flower", 3),
    ("fw", 4),
    ("matchall", 2),
    ("route", 6),
    ("u32", 7),
];

/// Filters for packets that these interfaces, each with its index, receive.
///
/// # Errors
/// When a request fails, or a reply is malformed.
pub fn filters<'a>(interfaces: impl Iterator<Item = (u32, &'a str)>) -> Result<Vec<Rule>> {
    let mut found = Vec::new();
    for (index, name) in interfaces {
        let mut body = vec![0; HEADER];
        body.splice(4..8, index.to_ne_bytes());
        body.splice(12..16, INGRESS.to_ne_bytes());
        let filters = dump(NETLINK_ROUTE, Message { kind: RTM_GETTFILTER, body });
        for message in filters.with_context(|| format!("interface {name}"))? {
            found.extend(read(&message.body, name).with_context(|| format!("interface {name}"))?);
        }
    }
    Ok(found)
}

fn read(body: &[u8], interface: &str) -> Result<Vec<Rule>> {
    let list = attributes(body.get(HEADER..).context("short answer")?)?;
    let find = |number| list.iter().find(|attribute| attribute.kind() == number).map(|one| one.value());
    let priority = body.get(PRIORITY..).and_then(|bytes| Some(u16::from_ne_bytes(*bytes.first_chunk()?)));
    let kind = text(find(TCA_KIND).unwrap_or_default());
    let rule = format!("tc: {interface} ingress, pref {}, {kind}", priority.unwrap_or_default());
    // The head of a filter has none.
    let Some(options) = find(TCA_OPTIONS) else { return Ok(Vec::new()) };
    let options = attributes(options)?;
    let option = |number| options.iter().find(|attribute| attribute.kind() == number).map(|one| one.value());
    let from = || Some(interface.to_owned());
    let mut found = Vec::new();
    // A classifier of classic BPF has no id, and only reads.
    if kind == "bpf" && option(TCA_BPF_ID).is_some() {
        let rule = format!("{rule} {}", text(option(TCA_BPF_NAME).unwrap_or_default()));
        found.push(Rule::Redirect(Redirect { rule, from: from(), to: Target::Program }));
    }
    let known = ACTIONS.iter().find(|(name, _)| *name == kind);
    for action in attributes(known.and_then(|(_, number)| option(*number)).unwrap_or_default())? {
        let action = attributes(action.value())?;
        let part = |number| action.iter().find(|attribute| attribute.kind() == number).map(|one| one.value());
        let name = text(part(TCA_ACT_KIND).unwrap_or_default());
        let rule = format!("{rule}: {name}");
        match name.as_str() {
            "mirred" => {
                let to = target(part(TCA_ACT_OPTIONS).unwrap_or_default())?;
                found.push(Rule::Redirect(Redirect { rule, from: from(), to }));
            }
            "bpf" if is_program(part(TCA_ACT_OPTIONS).unwrap_or_default())? => {
                found.push(Rule::Redirect(Redirect { rule, from: from(), to: Target::Program }))
            }
            // They write into the packet; the new values are not read.
            "pedit" | "nat" => found.push(Rule::Translation(Translation {
                rule,
                new_ports: NewPorts::Unknown,
                stateless: true,
                ..Translation::default()
            })),
            _ => {}
        }
    }
    Ok(found)
}

/// Returns `true` for an action of eBPF, which has an id.
fn is_program(options: &[u8]) -> Result<bool> {
    Ok(attributes(options)?.iter().any(|attribute| attribute.kind() == TCA_ACT_BPF_ID))
}

fn target(options: &[u8]) -> Result<Target> {
    let list = attributes(options)?;
    let values = list.iter().find(|attribute| attribute.kind() == TCA_MIRRED_PARMS).context("no action")?;
    let number = |at: usize| {
        let bytes = values.value().get(at..).and_then(|bytes| bytes.first_chunk()).context("short action")?;
        Ok::<_, anyhow::Error>(u32::from_ne_bytes(*bytes))
    };
    let (action, index) = (number(MIRRED_ACTION)?, number(MIRRED_INDEX)?);
    Ok(if EGRESS.contains(&action) { Target::Sent(Some(index)) } else { Target::Received(index) })
}

#[cfg(test)]
#[cfg(target_endian = "little")]
mod tests {
    use super::*;

    /// Answers of Linux 6.18 to `tc filter show dev p0 ingress` after `tc filter add dev p0 ingress u32 match u32 0 0 action
    /// mirred ingress redirect dev lo`, and after one with `mirred egress mirror dev p1`.
    const HEAD: &str = "000000000300000000000000f2ffffff000300c0080001007533320008000b0000000000";
    const RECEIVED: &str = "000000000300000000080080f2ffffff000300c0080001007533320008000b0000000000e000020024000500010001000000\
        0000000000000000000000000000000000000000000000000000080002000000008008000b0008000000a8000700a4000100\
        0b0001006d697272656400004400040014000100000000000000000000000000000000001400070000000000000000000000\
        00000000000018000300000000000000000000000000000000000000000008000a0000000000480002002000020001000000\
        0000000004000000010000000100000003000000010000002400010065000000000000006500000000000000000000000000\
        00000000000000000000";
    const SENT: &str = "000000000300000000081080f2ffffff0003ffbf080001007533320008000b0000000000e000020024000500010001000000\
        0000000000000000000000000000000000000000000000000000080002000000108008000b0008000000a8000700a4000100\
        0b0001006d697272656400004400040014000100e867e701000000007e7a0600000000001400070000000000000000000000\
        00000000000018000300000000000000000000000000000000000000000008000a0000000000480002002000020002000000\
        0000000003000000010000000100000002000000020000002400010065000000000000000000000000000000000000000000\
        00005d00000000000000";

    fn attribute(number: u16, value: &[u8]) -> Vec<u8> {
        let length = u16::try_from(4 + value.len()).unwrap();
        let mut bytes = [&length.to_ne_bytes(), &number.to_ne_bytes(), value].concat();
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn filter(kind: &str, options: &[u8]) -> Vec<Rule> {
        let kind = format!("{kind}\0");
        let body =
            [vec![0; HEADER], attribute(TCA_KIND, kind.as_bytes()), attribute(TCA_OPTIONS, options)].concat();
        read(&body, "p0").unwrap()
    }

    fn action(kind: &str) -> Vec<u8> {
        attribute(1, &attribute(TCA_ACT_KIND, format!("{kind}\0").as_bytes()))
    }

    #[test]
    fn recorded_answers_are_read() {
        let redirect = |pref: u16, to| {
            let rule = format!("tc: p0 ingress, pref {pref}, u32: mirred");
            vec![Rule::Redirect(Redirect { rule, from: Some("p0".to_owned()), to })]
        };
        assert_eq!(read(&hex::decode(HEAD).unwrap(), "p0").unwrap(), []);
        assert_eq!(
            read(&hex::decode(RECEIVED).unwrap(), "p0").unwrap(),
            redirect(49152, Target::Received(1))
        );
        assert_eq!(read(&hex::decode(SENT).unwrap(), "p0").unwrap(), redirect(49151, Target::Sent(Some(2))));
        for cut in [10, HEADER + 3, 60] {
            assert!(read(&hex::decode(SENT).unwrap()[..cut], "p0").is_err(), "{cut}");
        }
    }

    #[test]
    fn programs_and_rewriting_actions_are_read() {
        let classic = attribute(TCA_BPF_NAME, b"steer.o\0");
        assert_eq!(filter("bpf", &classic), []);
        let bpf = filter("bpf", &[classic, attribute(TCA_BPF_ID, &[7, 0, 0, 0])].concat());
        let [Rule::Redirect(Redirect { rule, to: Target::Program, .. })] = bpf.as_slice() else {
            panic!("{bpf:?}")
        };
        assert_eq!(rule, "tc: p0 ingress, pref 0, bpf steer.o");
        let pedit = filter("matchall", &attribute(2, &action("pedit")));
        assert!(matches!(pedit.as_slice(), [Rule::Translation(one)] if one.stateless), "{pedit:?}");
        for (kind, number) in ACTIONS {
            assert!(!filter(kind, &attribute(number, &action("pedit"))).is_empty(), "{kind}");
        }
        let options = |attributes: &[u8]| {
            let parts = [attribute(TCA_ACT_KIND, b"bpf\0"), attribute(TCA_ACT_OPTIONS, attributes)].concat();
            filter("matchall", &attribute(2, &attribute(1, &parts)))
        };
        assert_eq!((options(&attribute(TCA_ACT_BPF_ID, &[7, 0, 0, 0])).len(), options(&[]).len()), (1, 0));
        assert_eq!(filter("matchall", &attribute(2, &action("gact"))), []);
    }
}
