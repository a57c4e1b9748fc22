//! Rules that move packets of one interface to another, past the program there.

use super::{Finding, Interface, Kind, interfaces};

/// One rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redirect {
    /// Location of the rule, for people.
    pub rule: String,
    /// Name of the interface whose received packets it moves; `None` if the rule does not state it.
    pub from: Option<String>,
    pub to: Target,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// Received by the interface with this index.
    Received(u32),
    /// Sent by the interface with this index; `None` if the rule does not state it.
    Sent(Option<u32>),
    /// An eBPF program decides, and may rewrite packets, too.
    Program,
}

pub(super) fn finding(all: &[Interface], one: &Redirect) -> Option<Finding> {
    let from = one.from.as_ref().and_then(|name| all.iter().find(|interface| interface.name == *name));
    let name_of = |index: u32| {
        let found = all.iter().find(|interface| interface.index == index);
        found.map_or_else(|| format!("interface {index}"), |interface| interface.name.clone())
    };
    // The program there has judged the packets; only another may have changed them since.
    let is_judged = from.is_some_and(|from| interfaces::is_filtered(from, all));
    let meaning = match one.to {
        Target::Program => {
            "an eBPF program behind the programs of this agent: it may redirect packets and rewrite \
             their addresses and ports, and the audit cannot read it"
                .to_owned()
        }
        Target::Received(_) | Target::Sent(_) if is_judged => return None,
        Target::Received(index) => format!(
            "moves packets that no program has judged to {}, as if received there: the program there does not see them",
            name_of(index)
        ),
        Target::Sent(index) => {
            let to = index.and_then(|index| all.iter().find(|interface| interface.index == index));
            // What a network card sends leaves this host.
            if to.is_some_and(|to| to.kind.is_none() && !to.loopback) {
                return None;
            }
            let to = index.map_or_else(|| "another interface".to_owned(), name_of);
            format!(
                "moves packets that no program has judged to {to}: a receiver behind it on this host gets them"
            )
        }
    };
    let advice = match one.to {
        Target::Program => {
            "find the owner of the program (`tc filter show dev DEV ingress`, `bpftool net`) and accept \
             it if it leaves protected ports alone"
        }
        Target::Received(_) | Target::Sent(_) => {
            "remove the rule, or filter the interface that it takes packets from"
        }
    };
    Some(Finding::new(Kind::Redirect, one.rule.clone(), meaning, advice.to_owned()))
}
