//! Packets with verdicts that no publish may change, sent repeatedly.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use firewall_agent::bpf::Probe;
use firewall_common::Reason;
use firewall_tests::packets::{Segment, frame, protocol};

use crate::kernel;
use crate::rule_sets::{
    ADDRESS4, ADDRESS6, ALWAYS4, ALWAYS6, APART4, APART6, FIRST4, FIRST6, NEIGHBOUR_PORT, NEVER4, NEVER6,
    PORT,
};

const CLIENT_PORT: u16 = 40_000;
const GUARDED_PORT: u16 = 30_500;
const OPEN_PORT: u16 = 8_080;

pub struct Question {
    pub name: &'static str,
    pub frame: Vec<u8>,
    /// Every correct reason while the rule sets alternate.
    pub right: &'static [Reason],
}

/// Number of verdicts, and the wrong ones.
#[derive(Debug, Default)]
pub struct Answers {
    pub verdicts: u64,
    pub wrong: Vec<String>,
}

/// Returns the packets of both families with their correct reasons.
pub fn questions() -> Vec<Question> {
    use Reason::{Allowed, Closed, Fragment, NoMatch, NotProtected};
    let to = |name, right, [v4, v6]: [Vec<u8>; 2]| {
        [Question { name, right, frame: v4 }, Question { name, right, frame: v6 }]
    };
    let (always, never) = ((ALWAYS4, ALWAYS6), (NEVER4, NEVER6));
    [
        to("a source allowed in both sets", &[Allowed], syn(always, PORT)),
        to("a source allowed in neither", &[NoMatch], syn(never, PORT)),
        to("a guarded port", &[Closed], syn(always, GUARDED_PORT)),
        to("an unprotected port", &[NotProtected], syn(never, OPEN_PORT)),
        to("a neighbour that comes and goes", &[Allowed, Closed], syn(always, NEIGHBOUR_PORT)),
        to("a stranger at the neighbour", &[NoMatch, Closed], syn(never, NEIGHBOUR_PORT)),
        to("a later fragment of an allowed source", &[Allowed], later_fragment(always)),
        to("a later fragment of a stranger", &[Fragment], later_fragment(never)),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Returns a packet of each family from a source that only the first set allows.
pub fn of_first_set() -> [Vec<u8>; 2] {
    syn((FIRST4, FIRST6), PORT)
}

/// Returns packets of each family from a source of the first set alone, and from one of the second alone.
pub fn apart() -> [[Vec<u8>; 2]; 2] {
    let [first, second] = [0, 1].map(|at| syn((APART4[at], APART6[at]), PORT));
    let ([first4, first6], [second4, second6]) = (first, second);
    [[first4, second4], [first6, second6]]
}

/// Runs the probe program until `stop`.
pub fn query_probe(bpffs_dir: &Path, stop: &AtomicBool) -> Answers {
    let probe = Probe::pinned(bpffs_dir).unwrap();
    query(stop, |question| {
        let answer = probe.answer(&question.frame, None).unwrap();
        question.right.contains(&answer.reason).then_some(()).ok_or(answer.reason.name().to_owned())
    })
}

/// Runs the firewall program until `stop`.
pub fn run_firewall(bpffs_dir: &Path, stop: &AtomicBool) -> Answers {
    let firewall = Probe::firewall(bpffs_dir).unwrap();
    query(stop, |question| {
        let action = firewall.run(&question.frame, None).unwrap();
        let right = |reason: &Reason| action == kernel::action(reason.passes());
        question.right.iter().any(right).then_some(()).ok_or(format!("action {action}"))
    })
}

fn query(stop: &AtomicBool, check: impl Fn(&Question) -> Result<(), String>) -> Answers {
    let questions = questions();
    let mut answers = Answers::default();
    while !stop.load(Ordering::Relaxed) {
        for question in &questions {
            answers.verdicts += 1;
            if let Err(answer) = check(question) {
                answers.wrong.push(format!("{}: {answer}", question.name));
            }
        }
    }
    answers
}

type Source = (std::net::Ipv4Addr, std::net::Ipv6Addr);

fn syn(source: Source, port: u16) -> [Vec<u8>; 2] {
    [
        frame().ipv4(source.0, ADDRESS4).tcp(CLIENT_PORT, port).build(),
        frame().ipv6(source.1, ADDRESS6).tcp(CLIENT_PORT, port).build(),
    ]
}

fn later_fragment(source: Source) -> [Vec<u8>; 2] {
    let middle = || Segment::raw(protocol::TCP, &[0; 32]);
    [
        frame().ipv4(source.0, ADDRESS4).fragment(64, false).carrying(middle()).build(),
        frame().ipv6(source.1, ADDRESS6).fragment(64, false).carrying(middle()).build(),
    ]
}
